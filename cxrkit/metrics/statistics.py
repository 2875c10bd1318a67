"""What repeated and paired measurements say: spreads, intervals, paired tests, effect sizes.

The statistics are scipy's; this module is how the toolkit uses them.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from cxrkit.errors import DataError

#: Resamplings of a bootstrap; its randomness is fixed, so that a report doesn't change when it is written again.
RESAMPLINGS = 2000
_SEED = 20210120
#: A p below it is called significant.
ALPHA = 0.05
#: Smaller differences are rounding errors of floats: 0.1 + 0.2 isn't more than 0.3.
EQUAL = 1e-9
#: Pairs up to which SciPy's signed-rank test is exact although there are ties among them.
MOST_EXACT_WITH_TIES = 13


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class PairedTest:
    """How one series differs from another on the same items.

    Attributes:
        items: pairs, and of them `differing` those that aren't equal (to `EQUAL`).
        above: pairs in which the first is larger.
        difference: mean of first minus second, with its bootstrap `interval` (None for a single pair, or if not
            requested).
        effect: matched-pairs rank-biserial correlation in [-1, 1]: the share of rank sums in favour of the first minus
            that of the second (Kerby 2014); 0 where all pairs are equal.
        p: two-sided, of Wilcoxon's signed-rank test; 1 where all pairs are equal.
    """

    items: int
    differing: int
    above: int
    difference: float
    interval: Interval | None
    effect: float
    p: float

    def turned(self) -> PairedTest:
        """The same with the second series as the first."""
        interval = None if self.interval is None else Interval(-self.interval.high, -self.interval.low)
        above = self.differing - self.above
        return PairedTest(self.items, self.differing, above, -self.difference, interval, -self.effect, self.p)


def sample_std(values: Sequence[float]) -> float | None:
    """Sample standard deviation (n - 1); None for fewer than two values."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def bootstrap_interval(values: ArrayLike, clusters: Sequence[Hashable] | None = None) -> Interval | None:
    """A 95 % confidence interval of the mean, by the bias-corrected and accelerated bootstrap (Efron 1987).

    Args:
        values: `(n,)`, finite.
        clusters: what each value belongs to, such as a film's patient: values of one are drawn together, since they
            aren't independent of each other. The mean stays that of all values. None: each is one of its own.

    Returns:
        None for fewer than two values, or clusters. Equal values give an interval of no width.

    Raises:
        DataError: a value isn't finite, or there aren't as many clusters as values.
    """
    array = _finite(values)
    sums, counts = _cluster_sums(array, range(len(array)) if clusters is None else clusters)
    if len(sums) < 2:
        return None
    means = sums / counts
    if np.ptp(means) == 0:
        return Interval(float(means[0]), float(means[0]))
    found = _bootstrap(sums, counts, "BCa")
    if not np.isfinite([found.low, found.high]).all():  # the acceleration isn't defined for very few, tied values
        found = _bootstrap(sums, counts, "percentile")
    return found


def median_interval(values: ArrayLike) -> Interval | None:
    """A 95 % confidence interval of the median, whatever the distribution: two of the values (Conover 1999, §3.2).

    Args:
        values: `(n,)`, finite, independent of each other.

    Returns:
        None for fewer than six values: even their whole range would cover the median less often.

    Raises:
        DataError: a value isn't finite.

    >>> median_interval([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    Interval(low=2.0, high=9.0)
    """
    array = _finite(values)
    if len(array) == 0:
        return None
    found = stats.quantile_test(array, q=float(np.median(array)), p=0.5).confidence_interval(confidence_level=0.95)
    if not np.isfinite([found.low, found.high]).all():
        return None
    return Interval(float(found.low), float(found.high))


def _cluster_sums(values: np.ndarray, clusters: Sequence[Hashable]) -> tuple[np.ndarray, np.ndarray]:
    """Each cluster's sum and its number of values, in order of first appearance."""
    if len(clusters) != len(values):
        raise DataError(f"{len(values)} values in {len(clusters)} clusters.", "Name the cluster of each value.")
    place = {cluster: index for index, cluster in enumerate(dict.fromkeys(clusters))}
    of = [place[cluster] for cluster in clusters]
    return np.bincount(of, weights=values), np.bincount(of)


