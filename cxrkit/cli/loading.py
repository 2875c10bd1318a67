"""Loading plugins for a verb, and telling of those that are broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cxrkit.cli.console import warn

if TYPE_CHECKING:
    from cxrkit.plugins import Plugins


def load_plugins() -> Plugins:
    """The installed plugins; each broken one is told in a line on stderr."""
    from cxrkit.plugins import installed

    plugins = installed()
    for status in plugins.statuses:
        if status.error is not None:
            warn(
                f"The plugin '{status.name}' of {status.distribution} {status.version} failed to load: {status.error} "
                "(cxrkit plugins list --details tells more)."
            )
    return plugins
