"""What repeated and paired measurements say: spreads, intervals, paired tests, effect sizes.

The statistics are scipy's and statsmodels'; what stands here is how this toolkit asks them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from cxrkit.errors import DataError

#: Resamplings of a bootstrap; its randomness is fixed, so that a report doesn't change when it is written again.
RESAMPLINGS = 2000
_SEED = 20210120


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class PairedTest:
    """How one series differs from another on the same items.

    Attributes:
        items: pairs, and of them `differing` those that aren't equal.
        difference: mean of first minus second, with its bootstrap `interval` (None for a single pair).
        effect: matched-pairs rank-biserial correlation in [-1, 1]: the share of rank sums in favour of the first minus
            that of the second (Kerby 2014); 0 where all pairs are equal.
        p: two-sided, of Wilcoxon's signed-rank test; 1 where all pairs are equal.
    """

    items: int
    differing: int
    difference: float
    interval: Interval | None
    effect: float
    p: float


def bootstrap_interval(values: ArrayLike, level: float = 0.95) -> Interval | None:
    """A confidence interval of the mean, by the bias-corrected and accelerated bootstrap (Efron 1987).

    Args:
        values: `(n,)`, finite.
        level: of confidence, in (0, 1).

    Returns:
        None for fewer than two values. Equal values give an interval of no width.

    Raises:
        DataError: a value isn't finite.
    """
    array = _finite(values)
    if len(array) < 2:
        return None
    if np.ptp(array) == 0:
        return Interval(float(array[0]), float(array[0]))
    found = stats.bootstrap(
        (array,),
        np.mean,
        confidence_level=level,
        n_resamples=RESAMPLINGS,
        method="BCa",
        rng=np.random.default_rng(_SEED),
    ).confidence_interval
    if not np.isfinite([found.low, found.high]).all():  # the acceleration isn't defined for very few, tied values
        found = stats.bootstrap(
            (array,), np.mean, n_resamples=RESAMPLINGS, method="percentile", rng=np.random.default_rng(_SEED)
        ).confidence_interval
    return Interval(float(found.low), float(found.high))


def compare(first: ArrayLike, second: ArrayLike) -> PairedTest:
    """Compare two series of the same items, such as the Dice coefficients of two networks on the same films.

    Args:
        first, second: `(n,)`, finite, n ≥ 1; item by item of the same thing.

    Raises:
        DataError: they differ in length, are empty, or a value isn't finite.
    """
    a, b = _finite(first), _finite(second)
    if a.shape != b.shape or len(a) == 0:
        raise DataError(f"{len(a)} and {len(b)} values can't be paired.", "Give two series of the same items.")
    differences = a - b
    nonzero = differences[differences != 0]
    if len(nonzero) == 0:
        return PairedTest(len(a), 0, 0.0, bootstrap_interval(differences), 0.0, 1.0)
    ranks = stats.rankdata(np.abs(nonzero))
    effect = float((ranks[nonzero > 0].sum() - ranks[nonzero < 0].sum()) / ranks.sum())
    p = float(stats.wilcoxon(nonzero).pvalue)
    return PairedTest(
        len(a), len(nonzero), float(differences.mean()), bootstrap_interval(differences), effect, min(1.0, p)
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """P values corrected for their number, by Holm's method (1979): each at least what it was, at most 1."""
    if not p_values:
        return []
    from statsmodels.stats.multitest import multipletests

    return [float(p) for p in multipletests(list(p_values), method="holm")[1]]


def _finite(values: ArrayLike) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64).ravel()
    if not np.isfinite(array).all():
        raise DataError("A value is not finite.", "Leave it out, and say so.")
    return array