def _bootstrap(sums: np.ndarray, counts: np.ndarray, method: Literal["BCa", "percentile"]) -> Interval:
    def mean(sums: np.ndarray, counts: np.ndarray, axis: int = -1) -> np.ndarray:
        found: np.ndarray = sums.sum(axis=axis) / counts.sum(axis=axis)
        return found

    random = np.random.default_rng(_SEED)
    found = stats.bootstrap((sums, counts), mean, paired=True, n_resamples=RESAMPLINGS, method=method, rng=random)
    return Interval(float(found.confidence_interval.low), float(found.confidence_interval.high))


def compare(first: ArrayLike, second: ArrayLike, *, interval: bool = True) -> PairedTest:
    """Compare two series of the same items, such as the Dice coefficients of two networks on the same films.

    Args:
        first, second: `(n,)`, finite, n ≥ 1; item by item of the same thing.
        interval: whether the difference's is wanted; it takes most of the time.

    Raises:
        DataError: they differ in length, are empty, or a value isn't finite.

    >>> compare([0.1 + 0.2] * 10, [0.3] * 10).p
    1.0
    """
    a, b = _finite(first), _finite(second)
    if a.shape != b.shape or len(a) == 0:
        raise DataError(f"{len(a)} and {len(b)} values can't be paired.", "Give two series of the same items.")
    differences = np.where(np.abs(a - b) < EQUAL, 0.0, a - b)
    nonzero = differences[differences != 0]
    effect, p = 0.0, 1.0
    if len(nonzero):
        ranks = stats.rankdata(np.abs(nonzero))
        effect = float((ranks[nonzero > 0].sum() - ranks[nonzero < 0].sum()) / ranks.sum())
        p = min(1.0, _signed_rank_p(nonzero, ranks))
    return PairedTest(
        items=len(a),
        differing=len(nonzero),
        above=int((nonzero > 0).sum()),
        difference=float(differences.mean()),
        interval=bootstrap_interval(differences) if interval else None,
        effect=effect,
        p=p,
    )


def _signed_rank_p(differences: np.ndarray, ranks: np.ndarray) -> float:
    """Wilcoxon's p, as `scipy.stats.wilcoxon` has it, of differences other than 0 and the ranks of their sizes.

    With ties among a few pairs, SciPy ranks each of the 2^n sign patterns again, which takes seconds; the ranks are
    the same each time.
    """
    if len(ranks) > MOST_EXACT_WITH_TIES or len(np.unique(ranks)) == len(ranks):
        return float(stats.wilcoxon(differences).pvalue)

    def positive(signed: np.ndarray, axis: int) -> np.ndarray:
        found: np.ndarray = np.where(signed > 0, ranks, 0.0).sum(axis=axis)
        return found

    return float(stats.permutation_test((differences,), positive, permutation_type="samples", vectorized=True).pvalue)


def smallest_p(items: int) -> float:
    """The smallest p that Wilcoxon's two-sided signed-rank test can give for so many pairs, all differing one way.

    >>> smallest_p(5), smallest_p(6)
    (0.0625, 0.03125)
    """
    return min(1.0, 2.0 ** (1 - items))


def holm(p_values: Sequence[float]) -> list[float]:
    """P values corrected for their number, by Holm's method (1979): none becomes smaller, and none exceeds 1.

    >>> holm([0.01, 0.25, 0.125])
    [0.03, 0.25, 0.25]
    """
    given = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(given)
    corrected = np.empty_like(given)
    corrected[order] = np.maximum.accumulate(given[order] * np.arange(len(given), 0, -1))
    return [float(p) for p in np.minimum(corrected, 1.0)]


def _finite(values: ArrayLike) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64).ravel()
    if not np.isfinite(array).all():
        raise DataError("A value is not finite.", "Leave it out, and report that.")
    return array
