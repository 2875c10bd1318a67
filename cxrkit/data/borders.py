"""Borders of one grey value around a film, as collimators, scanners and viewers leave them.

A network that was trained on films without borders finds the chest in the wrong place where a border makes it small.
"""

from __future__ import annotations

import numpy as np

#: A line of a border lies within this share of the film's range of grey values around one of its two ends: noise and
#: JPEG's traces stay below it.
TOLERANCE = 0.03
#: Share of a line's pixels that must do so; the others may be specks, but not an arm.
CONSTANT = 0.99
#: Frames that leave more of the picture than this, some 5 % a side, are left alone: networks are used to them.
#: A real film's own edges, a row or three of black on wingspan, 4 % a side on the synthetic ones, stay by this.
WORTHWHILE = 0.8
#: What lies within a border must have sides of at least this share of the picture's, and so many pixels, to be a film.
LEAST_SHARE = 0.2
LEAST_PIXELS = 32
#: A longer side of more than this many shorter ones is no film's.
MOST_ELONGATED = 2.5

Region = tuple[slice, slice]


def film_region(pixels: np.ndarray) -> Region:
    """The rows and columns within a film's border; the whole film where it has none.

    From each side, lines are taken off as long as they are of one grey value at an end of the film's range: black or
    white. What remains is taken only if it may be a film: a rectangle, not too small and not too long.

    Args:
        pixels: grey values `(H, W)` of any type.

    >>> framed = np.zeros((100, 120))
    >>> framed[20:80, 30:100] = np.arange(60 * 70).reshape(60, 70) % 97 + 100
    >>> film_region(framed)
    (slice(20, 80, None), slice(30, 100, None))
    """
    height, width = pixels.shape
    low, high = float(pixels.min()), float(pixels.max())
    tolerance = TOLERANCE * (high - low)
    top, bottom, left, right = 0, height, 0, width
    # A row of a film beside a border is part border: it is judged without the columns that are already gone, and so on.
    while True:
        before = (top, bottom, left, right)
        top, bottom = _inside(pixels[:, left:right], top, bottom, low, high, tolerance)
        left, right = _inside(pixels[top:bottom].T, left, right, low, high, tolerance)
        if before == (top, bottom, left, right):
            break
    region = slice(top, bottom), slice(left, right)
    return region if _is_film((bottom - top, right - left), (height, width)) else (slice(0, height), slice(0, width))


def _inside(lines: np.ndarray, first: int, last: int, low: float, high: float, tolerance: float) -> tuple[int, int]:
    """`first` and `last` (excluded) moved inwards over the lines of `lines` `(N, M)` that belong to a border."""

    def border(number: int) -> bool:
        line = lines[number]
        if line.size == 0:
            return True
        black, white = (line <= low + tolerance).mean(), (line >= high - tolerance).mean()
        return bool(max(black, white) >= CONSTANT)

    while first < last and border(first):
        first += 1
    while last > first and border(last - 1):
        last -= 1
    return first, last


def _is_film(inner: tuple[int, int], outer: tuple[int, int]) -> bool:
    share = inner[0] * inner[1] / (outer[0] * outer[1])
    if share > WORTHWHILE or min(inner) < LEAST_PIXELS or max(inner) > MOST_ELONGATED * min(inner):
        return False
    return all(side >= LEAST_SHARE * whole for side, whole in zip(inner, outer, strict=True))
