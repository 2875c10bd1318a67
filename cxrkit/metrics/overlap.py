"""Overlap of masks and of probabilities: Dice and intersection over union.

`dice` and `intersection_over_union` compare thresholded masks (the `honest` protocol). The soft ones are the
paper's and differ from each other in more than the formula: the Dice pools all channels, the intersection over
union is taken per channel, so neither can be computed from the other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cxrkit.errors import DataError
from cxrkit.metrics.masks import as_masks


def dice(prediction: ArrayLike, target: ArrayLike) -> float:
    """The Dice coefficient 2|A ∩ B| / (|A| + |B|) of two masks, in [0, 1].

    Two empty masks agree: 1. One empty mask: 0.

    Args:
        prediction: bool `(H, W)`.
        target: bool `(H, W)`.

    Raises:
        DataError: the arrays aren't masks of one shape.

    >>> dice([[True, True, False]], [[False, True, True]])
    0.5
    """
    first, second = as_masks(prediction=prediction, target=target)
    total = np.count_nonzero(first) + np.count_nonzero(second)
    return float(2 * np.count_nonzero(first & second) / total) if total else 1.0


def intersection_over_union(prediction: ArrayLike, target: ArrayLike) -> float:
    """The Jaccard index |A ∩ B| / |A ∪ B| of two masks, in [0, 1].

    Two empty masks agree: 1. One empty mask: 0.

    Args:
        prediction: bool `(H, W)`.
        target: bool `(H, W)`.

    Raises:
        DataError: the arrays aren't masks of one shape.

    >>> round(intersection_over_union([[True, True, False]], [[False, True, True]]), 4)
    0.3333
    """
    first, second = as_masks(prediction=prediction, target=target)
    union = np.count_nonzero(first | second)
    return float(np.count_nonzero(first & second) / union) if union else 1.0


def soft_dice_pooled(probabilities: ArrayLike, targets: ArrayLike, epsilon: float = 0.1) -> float:
    """(2Σpg + ε) / (Σp + Σg + ε) over all channels and pixels of a film together, in [0, 1].

    The paper's DSC as its released code computes it, background channel included (Maga 2021, §2.3, §3).

    Args:
        probabilities: float `(C, H, W)` in [0, 1].
        targets: the same shape, in [0, 1].
        epsilon: ε in pixels; with ε > 0 two empty arrays agree: 1.

    Raises:
        DataError: the arrays aren't `(C, H, W)` of one shape.

    >>> round(soft_dice_pooled([[[0.9, 0.2]]], [[[1.0, 0.0]]]), 4)  # 1.9 / 2.2
    0.8636
    """
    p, g = _channels(probabilities, targets)
    total = p.sum() + g.sum() + epsilon
    return float((2 * (p * g).sum() + epsilon) / total) if total else 1.0


def soft_iou_per_channel(probabilities: ArrayLike, targets: ArrayLike) -> NDArray[np.float64]:
    """Σpg / (Σp² + Σg² − Σpg) of each channel of a film, in [0, 1].

    The paper's IoU is the mean of these over all channels, background included (Maga 2021, §3). For hard masks
    it is the Jaccard index. A channel that is all zero in both agrees: 1.

    Args:
        probabilities: float `(C, H, W)` in [0, 1].
        targets: the same shape, in [0, 1].

    Returns:
        float64 `(C,)`.

    Raises:
        DataError: the arrays aren't `(C, H, W)` of one shape.

    >>> soft_iou_per_channel([[[0.9, 0.2]], [[0.0, 0.0]]], [[[1.0, 0.0]], [[0.0, 0.0]]]).round(4)
    array([0.9474, 1.    ])
    """
    p, g = _channels(probabilities, targets)
    overlap = (p * g).sum((1, 2))
    union = (p * p).sum((1, 2)) + (g * g).sum((1, 2)) - overlap
    return np.divide(overlap, union, out=np.ones_like(overlap), where=union > 0)


def _channels(probabilities: ArrayLike, targets: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    # float64: a float32 sum over 10⁶ pixels is off in the digits that are reported.
    p, g = np.asarray(probabilities, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    if p.ndim != 3 or p.shape != g.shape:
        raise DataError(
            f"Probabilities {p.shape} and targets {g.shape} aren't (C, H, W) of one shape.",
            "Pass one film with all its channels.",
        )
    return p, g
