from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cxrkit.metrics.quality import Calibration, agreement, fit, ranking

share = st.floats(0, 1).map(lambda value: round(value, 4))


def test_results_agree_the_less_the_more_they_differ_and_the_less_certain_they_are() -> None:
    one = np.zeros((20, 20))
    one[5:15, 5:15] = 1
    shifted = np.roll(one, 3, axis=1)
    assert agreement(np.stack([one] * 4)) == 1
    assert agreement(np.stack([one, one, one, shifted])) < 0.95
    assert agreement(np.stack([0.7 * one] * 4)) == pytest.approx(0.4)
    assert agreement(np.zeros((4, 20, 20))) == 0, "nothing found isn't a mask that can be trusted"


@given(st.lists(st.tuples(share, share), min_size=1, max_size=40), share, share)
def test_a_calibration_rises_and_stays_within_what_it_saw(
    pairs: list[tuple[float, float]], one: float, other: float
) -> None:
    agreed, dices = zip(*pairs, strict=True)
    fitted = fit(agreed, dices, len(pairs))
    low, high = sorted((one, other))
    assert min(dices) - 1e-4 <= fitted.estimate(low) <= fitted.estimate(high) <= max(dices) + 1e-4


def test_a_calibration_finds_what_films_had() -> None:
    random = np.random.default_rng(0)
    agreed = random.uniform(0.5, 1, 2000)
    dices = np.clip(agreed**2 + random.normal(0, 0.03, 2000), 0, 1)
    fitted = fit(agreed.tolist(), dices.tolist(), 2000)
    for value in (0.6, 0.75, 0.9):
        assert fitted.estimate(value) == pytest.approx(value**2, abs=0.02)
    assert Calibration.model_validate_json(fitted.model_dump_json()) == fitted


@pytest.mark.parametrize(
    ("agreed", "dices"), [((0.5, 0.4), (0.1, 0.2)), ((0.4, 0.5), (0.2, 0.1)), ((0.4, 1.1), (0.1, 0.2)), ((0.4,), ())]
)
def test_what_is_no_calibration_is_refused(agreed: tuple[float, ...], dices: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError):
        Calibration(agreement=agreed, dice=dices, films=5)


def test_ranking_by_hand() -> None:
    correlation, area = ranking([0.1, 0.4, 0.3, 0.9], [0.2, 0.8, 0.95, 0.97])
    assert correlation == pytest.approx(0.8)
    assert area == 0.75, "of four pairs of a bad mask and a good one, one is in the wrong order"
    assert ranking([0.1, 0.2], [0.95, 0.96])[1] is None
