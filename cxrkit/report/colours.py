"""Colours of structures: fixed, distinguishable for colour-blind readers, and visible on film and on paper.

The palette is Okabe and Ito's (*Color Universal Design*, 2008).
"""

from __future__ import annotations

from collections.abc import Iterable

RGB = tuple[int, int, int]

_SKY_BLUE: RGB = (86, 180, 233)
_YELLOW: RGB = (240, 228, 66)
_VERMILION: RGB = (230, 97, 20)
_BLUISH_GREEN: RGB = (0, 178, 130)
_REDDISH_PURPLE: RGB = (214, 131, 177)
_ORANGE: RGB = (230, 159, 0)
_BLUE: RGB = (58, 134, 214)
_GREY: RGB = (190, 190, 190)

_FIXED: dict[str, RGB] = {
    "left_lung": _SKY_BLUE,
    "right_lung": _YELLOW,
    "lungs": _SKY_BLUE,
    "heart": _VERMILION,
    "left_clavicle": _BLUISH_GREEN,
    "right_clavicle": _REDDISH_PURPLE,
}
_OTHERS = (_ORANGE, _BLUISH_GREEN, _REDDISH_PURPLE, _BLUE, _GREY)


def structure_colours(names: Iterable[str]) -> dict[str, RGB]:
    """Structure to (red, green, blue) in [0, 255]; unknown structures get the remaining colours in order."""
    chosen: dict[str, RGB] = {}
    names = list(names)
    taken = {_FIXED[name] for name in names if name in _FIXED}
    free = [colour for colour in _OTHERS if colour not in taken]
    for name in names:
        others = sum(other not in _FIXED for other in chosen)
        chosen[name] = _FIXED.get(name) or free[others % len(free)]
    return chosen


def structure_label(name: str) -> str:
    """A structure's name as people write it: `left_lung` is "left lung"."""
    return name.replace("_", " ")
