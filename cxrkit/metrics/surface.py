"""Distances between the outlines of two masks: HD95, ASSD, and the share within a tolerance (NSD).

The outline of a mask is its pixels that have a 4-neighbour outside it; what lies beyond the film counts as
outside, so that a mask cut off by the film's edge is outlined there too. For every pixel of one outline the
distance to the nearest pixel of the other is taken, in both directions.

Empty masks are never dropped from an average: two empty masks have distance 0; an empty and a non-empty
one are as far apart as two pixels can be: the diagonal of the arrays, which is within no tolerance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from cxrkit.errors import DataError
from cxrkit.metrics.masks import Mask, as_masks


@dataclass(frozen=True, slots=True)
class SurfaceDistances:
    """How far apart the outlines of two masks are, in the unit of the spacing (pixels without one).

    Attributes:
        hausdorff_95: the larger of the 95th percentiles in both directions.
        average: the mean over all pixels of both outlines (ASSD).
        within: the share of all pixels of both outlines, in [0, 1], that are within the tolerance of the other one
            (NSD, the surface Dice of Nikolov et al. 2018, arXiv:1809.04430); None where no tolerance is given.
    """

    hausdorff_95: float
    average: float
    within: float | None = None


def surface_distances(
    a: ArrayLike, b: ArrayLike, spacing: Sequence[float] | None = None, *, tolerance: float | None = None
) -> SurfaceDistances:
    """HD95, ASSD, and with a tolerance NSD of two masks.

    Args:
        a: bool `(H, W)`.
        b: bool `(H, W)`.
        spacing: (row, column) millimetres per pixel; None gives pixels.
        tolerance: up to which distance, in millimetres or pixels as the distances, outlines count as equal.

    Raises:
        DataError: the arrays aren't masks of one shape, the spacing isn't two positive numbers, or the tolerance is
            negative or not finite.

    >>> square, shifted = np.zeros((9, 9), bool), np.zeros((9, 9), bool)
    >>> square[2:5, 2:5], shifted[2:5, 4:7] = True, True
    >>> distances = surface_distances(square, shifted, tolerance=1)
    >>> distances.hausdorff_95, distances.average, distances.within
    (2.0, 1.0, 0.625)
    """
    first, second = as_masks(a=a, b=b)
    row, column = _checked(spacing)
    if tolerance is not None and not (np.isfinite(tolerance) and tolerance >= 0):
        raise DataError(f"The tolerance {tolerance} isn't a distance.", "Give a number of at least 0.")
    if not (first.any() and second.any()):
        apart = 0.0
        if first.any() or second.any():
            apart = float(np.hypot(first.shape[0] * row, first.shape[1] * column))
        return SurfaceDistances(apart, apart, None if tolerance is None else float(apart == 0))
    first_points, second_points = (np.argwhere(outline(mask)) * (row, column) for mask in (first, second))
    # Trees of a few thousand outline points are much faster than distance transforms of a film, and as exact.
    from scipy.spatial import KDTree  # films that are only segmented don't need it

    there, _ = KDTree(second_points).query(first_points)
    back, _ = KDTree(first_points).query(second_points)
    both = np.concatenate([there, back])
    # Distances are square roots: one of exactly the tolerance may come out a rounding above it.
    return SurfaceDistances(
        hausdorff_95=float(max(np.percentile(there, 95), np.percentile(back, 95))),
        average=float(both.mean()),
        within=None if tolerance is None else float((both <= tolerance * (1 + 1e-9)).mean()),
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
