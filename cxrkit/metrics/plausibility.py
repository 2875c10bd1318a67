"""Signs that masks are not those of an upright frontal chest film: what to check before trusting them.

The checks are independent of the network and its training. Their limits were set so that all but a few of the 200 films
of wingspan pass, segmented by the weights that come with cxrkit: each limit's comment gives the values of those films.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np

from cxrkit.metrics.cardiothoracic import cardiothoracic_ratio
from cxrkit.metrics.masks import Mask, as_bytes, box_of, parts_of, second_part, without_spots
from cxrkit.metrics.quality import LEAST_QUALITY

HEART, LEFT_LUNG, RIGHT_LUNG = "heart", "left_lung", "right_lung"
#: Structures that are one piece each, and lie within a film that shows the whole chest.
ONE_PIECE = (LEFT_LUNG, RIGHT_LUNG, HEART)

#: A mask that fills this share of a side of the film touches it: cut off. wingspan: one lung with 0.11, others < 0.002.
TOUCHING = 0.01
#: A second part of this share of the largest. wingspan: 0.02 at most.
SECOND_PART = 0.05
#: The larger lung's area over the smaller one's. wingspan: 2.1 at most, the left one being smaller.
LUNG_AREAS = 2.5
#: Area of both lungs over the film's. wingspan: 0.13 to 0.40; a chest in a wide frame has less.
LEAST_LUNGS = 0.08
#: Degrees by which the line through both lungs' centres may be off the horizontal. wingspan: 12 at most.
TILT = 15.0
#: The lungs' lower third over their upper third, in area. wingspan: 0.95 at most, since diaphragm and heart take room
#: below; in an upside-down film it is inverted.
UPSIDE_DOWN = 1.0
#: How much higher one lung ends than the other, over the taller one's height, and the shorter one's height over it.
#: wingspan: both in 4 of 200 films; of 36 with an opaque lower half of a lung, in 33.
SHORT_BY, SHORT = 0.22, 0.78
#: Area of a lung, holes not counted, over that of the tightest convex outline around it. wingspan: 0.72 at least.
HALF_EMPTY = 0.65
#: How much further the heart reaches to the picture's right than to its left of the middle between the lungs' outer
#: borders, over their distance. wingspan: 0.02 to 0.41, with one at -0.26; mirrored, most are below 0.
APEX = 0.0
#: Where the heart's centre lies between the lungs' top (0) and bottom (1). wingspan: 0.63 to 0.85.
HEART_ROW = (0.45, 1.0)
#: The cardiothoracic ratio. wingspan: 0.36 to 0.85, with one above 0.8; grossly enlarged hearts reach about 0.75.
RATIO = (0.3, 0.8)
#: Mean of |p − 0.5| over a mask's pixels; 0.5 is certain. wingspan: 0.478 at least.
LEAST_CERTAINTY = 0.45
#: Pixels of the film's shorter side; below, a pixel is a percent of the ratio.
SMALLEST_SIDE = 128
#: The longer side over the shorter one; films are below 1.3.
ELONGATED = 2.5


@dataclass(frozen=True)
class Findings:
    """The masks within a film's frame.

    Attributes:
        masks: structure to bool `(H, W)`, as thresholded, including stray parts.
        probabilities: structure to float `(H, W)` in [0, 1].
        shape: (height, width) within the frame.
        quality: structure to an estimate of its mask's Dice coefficient, in [0, 1].
    """

    masks: Mapping[str, Mask]
    probabilities: Mapping[str, np.ndarray]
    shape: tuple[int, int]
    quality: Mapping[str, float] = field(default_factory=dict)


def warnings_of(findings: Findings) -> tuple[str, ...]:
    """Doubts about the masks, one short sentence each; empty where there are none.

    Each check uses only structures that the network knows. Checks that need a structure that wasn't found are skipped.
    """
    whole = {name: without_spots(mask, 1.0) for name, mask in findings.masks.items() if name in ONE_PIECE}
    found = {name: mask for name, mask in whole.items() if mask.any()}
    return (
        *_of_film(findings.shape),
        *_of_masks(findings, found),
        *_of_quality(findings.quality),
        *_of_chest(found),
    )


def _of_film(shape: tuple[int, int]) -> Iterator[str]:
    height, width = shape
    if min(shape) < SMALLEST_SIDE:
        yield f"the film is small: {width} × {height} pixels"
    if max(shape) > ELONGATED * min(shape):
        yield f"the film is long and narrow: {width} × {height} pixels"


def _of_masks(findings: Findings, found: Mapping[str, Mask]) -> Iterator[str]:
    for name, mask in findings.masks.items():
        called = name.replace("_", " ")
        if not mask.any():
            yield f"{called}: not found"
            continue
        if name in found and touches_edge(found[name]):
            yield f"{called}: cut off by the film's edge; the ratio is unreliable"
        if name in (LEFT_LUNG, RIGHT_LUNG) and fill(mask) < HALF_EMPTY:
            yield f"{called}: half empty"
        if name in found and second_part(mask) > SECOND_PART:
            yield f"{called}: found in two places"
        if certainty(findings.probabilities[name], mask) < LEAST_CERTAINTY:
            yield f"{called}: the network is not certain"


def _of_quality(quality: Mapping[str, float]) -> Iterator[str]:
    for name, dice in quality.items():
        if dice < LEAST_QUALITY:
            yield f"{name.replace('_', ' ')}: its Dice coefficient is estimated at {dice:.2f}"


def touches_edge(mask: Mask) -> bool:
    """Whether a mask fills a hundredth of one of the picture's sides, and more than one pixel of it."""
    sides = (mask[0], mask[-1], mask[:, 0], mask[:, -1])
    return any(side.sum() > 1 and side.mean() >= TOUCHING for side in sides)


