"""Loading plugins for a verb, and telling of those that are broken or slow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cxrkit.cli.console import warn

if TYPE_CHECKING:
    from cxrkit.plugins import Plugins


def load_plugins() -> Plugins:
    """The installed plugins; each that is broken or slow is told in a line on stderr."""
    from cxrkit.plugins import installed

    plugins = installed()
    for status in plugins.statuses:
        if status.error is not None:
            warn(
                f"The plugin '{status.name}' of {status.distribution} {status.version} failed to load: {status.error} "
                "(cxrkit plugins list --details tells more)."
            )
        elif status.slow:
            cause = " (it imports torch when it is listed, which lazy factories avoid)" if status.imports_torch else ""
            warn(
                f"The plugin '{status.name}' of {status.distribution} {status.version} took {status.seconds:.1f} s to "
                f"load{cause}, at every command: update it, or switch it off with CXRKIT_DISABLE_PLUGINS={status.name}."
            )
    return plugins
