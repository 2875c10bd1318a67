"""Which arms can be ranked in a measure, and on which seeds and films.

A mean over an easy seed, or over the films that a network didn't fail on, isn't better than one over all. Arms are
ranked on the same seeds and films only:

* arms that have every planned seed; where none has, all, on the seeds that they share;
* of these, arms that have a value wherever another has one;
* the films of each seed that all of them were tested on; none where arms are of different data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cxrkit.metrics.statistics import EQUAL
from cxrkit.report.ablation.cells import ArmNumbers
from cxrkit.report.ablation.measures import Measure

#: Why arms can't be ranked whose films only share their names.
DIFFERENT_DATA = "they were tested on different data"


@dataclass(frozen=True)
class LeftOut:
    """An arm that isn't ranked, and why: seeds that are missing, or values that it lost."""

    arm: ArmNumbers
    why: str


@dataclass(frozen=True)
class Ground:
    """What arms are ranked on in one measure.

    Attributes:
        ranked: the arms, each with its mean over `seeds` of its means over the films that all were tested on; empty
            where `problem` says why none can be ranked.
        best: those of the best mean; several where they are equal.
        seeds: that all ranked arms have.
        left_out: arms that have values and aren't ranked.
        shared: whether this is less than what the arms' own means are over: fewer seeds or films.
    """

    measure: Measure
    ranked: tuple[tuple[ArmNumbers, float], ...]
    seeds: tuple[int, ...]
    left_out: tuple[LeftOut, ...]
    shared: bool
    problem: str | None = None

    @property
    def best(self) -> tuple[ArmNumbers, ...]:
        """The arms of the best mean."""
        if not self.ranked:
            return ()
        sign = 1 if self.measure.higher_is_better else -1
        top = max(sign * mean for _, mean in self.ranked)
        return tuple(arm for arm, mean in self.ranked if top - sign * mean < EQUAL)

    @property
    def best_mean(self) -> float | None:
        """Their mean."""
        best = self.best
        return next((mean for arm, mean in self.ranked if arm in best), None)


def common_ground(arms: Sequence[ArmNumbers], measure: Measure, seeds: Sequence[int]) -> Ground:
    """What arms can be ranked on.

    Args:
        arms: all arms of the ablation.
        measure: what they are ranked by.
        seeds: the planned ones.
    """
    scored = [arm for arm in arms if arm.cells[measure.key].values]
    if measure.caveat is not None:
        return Ground(measure, (), (), (), False, measure.caveat)
    complete = [arm for arm in scored if all(seed in arm.cells[measure.key].values for seed in seeds)]
    candidates = complete or scored
    shared_seeds = tuple(seed for seed in seeds if all(seed in arm.cells[measure.key].values for arm in candidates))
    left_out = [LeftOut(arm, _missing_seeds(arm, measure, seeds)) for arm in scored if arm not in candidates]
    losses = {arm.arm.slug: _losses(arm, candidates, measure, shared_seeds) for arm in candidates}
    left_out += [
        LeftOut(arm, f"no value on {lost} of {arm.cells[measure.key].tested} films")
        for arm in candidates
        if (lost := losses[arm.arm.slug])
    ]
    ranked = [arm for arm in candidates if not losses[arm.arm.slug]]
    films = {seed: _shared_films(ranked, measure, seed) for seed in shared_seeds}
    problem = _problem(scored, ranked, shared_seeds, all(films.values()))
    if any(len({arm.data.get(seed) for arm in candidates}) > 1 for seed in shared_seeds):
        problem = DIFFERENT_DATA
    if problem is not None:
        return Ground(measure, (), shared_seeds, tuple(left_out), False, problem)
    means = tuple((arm, _mean(arm, measure, films)) for arm in ranked)
    own = {(arm.arm.slug, seed): _with_value(arm, measure, seed) for arm in ranked for seed in shared_seeds}
    fewer = len(shared_seeds) < len(seeds) or any(found != films[seed] for (_, seed), found in own.items())
    return Ground(measure, means, shared_seeds, tuple(left_out), fewer)


def _problem(
    scored: Sequence[ArmNumbers], ranked: Sequence[ArmNumbers], seeds: Sequence[int], films: bool
) -> str | None:
    if not scored:
        return "no arm has values"
    if not seeds:
        return "no arm has every seed, and there is none that all have"
    if not ranked:
        return "each arm lost films that another has"
    return None if films else "they share no test films"


def _missing_seeds(arm: ArmNumbers, measure: Measure, seeds: Sequence[int]) -> str:
    missing = [str(seed) for seed in seeds if seed not in arm.cells[measure.key].values]
    return f"seed {', '.join(missing)} missing"


def _losses(arm: ArmNumbers, others: Sequence[ArmNumbers], measure: Measure, seeds: Sequence[int]) -> int:
    """How many films an arm has no value on though another has one."""
    count = 0
    for seed in seeds:
        lost = {film for film, value in arm.cells[measure.key].values[seed].items() if value is None}
        if lost:
            count += len(lost & frozenset().union(*(_with_value(other, measure, seed) for other in others)))
    return count


def _with_value(arm: ArmNumbers, measure: Measure, seed: int) -> frozenset[str]:
    return frozenset(film for film, value in arm.cells[measure.key].values[seed].items() if value is not None)


def _shared_films(arms: Sequence[ArmNumbers], measure: Measure, seed: int) -> frozenset[str]:
    return frozenset.intersection(*(_with_value(arm, measure, seed) for arm in arms)) if arms else frozenset()


def _mean(arm: ArmNumbers, measure: Measure, films: dict[int, frozenset[str]]) -> float:
    """Over seeds, of the means over these films."""
    values = arm.cells[measure.key].values
    of_seeds = [
        [value for film in sorted(chosen) if (value := values[seed][film]) is not None]
        for seed, chosen in films.items()
    ]
    return float(np.mean([np.mean(found) for found in of_seeds]))