def fill(mask: Mask) -> float:
    """Area of the largest part of a mask that isn't empty, holes not counted, over that of its convex hull."""
    labels, sizes = parts_of(mask[box_of(mask)], 8)
    part = labels == 1 + int(sizes.argmax())
    # The corners of the hull are among the first and last pixels of the rows.
    rows = np.flatnonzero(part.any(axis=1))
    first, last = part[rows].argmax(axis=1), part.shape[1] - 1 - part[rows, ::-1].argmax(axis=1)
    ends = np.stack([np.concatenate([first, last]), np.concatenate([rows, rows])], axis=1).astype(np.int32)
    filled = cv2.fillConvexPoly(np.zeros(part.shape, dtype=np.uint8), cv2.convexHull(ends), 1)
    return float(sizes.max() / np.count_nonzero(filled))


def certainty(probability: np.ndarray, mask: Mask) -> float:
    """Mean of |p − 0.5| within a mask that isn't empty: 0.5 is certain, 0 is a guess.

    >>> certainty(np.array([[0.9, 0.7, 0.1]]), np.array([[True, True, False]]))
    0.3
    """
    box = box_of(mask)
    return round(float(np.abs(probability[box][mask[box]].astype(np.float64) - 0.5).mean()), 6)


def _of_chest(found: Mapping[str, Mask]) -> Iterator[str]:
    if LEFT_LUNG not in found or RIGHT_LUNG not in found:
        return
    yield from _of_lungs(found[LEFT_LUNG], found[RIGHT_LUNG])
    if HEART not in found:
        return
    yield from _of_heart(found[HEART], found[LEFT_LUNG], found[RIGHT_LUNG])
    ratio = cardiothoracic_ratio(found[HEART], found[LEFT_LUNG], found[RIGHT_LUNG])
    if ratio is not None and not RATIO[0] <= ratio.value <= RATIO[1]:
        yield f"the cardiothoracic ratio of {ratio.value:.2f} is outside {RATIO[0]} to {RATIO[1]}"


def _of_lungs(left: Mask, right: Mask) -> Iterator[str]:
    smaller, larger = sorted((np.count_nonzero(left), np.count_nonzero(right)))
    if larger > LUNG_AREAS * smaller:
        yield f"one lung is {larger / smaller:.1f} times as large as the other"
    if smaller + larger < LEAST_LUNGS * left.size:
        yield f"the lungs cover only {100 * (smaller + larger) / left.size:.1f} % of the film"
    tilt = lung_tilt(left, right)
    if abs(tilt) > 90:
        yield "the left lung is not on the right of the picture: mirrored or turned?"
    elif abs(tilt) > TILT:
        yield f"the lungs are tilted by {abs(tilt):.0f}°: is the film turned?"
    if _lower_over_upper(left | right) > UPSIDE_DOWN:
        yield "the lungs are wider below than above: is the film upside down?"
    (left_top, left_bottom), (right_top, right_bottom) = _span(left), _span(right)
    heights = left_bottom - left_top + 1, right_bottom - right_top + 1
    if abs(left_bottom - right_bottom) > SHORT_BY * max(heights) and min(heights) < SHORT * max(heights):
        name = "left" if left_bottom < right_bottom else "right"
        yield f"{name} lung: cut short, as by an opaque base; the ratio may be too large"


def lung_tilt(left: Mask, right: Mask) -> float:
    """Degrees from −180 to 180 from the horizontal to the line from the right lung's centre to the left one's.

    0 where the left lung is on the right of the picture, as it is seen on films; positive where it lies lower.
    """
    (left_row, left_column), (right_row, right_column) = _centre(left), _centre(right)
    return math.degrees(math.atan2(left_row - right_row, left_column - right_column))


def _lower_over_upper(lungs: Mask) -> float:
    rows = _sums(lungs, axis=1)
    top, bottom = _span(lungs)
    third = (bottom - top + 1) // 3
    upper, lower = rows[top : top + third].sum(), rows[bottom + 1 - third : bottom + 1].sum()
    return float(lower / upper) if upper else 0.0


def _of_heart(heart: Mask, left: Mask, right: Mask) -> Iterator[str]:
    row, column = _centre(heart)
    first, last = sorted((_centre(left)[1], _centre(right)[1]))
    if not first <= column <= last:
        yield "the heart is not between the lungs: is the film turned?"
    if _apex(heart, left | right) < APEX:
        yield "the heart points to the right side of the body: is the film mirrored?"
    top, bottom = _span(left | right)
    if not HEART_ROW[0] <= (row - top) / max(1, bottom - top) <= HEART_ROW[1]:
        yield "the heart is not beside the lungs' lower half: is the film turned?"


def _apex(heart: Mask, lungs: Mask) -> float:
    """How much further the heart reaches to the picture's right than to its left, over the width of the chest."""
    (left, right), (first, last) = _span(heart.T), _span(lungs.T)
    return (left + right - first - last) / (last - first + 1)


def _centre(mask: Mask) -> tuple[float, float]:
    """Row and column of the centre of gravity."""
    rows, columns = _sums(mask, axis=1), _sums(mask, axis=0)
    total = int(rows.sum())
    return float(rows @ np.arange(len(rows)) / total), float(columns @ np.arange(len(columns)) / total)


def _sums(mask: Mask, axis: int) -> np.ndarray:
    """As `mask.sum(axis)`, many times as fast."""
    return cv2.reduce(as_bytes(mask), axis, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel().astype(np.int64)


def _span(mask: Mask) -> tuple[int, int]:
    rows = np.flatnonzero(mask.any(axis=1))
    return int(rows[0]), int(rows[-1])
