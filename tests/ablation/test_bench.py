"""Turns of the arms, ratios within rounds, and what is refused before anything is timed."""

from __future__ import annotations

import doctest
from collections import Counter
from itertools import pairwise
from typing import ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cxrkit.ablation import bench as benching
from cxrkit.ablation.bench import FILMS, UPDATES, bench, ratio, turns
from cxrkit.ablation.plan import PlannedRun, make_plan
from cxrkit.errors import ConfigError, PluginError, TrainingError
from cxrkit.plugins import registry

SECONDS = st.floats(1e-4, 1e3)
ROUNDS = st.lists(st.tuples(SECONDS, SECONDS), min_size=1, max_size=12)


@given(arms=st.integers(1, 9))
def test_every_arm_comes_equally_often_in_each_place_and_after_each_other_one(arms: int) -> None:
    orders = [turns(arms, number) for number in range(2 * arms)]
    places = Counter((place, arm) for order in orders for place, arm in enumerate(order))
    assert {places[place, arm] for place in range(arms) for arm in range(arms)} == {2}
    followers = Counter(pair for order in orders for pair in pairwise(order))
    assert {followers[a, b] for a in range(arms) for b in range(arms) if a != b} <= {2}


@given(rounds=ROUNDS, drift=st.data())
def test_a_drift_that_hits_both_arms_of_a_round_changes_no_ratio(rounds, drift) -> None:
    times, others = zip(*rounds, strict=True)
    slower = drift.draw(st.lists(st.sampled_from([0.5, 1.0, 2.0, 8.0]), min_size=len(rounds), max_size=len(rounds)))
    found = ratio(
        [t * s for t, s in zip(times, slower, strict=True)], [o * s for o, s in zip(others, slower, strict=True)]
    )
    assert found == ratio(times, others)


@given(rounds=ROUNDS)
def test_the_ratio_the_other_way_round_is_the_inverse_and_lies_in_its_interval(rounds) -> None:
    times, others = zip(*rounds, strict=True)
    found, inverse = ratio(times, others), ratio(others, times)
    assert found.median * inverse.median == pytest.approx(1)
    assert (found.interval is None) == (len(rounds) < 6)
    if found.interval is not None:
        assert found.interval.low <= found.median <= found.interval.high


def test_doctests_hold() -> None:
    result = doctest.testmod(benching)
    assert result.attempted
    assert not result.failed


class Pretender:
    """A rehearsal that takes a told time, but ever so often much longer, and writes down what is asked of it."""

    log: ClassVar[list[tuple[str, str]]] = []
    fails: ClassVar[tuple[str, str, BaseException]] = ("", "", Exception())

    def __init__(self, config, registry) -> None:
        self.name, self.device, self.precision, self.parameters = config.loss[0].name, torch.device("cpu"), "32", 7
        self._take("build", 0)

    def _take(self, what: str, seconds: float) -> float:
        self.log.append((what, self.name))
        if (self.name, what) == self.fails[:2]:
            raise self.fails[2]
        burst = self.log.count((what, self.name)) % {"update": UPDATES, "predict": FILMS}.get(what, 1) == 0
        return (100 if burst else 1) * seconds * {"dice": 1, "focal-tversky": 2, "tversky": 3}[self.name]

    def update(self) -> float:
        return self._take("update", 0.1)

    def predict(self) -> float:
        return self._take("predict", 0.01)

    def multiply_adds(self) -> int:
        return 11

    def warm_up(self) -> None:
        self._take("warm up", 0)


def planned(*losses: str) -> tuple[PlannedRun, ...]:
    return make_plan({"factors": {"loss": list(losses)}}).runs(registry())


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    monkeypatch.setattr(benching, "Rehearsal", Pretender)
    monkeypatch.setattr(Pretender, "log", [])
    return Pretender.log


def test_all_are_built_and_warm_before_any_is_timed_and_rounds_are_interleaved(log) -> None:
    names = ["dice", "focal-tversky", "tversky"]
    costs = bench(planned(*names), registry(), rounds=6)
    assert log[:6] == [("build", name) for name in names] + [("warm up", name) for name in names]
    timed = log[6:]
    turn = UPDATES + FILMS
    assert [what for what, _ in timed] == (["update"] * UPDATES + ["predict"] * FILMS) * 18
    rounds = [
        [timed[start][1] for start in range(first, first + 3 * turn, turn)] for first in range(0, 18 * turn, 3 * turn)
    ]
    assert all(sorted(order) == names for order in rounds)
    assert len({tuple(order) for order in rounds}) == 6
    assert [arm.update for arm in costs.arms] == pytest.approx([0.1, 0.2, 0.3])
    assert [arm.film for arm in costs.arms] == pytest.approx([0.01, 0.02, 0.03])
    assert [len(arm.films) for arm in costs.arms] == [6, 6, 6]
    assert [costs.film_ratio(arm).median for arm in costs.arms] == pytest.approx([1, 2, 3])


def test_another_arm_may_be_the_reference(log) -> None:
    costs = bench(planned("dice", "tversky"), registry(), rounds=1, reference="tversky")
    assert [costs.update_ratio(arm).median for arm in costs.arms] == pytest.approx([1 / 3, 1])
    with pytest.raises(ConfigError, match="Did you mean 'tversky'") as caught:
        bench(planned("dice", "tversky"), registry(), reference="tverski")
    assert caught.value.remedy == "There are: dice, tversky."


def test_an_arm_that_fails_is_named_before_anything_is_timed(log, monkeypatch: pytest.MonkeyPatch) -> None:
    error = TrainingError("There isn't enough memory.", "Use less.")
    monkeypatch.setattr(Pretender, "fails", ("tversky", "warm up", error))
    with pytest.raises(TrainingError) as caught:
        bench(planned("dice", "tversky"), registry())
    assert caught.value.what == "tversky: There isn't enough memory."
    assert str(caught.value) == "tversky: There isn't enough memory.\nUse less."
    assert not [what for what, _ in log if what in ("update", "predict")]


@pytest.mark.parametrize("what", ["build", "warm up", "update", "predict"])
def test_a_components_own_failure_names_its_arm_too(log, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setattr(Pretender, "fails", ("tversky", what, RuntimeError("sizes\ndiffer")))
    with pytest.raises(PluginError) as caught:
        bench(planned("dice", "tversky"), registry(), rounds=1)
    assert caught.value.what == "tversky: a defect of a component or of cxrkit: RuntimeError: sizes differ"
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_ctrl_c_is_not_an_arms_failure(log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pretender, "fails", ("dice", "update", KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        bench(planned("dice"), registry(), rounds=1)
