"""Spreads, intervals and paired tests."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cxrkit.errors import DataError
from cxrkit.metrics.statistics import Interval, bootstrap_interval, compare, holm, median_interval, smallest_p

SERIES = st.lists(st.floats(0, 1, allow_nan=False).map(lambda x: round(x, 3)), min_size=2, max_size=30)


def test_against_scipy() -> None:
    random = np.random.default_rng(1)
    a, b = random.normal(0.9, 0.02, 38), random.normal(0.89, 0.02, 38)
    test = compare(a, b)
    assert test.p == pytest.approx(stats.wilcoxon(a, b).pvalue)
    assert test.difference == pytest.approx((a - b).mean())
    assert test.interval is not None
    t = stats.t.interval(0.95, 37, (a - b).mean(), stats.sem(a - b))
    assert (test.interval.low, test.interval.high) == pytest.approx(t, abs=1.5e-3)


@pytest.mark.parametrize("pairs", [3, 8, 11, 14])
def test_ties_give_the_p_of_scipy(pairs: int) -> None:
    differences = np.random.default_rng(pairs).integers(-3, 6, pairs) / 8
    differences[0] = differences[1] = 0.25
    nonzero = differences[differences != 0]
    assert compare(differences, np.zeros(pairs), interval=False).p == pytest.approx(stats.wilcoxon(nonzero).pvalue)


@given(SERIES)
def test_a_medians_interval_holds_it_and_is_of_the_ranks_that_the_binomial_distribution_says(
    values: list[float],
) -> None:
    found = median_interval(values)
    # So many of the n values lie below the true median as heads fall in n throws: the low rank is exceeded by chance.
    rank = int(stats.binom.ppf(0.025, len(values), 0.5))
    if rank == 0:
        assert found is None
        assert len(values) < 6
        return
    ordered = sorted(values)
    assert found == Interval(ordered[rank - 1], ordered[-rank])
    assert found.low <= np.median(values) <= found.high


@pytest.mark.parametrize(("a", "b", "effect"), [([2, 3, 4], [1, 1, 1], 1.0), ([1, 1, 1], [2, 3, 4], -1.0)])
def test_one_sided_differences_have_the_full_effect(a: list[float], b: list[float], effect: float) -> None:
    assert compare(a, b).effect == effect


def test_kerbys_example_of_ranks() -> None:
    # Differences 1, 2, -3 have rank sums 3 and 3; with 1, -2, 3 they are 4 and 2 of 6.
    assert compare([1, 2, 0], [0, 0, 3]).effect == 0
    assert compare([1, 0, 3], [0, 2, 0]).effect == pytest.approx(2 / 6)


@given(SERIES)
@settings(max_examples=20, deadline=None)
def test_equal_series_do_not_differ(values: list[float]) -> None:
    test = compare(values, values)
    assert (test.p, test.effect, test.difference, test.differing) == (1.0, 0.0, 0.0, 0)


def test_rounding_errors_are_no_differences() -> None:
    test = compare([0.1 + 0.2] * 10, [0.3] * 10)
    assert (test.p, test.effect, test.difference, test.differing, test.above) == (1.0, 0.0, 0.0, 0, 0)


def test_pairs_above_are_counted_and_intervals_only_where_asked_for() -> None:
    test = compare([0.9, 0.8, 0.7, 0.5], [0.8, 0.9, 0.6, 0.5], interval=False)
    assert (test.items, test.differing, test.above, test.interval) == (4, 3, 2, None)


@pytest.mark.parametrize("items", [1, 4, 6, 9])
def test_the_smallest_p_is_that_of_differences_in_one_direction(items: int) -> None:
    assert compare(np.arange(1, items + 1), np.zeros(items)).p == pytest.approx(smallest_p(items))


@given(SERIES, st.randoms())
@settings(max_examples=25, deadline=None)
def test_the_other_way_round_turns_signs(values: list[float], random: object) -> None:
    other = [random.random() for _ in values]  # type: ignore[attr-defined]
    one, two = compare(values, other), compare(other, values)
    assert one.p == pytest.approx(two.p)
    assert one.above + two.above == one.differing
    turned = one.turned()
    assert (turned.above, turned.effect) == (two.above, pytest.approx(two.effect))
    assert turned.difference == pytest.approx(two.difference)
    assert one.effect == pytest.approx(-two.effect)
    assert -1 <= one.effect <= 1
    assert 0 < one.p <= 1


@given(SERIES)
@settings(max_examples=20, deadline=None)
def test_the_interval_holds_the_mean(values: list[float]) -> None:
    found = bootstrap_interval(values)
    assert found is not None
    assert found.low - 1e-9 <= np.mean(values) <= found.high + 1e-9


@given(SERIES)
@settings(max_examples=10, deadline=None)
def test_clusters_of_one_change_nothing_and_of_two_are_wider(values: list[float]) -> None:
    alone = bootstrap_interval(values)
    assert alone == bootstrap_interval(values, [f"film {n}" for n in range(len(values))])
    doubled = bootstrap_interval(np.repeat(values, 2), np.repeat(np.arange(len(values)), 2).tolist())
    assert alone is not None
    assert doubled is not None
    assert (doubled.low, doubled.high) == pytest.approx((alone.low, alone.high)), "a copy is no new witness"


def test_too_few_or_unfit_values() -> None:
    assert bootstrap_interval([0.5]) is None
    assert bootstrap_interval([0.5, 0.6], ["one", "one"]) is None
    with pytest.raises(DataError, match="2 values in 1 clusters"):
        bootstrap_interval([0.5, 0.6], ["one"])
    assert bootstrap_interval([0.5, 0.5]) == Interval(0.5, 0.5)
    with pytest.raises(DataError):
        bootstrap_interval([0.5, float("inf")])
    with pytest.raises(DataError):
        compare([1.0], [1.0, 2.0])
    with pytest.raises(DataError):
        compare([], [])


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_never_lowers_and_keeps_the_order(p_values: list[float]) -> None:
    corrected = holm(p_values)
    assert all(p <= c <= 1 for p, c in zip(p_values, corrected, strict=True))
    ranked = [c for _, c in sorted(zip(p_values, corrected, strict=True))]
    assert ranked == sorted(ranked)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
