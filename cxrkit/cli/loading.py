"""Loading plugins for a verb, with warnings about those that are broken or slow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cxrkit.cli.console import warn

if TYPE_CHECKING:
    from cxrkit.plugins import Plugins


def load_plugins() -> Plugins:
    """The installed plugins; a line on stderr reports each that is broken or slow."""
    from cxrkit.plugins import installed

    plugins = installed()
    for status in plugins.statuses:
        if status.error is not None:
            warn(
                f"The plugin '{status.name}' of {status.distribution} {status.version} failed to load: {status.error} "
                "(for more, see: cxrkit plugins list --details)."
            )
        elif status.slow:
            cause = " (it imports torch when it is listed; lazy factories avoid that)" if status.imports_torch else ""
            warn(
                f"The plugin '{status.name}' of {status.distribution} {status.version} took {status.seconds:.1f} s to "
                f"load{cause}, which slows every command: update it, or set CXRKIT_DISABLE_PLUGINS={status.name}."
            )
    return plugins
