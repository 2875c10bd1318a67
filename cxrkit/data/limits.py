"""How large a film may be."""

from __future__ import annotations

from pathlib import Path

from cxrkit.errors import DataError

#: Pictures with a side of this many pixels or more are refused: a detector has some 4,000.
SIDE_LIMIT = 20_000


def refuse_huge(path: Path, height: int, width: int) -> None:
    """Raise DataError for a picture that is too large to be a film, before it is decoded."""
    if max(height, width) >= SIDE_LIMIT:
        raise DataError(
            f"{path}: is {width} × {height} pixels; sides of {SIDE_LIMIT:,} or more are refused.",
            "Scale the film down, or check that this is the right file.",
        )
