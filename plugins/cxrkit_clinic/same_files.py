"""Whether files are copies of each other."""

from __future__ import annotations

import filecmp
from contextlib import suppress
from pathlib import Path


def same_content(one: Path, other: Path) -> bool:
    """Whether two files are the same, or have the same content; False where one can't be read."""
    with suppress(OSError):
        return one.samefile(other) or filecmp.cmp(one, other, shallow=False)
    return False
