"""What other packages add to cxrkit, by their metadata: components (group `cxrkit`) and verbs (`cxrkit.commands`)."""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint
from pathlib import Path

from cxrkit.errors import CxrkitError, PluginError, reason

COMPONENTS = "cxrkit"
VERBS = "cxrkit.commands"

#: After so many seconds a user is told what is being loaded.
_PATIENCE = 5.0


def origin(point: EntryPoint) -> tuple[str, str]:
    """The distribution and version that an entry point comes from, as far as they can be determined."""
    module = point.value.partition(":")[0]
    try:
        found = (point.dist.name, point.dist.version) if point.dist else (None, None)
    except Exception:  # installed metadata may be damaged in any way
        found = (None, None)
    return found[0] or module, found[1] or "unknown"


@contextmanager
def loading(what: str, distribution: str, version: str) -> Iterator[None]:
    """Report whatever another package's code raises when it is loaded.

    Raises:
        PluginError: it raised something that isn't a `CxrkitError`.
    """
    try:
        with announced(what, distribution):
            yield
    except CxrkitError:
        raise
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise PluginError(
            f"The {what} of {f'{distribution} {version}'.rstrip()} can't be loaded: {reason(error)}",
            f"Reinstall or update {distribution}, or uninstall it.",
        ) from error


@contextmanager
def announced(what: str, distribution: str) -> Iterator[None]:
    """Say on stderr what is being loaded if it takes long: it may never end."""
    message = f"Still loading the {what} of {distribution} ...\n"
    timer = threading.Timer(_PATIENCE, lambda: sys.stderr.write(message))
    timer.daemon = True
    if distribution != "cxrkit":
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def source_of(module: str) -> Path:
    """The file of a module; only its top-level package's place is looked up, which imports nothing."""
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None:
        raise ModuleNotFoundError(module)
    for folder in spec.submodule_search_locations or ():
        for file in (Path(folder, *rest, "__init__.py"), Path(folder, *rest).with_suffix(".py")):
            if file.is_file():
                return file
    return Path(str(spec.origin))


def is_disabled(point: EntryPoint) -> bool:
    """Whether CXRKIT_DISABLE_PLUGINS names the entry point or its distribution."""
    names = {name.strip() for name in os.environ.get("CXRKIT_DISABLE_PLUGINS", "").split(",")}
    return not names.isdisjoint({point.name, origin(point)[0]})
