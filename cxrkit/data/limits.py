"""How large a film may be, and whose fault it is that one can't be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from cxrkit.errors import CxrkitError, DataError

#: Pictures with a side of this many pixels or more are refused: a detector has some 4,000.
SIDE_LIMIT = 20_000
#: So are those of more pixels: a film of 35 × 43 cm that was scanned at 0.05 mm has 60 million.
PIXEL_LIMIT = 100_000_000
#: The most pixels here and now, and what to do about a film that has more.
_LIMIT = ContextVar("limit", default=(PIXEL_LIMIT, "Scale the film down, or check that this is the right file."))


@contextmanager
def at_most_pixels(count: int, remedy: str) -> Iterator[None]:
    """Refuse films of more pixels for a while, before they are decoded; of `PIXEL_LIMIT` at most."""
    token = _LIMIT.set((min(count, PIXEL_LIMIT), remedy))
    try:
        yield
    finally:
        _LIMIT.reset(token)


def refuse_huge(path: Path, height: int, width: int) -> None:
    """Raise DataError for a picture that is too large to be a film, before it is decoded."""
    most, remedy = _LIMIT.get()
    if max(height, width) >= SIDE_LIMIT or height * width > most:
        raise DataError(
            f"{path}: is {width} × {height} pixels; sides of {SIDE_LIMIT:,} or more, and more than {most / 1e6:g} "
            "million pixels, are refused.",
            remedy,
        )


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever is raised while one file is read into a DataError that names it, so that others are read."""
    try:
        yield
    except CxrkitError:
        raise
    except MemoryError as error:
        raise DataError(f"{path}: is too large for this computer's memory.", "Scale the film down.") from error
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"{path}: can't be read ({type(error).__name__}{': ' if reason else ''}{reason}).",
            "Check that a viewer shows it, and export it again, as PNG for example.",
        ) from error
