"""Distances between the outlines of two masks: HD95 and ASSD.

The outline of a mask is its pixels that have a 4-neighbour outside it; what lies beyond the film counts as
outside, so that a mask cut off by the film's edge is outlined there too. For every pixel of one outline the
distance to the nearest pixel of the other is taken, in both directions.

Empty masks are never dropped from an average: two empty masks have distance 0; an empty and a non-empty
one are as far apart as two pixels can be: the diagonal of the arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial import KDTree

from cxrkit.errors import DataError
from cxrkit.metrics.masks import Mask, as_masks


@dataclass(frozen=True, slots=True)
class SurfaceDistances:
    """How far apart the outlines of two masks are, in the unit of the spacing (pixels without one).

    Attributes:
        hausdorff_95: the larger of the 95th percentiles in both directions.
        average: the mean over all pixels of both outlines (ASSD).
    """

    hausdorff_95: float
    average: float


def surface_distances(a: ArrayLike, b: ArrayLike, spacing: Sequence[float] | None = None) -> SurfaceDistances:
    """HD95 and ASSD of two masks.

    Args:
        a: bool `(H, W)`.
        b: bool `(H, W)`.
        spacing: (row, column) millimetres per pixel; None gives pixels.

    Raises:
        DataError: the arrays aren't masks of one shape, or the spacing isn't two positive numbers.

    >>> square, shifted = np.zeros((9, 9), bool), np.zeros((9, 9), bool)
    >>> square[2:5, 2:5], shifted[2:5, 4:7] = True, True
    >>> distances = surface_distances(square, shifted)
    >>> distances.hausdorff_95, distances.average
    (2.0, 1.0)
    """
    first, second = as_masks(a=a, b=b)
    row, column = _checked(spacing)
    if not (first.any() and second.any()):
        apart = 0.0
        if first.any() or second.any():
            apart = float(np.hypot(first.shape[0] * row, first.shape[1] * column))
        return SurfaceDistances(apart, apart)
    first_points, second_points = (np.argwhere(outline(mask)) * (row, column) for mask in (first, second))
    # Trees of a few thousand outline points are much faster than distance transforms of a film, and as exact.
    there, _ = KDTree(second_points).query(first_points)
    back, _ = KDTree(first_points).query(second_points)
    return SurfaceDistances(
        hausdorff_95=float(max(np.percentile(there, 95), np.percentile(back, 95))),
        average=float(np.concatenate([there, back]).mean()),
    )


def outline(mask: Mask) -> Mask:
    """The pixels of a mask that have a 4-neighbour outside it; beyond the array all is outside."""
    inside = np.zeros_like(mask)
    inside[1:-1, 1:-1] = mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
    edge: Mask = mask & ~inside
    return edge


def _checked(spacing: Sequence[float] | None) -> tuple[float, float]:
    if spacing is None:
        return 1.0, 1.0
    values = tuple(float(value) for value in spacing)
    if len(values) != 2 or not all(np.isfinite(value) and value > 0 for value in values):
        raise DataError(
            f"The spacing {tuple(spacing)} isn't (row, column) millimetres per pixel.",
            "Give two positive numbers, or none for distances in pixels.",
        )
    return values[0], values[1]
