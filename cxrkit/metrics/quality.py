"""An estimate of a mask's Dice coefficient without the truth, from how well several results for one film agree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from cxrkit.metrics.overlap import dice

#: The Dice coefficient below which a mask needs to be checked.
LEAST_QUALITY = 0.9


def agreement(probabilities: np.ndarray) -> float:
    """How well the results for other views of a film agree with the first, and how certain that is, in [0, 1].

    The mean Dice coefficient of their masks with the first one's, times the mean of 2 |p - 0.5| within that mask.
    Either alone tells bad masks from good ones less well.

    Args:
        probabilities: of each view, two or more, float `(V, H, W)` in [0, 1]; a mask is what is above 0.5.

    0 where the first mask is empty: that nothing is there can't be confirmed by overlap.

    >>> round(agreement(np.array([[[0.9, 0.9]], [[0.9, 0.3]], [[0.9, 0.9]]])), 3)
    0.667
    """
    mask = probabilities[0] > 0.5
    if not mask.any():
        return 0.0
    agreed = np.mean([dice(one > 0.5, mask) for one in probabilities[1:]])
    return float(agreed * 2 * (probabilities[0][mask] - 0.5).mean(dtype=np.float64))


class Calibration(BaseModel):
    """From a structure's agreement to its Dice coefficient: a line through points, rising, and level beyond the ends.

    Attributes:
        agreement: of the points, rising; `dice`: the mean that films had there.
        films: how many films it was fitted to, changed versions counted as one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    agreement: tuple[float, ...] = Field(min_length=1)
    dice: tuple[float, ...] = Field(min_length=1)
    films: int = Field(ge=1)

    @model_validator(mode="after")
    def _rises(self) -> Calibration:
        both = (self.agreement, self.dice)
        if len(self.agreement) != len(self.dice) or any(
            not 0 <= first <= second <= 1
            for points in both
            for first, second in zip(points, (*points[1:], 1.0), strict=True)
        ):
            raise ValueError("its points must be in [0, 1] and rise")
        return self

    def estimate(self, agreed: float) -> float:
        """The Dice coefficient to expect at this agreement."""
        return float(np.interp(agreed, self.agreement, self.dice))


def fit(agreed: Sequence[float], dices: Sequence[float], films: int) -> Calibration:
    """The calibration that fits best: isotonic regression, its steps joined by a line through their middles.

    Args:
        agreed, dices: of each mask, in [0, 1].
        films: as in `Calibration`.

    >>> round(fit([0.2, 0.9, 0.95], [0.1, 0.8, 0.9], 3).estimate(0.55), 2)
    0.45
    """
    from scipy.optimize import isotonic_regression  # half a second, which films don't need

    order = np.argsort(agreed, kind="stable")
    x, y = np.asarray(agreed, dtype=float)[order], np.asarray(dices, dtype=float)[order]
    fitted = isotonic_regression(y)
    starts = fitted.blocks[:-1]
    sizes = np.diff(fitted.blocks)
    middles = np.add.reduceat(x, starts) / sizes
    points = dict(zip(np.round(middles, 4).tolist(), np.round(fitted.x[starts], 4).tolist(), strict=True))
    return Calibration(agreement=tuple(points), dice=tuple(points.values()), films=films)


def ranking(estimates: Sequence[float], dices: Sequence[float]) -> tuple[float | None, float | None]:
    """How well estimates order masks: Spearman's rank correlation with the Dice coefficient, and the area under the
    ROC curve of finding those below `LEAST_QUALITY`. None where it isn't defined.

    >>> ranking([0.2, 0.8, 0.9], [0.5, 0.95, 0.97])
    (1.0, 1.0)
    """
    from scipy import stats

    x, y = np.asarray(estimates, dtype=float), np.asarray(dices, dtype=float)
    varies = len(x) > 1 and np.ptp(x) > 0 and np.ptp(y) > 0
    correlation = round(float(stats.spearmanr(x, y).statistic), 6) if varies else None
    bad, good = x[y < LEAST_QUALITY], x[y >= LEAST_QUALITY]
    if not len(bad) or not len(good):
        return correlation, None
    return correlation, float(stats.mannwhitneyu(good, bad).statistic / (len(good) * len(bad)))
