"""What other packages add to cxrkit, by their metadata: components (group `cxrkit`) and verbs (`cxrkit.commands`)."""

from __future__ import annotations

import os
from importlib.metadata import EntryPoint

COMPONENTS = "cxrkit"
VERBS = "cxrkit.commands"


def origin(point: EntryPoint) -> tuple[str, str]:
    """The distribution and version that an entry point comes from, as far as they can be determined."""
    module = point.value.partition(":")[0]
    try:
        found = (point.dist.name, point.dist.version) if point.dist else (None, None)
    except Exception:  # installed metadata may be damaged in any way
        found = (None, None)
    return found[0] or module, found[1] or "unknown"


def is_disabled(point: EntryPoint) -> bool:
    """Whether CXRKIT_DISABLE_PLUGINS names the entry point or its distribution."""
    names = {name.strip() for name in os.environ.get("CXRKIT_DISABLE_PLUGINS", "").split(",")}
    return not names.isdisjoint({point.name, origin(point)[0]})
