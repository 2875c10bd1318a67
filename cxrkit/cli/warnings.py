"""How Python's warnings are shown while a verb runs."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from cxrkit.cli.console import warn


@contextmanager
def readable_warnings() -> Iterator[None]:
    """Show each warning of cxrkit and its plugins in a line, and no others.

    Other libraries' warnings are for programmers: they name a line of code, which the user can't fix.
    """
    with warnings.catch_warnings():
        warnings.showwarning = _show
        yield


def _show(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    if issubclass(category, UserWarning) and _is_ours(Path(filename)):
        warn(" ".join(str(message).split()))


def _is_ours(file: Path) -> bool:
    """Whether a source file belongs to cxrkit or to a package that has a plugin."""
    from importlib.metadata import entry_points

    from cxrkit.entry_points import COMPONENTS, VERBS

    found = (*entry_points(group=COMPONENTS), *entry_points(group=VERBS))
    plugins = {point.value.partition(":")[0].partition(".")[0] for point in found}
    for name in {"cxrkit"} | plugins:
        module = sys.modules.get(name)
        places = [*getattr(module, "__path__", ()), getattr(module, "__file__", None)]
        if any(file.is_relative_to(place) for place in places if place is not None):
            return True
    return False
