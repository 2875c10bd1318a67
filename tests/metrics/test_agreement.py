from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrkit.errors import DataError
from cxrkit.metrics.agreement import ratio_agreement

ratios = st.lists(st.tuples(st.floats(0.2, 0.9), st.floats(0.2, 0.9)), min_size=2, max_size=20)


@given(ratios, st.floats(-0.1, 0.1))
def test_a_shift_moves_the_bias_and_the_limits_alone(pairs: list[tuple[float, float]], shift: float) -> None:
    measured, true = np.array(pairs).T
    plain, moved = ratio_agreement(measured, true), ratio_agreement(measured + shift, true)
    assert plain is not None
    assert moved is not None
    assert plain.limits is not None
    assert moved.limits is not None
    assert moved.bias == pytest.approx(plain.bias + shift)
    assert np.subtract(moved.limits, plain.limits) == pytest.approx([shift, shift])
    assert plain.limits[1] - plain.limits[0] == pytest.approx(2 * 1.96 * (measured - true).std(ddof=1))


@given(ratios)
def test_who_is_the_truth_only_turns_the_signs(pairs: list[tuple[float, float]]) -> None:
    measured, true = np.array(pairs).T
    one, other = ratio_agreement(measured, true), ratio_agreement(true, measured)
    assert one is not None
    assert other is not None
    assert one.bias == pytest.approx(-other.bias)
    assert (one.variation, one.same_side) == pytest.approx((other.variation, other.same_side))


def test_the_variation_is_that_of_repeated_measurements() -> None:
    """Two measurements of each film: the within-film variance is half the mean square of their differences."""
    pairs = np.array([[0.40, 0.44], [0.50, 0.50], [0.60, 0.56]])
    found = ratio_agreement(*pairs.T)
    assert found is not None
    within = np.sqrt(np.mean(pairs.var(axis=1, ddof=1)))
    assert found.variation == pytest.approx(within / pairs.mean())


def test_one_half_itself_is_not_enlarged() -> None:
    found = ratio_agreement([0.5, 0.51, 0.49, 0.7], [0.4, 0.49, 0.5, 0.8])
    assert found is not None
    assert found.same_side == 0.75


def test_few_films_and_bad_ratios() -> None:
    assert ratio_agreement([], []) is None
    one = ratio_agreement([0.5], [0.4])
    assert one is not None
    assert one.limits is None
    for measured, true in (([0.5], [0.4, 0.3]), ([0.0], [0.4]), ([float("nan")], [0.4])):
        with pytest.raises(DataError):
            ratio_agreement(measured, true)
