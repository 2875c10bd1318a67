"""The cardiothoracic ratio of heart and lung masks."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from cxrkit.metrics.masks import Mask, as_masks, without_spots
from cxrkit.segmentation import CardiothoracicRatio, Extent


def cardiothoracic_ratio(
    heart: ArrayLike, left_lung: ArrayLike, right_lung: ArrayLike, *, minimum_part: float = 1.0
) -> CardiothoracicRatio | None:
    """The heart's horizontal extent over that of both lungs (Danzer 1919, on masks).

    The heart's extent is taken over all its rows, which is the sum of its largest distances to the right and to
    the left of the midline; the thorax is what the lungs enclose, from outer border to outer border, also over
    all rows. Rows don't matter to it, nor does the pixel spacing. Which lung is given as left makes no
    difference.

    Args:
        heart: bool `(H, W)`.
        left_lung: bool `(H, W)`.
        right_lung: bool `(H, W)`.
        minimum_part: parts of a mask smaller than this share of its largest part are ignored: by default all but the
            largest, for a heart and a lung are one piece each, and a stray part would decide the width; 0 ignores
            nothing.

    Returns:
        The ratio with its lines, or None if one of the masks is empty: there is nothing to measure then.

    Raises:
        DataError: the arrays aren't masks of one shape.

    >>> heart, left_lung, right_lung = (np.zeros((4, 12), bool) for _ in range(3))
    >>> right_lung[:, 1:5], heart[2:, 4:9], left_lung[:, 8:11] = True, True, True
    >>> ratio = cardiothoracic_ratio(heart, left_lung, right_lung)
    >>> ratio.value, ratio.heart.width, ratio.thorax.left, ratio.thorax.right
    (0.5, 5, 1, 10)
    """
    masks = as_masks(heart=heart, left_lung=left_lung, right_lung=right_lung)
    if not all(mask.any() for mask in masks):
        return None
    heart_mask, left_mask, right_mask = (without_spots(mask, minimum_part) for mask in masks)
    return CardiothoracicRatio(heart=_extent(heart_mask), thorax=_extent(left_mask | right_mask))


def _extent(mask: Mask) -> Extent:
    columns = np.flatnonzero(mask.any(axis=0))
    left, right = int(columns[0]), int(columns[-1])
    return Extent(left, right, _middle_row(mask[:, left]), _middle_row(mask[:, right]))


def _middle_row(column: np.ndarray) -> int:
    rows = np.flatnonzero(column)
    return int(rows[len(rows) // 2])
