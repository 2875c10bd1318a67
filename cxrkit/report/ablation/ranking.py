"""Which arms can be ranked in a column, and on which seeds and films.

A mean over an easy seed, or over the films that a network didn't fail on, isn't better than one over all. Arms are
ranked on the same seeds and films only:

* arms that have every planned seed; if none has, all arms, on the seeds that they share;
* of these, arms that have a value wherever another has one;
* the films of each seed that all of them were tested on; none where arms are of different data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from cxrkit.metrics.statistics import EQUAL
from cxrkit.report.ablation.cells import ArmNumbers
from cxrkit.report.ablation.columns import Column

#: Why arms cannot be ranked whose films only share their names.
DIFFERENT_DATA = "they were tested on different data"


@dataclass(frozen=True)
class Ranking:
    """The arms that can be ranked in one column.

    Attributes:
        ranked: the arms, each with its mean over `seeds` of its means over the films that all were tested on; empty
            where `problem` says why none can be ranked.
        seeds: that all ranked arms have.
        left_out: label to reason, of arms that have values and aren't ranked: missing seeds, or values that are lost.
        shared: whether this is less than what the arms' own means are over: fewer seeds or films.
    """

    column: Column
    ranked: tuple[tuple[ArmNumbers, float], ...] = ()
    seeds: tuple[int, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    shared: bool = False
    problem: str | None = None

    @property
    def best(self) -> tuple[ArmNumbers, ...]:
        """The arms with the best mean; several where they are equal."""
        if not self.ranked:
            return ()
        sign = 1 if self.column.measure.higher_is_better else -1
        top = max(sign * mean for _, mean in self.ranked)
        return tuple(arm for arm, mean in self.ranked if top - sign * mean < EQUAL)

    @property
    def best_mean(self) -> float | None:
        """Their mean."""
        best = self.best
        return next((mean for arm, mean in self.ranked if arm in best), None)


def rank_arms(arms: Sequence[ArmNumbers], column: Column, seeds: Sequence[int]) -> Ranking:
    """The ranking of all arms of an ablation by a column; `seeds` are the planned ones."""
    if column.caveat is not None:
        return Ranking(column, problem=column.caveat)
    cells = {arm.label: arm.cells[column.key] for arm in arms}
    scored = [arm for arm in arms if cells[arm.label].values]
    absent = {arm.label: [str(s) for s in seeds if s not in cells[arm.label].values] for arm in scored}
    candidates = [arm for arm in scored if not absent[arm.label]] or scored
    shared = tuple(seed for seed in seeds if all(seed in cells[arm.label].values for arm in candidates))
    known = {arm.label: {seed: set(cells[arm.label].known[seed]) for seed in shared} for arm in candidates}
    anyone: dict[int, set[str]] = {seed: set().union(*(films[seed] for films in known.values())) for seed in shared}
    lost = {
        label: sum(len((cells[label].values[seed].keys() - own[seed]) & anyone[seed]) for seed in shared)
        for label, own in known.items()
    }
    ranked = [arm for arm in candidates if not lost[arm.label]]
    left_out = {
        arm.label: f"seed {', '.join(absent[arm.label])} missing" for arm in scored if arm not in candidates
    } | {
        arm.label: f"no value on {lost[arm.label]} of {cells[arm.label].tested} films"
        for arm in candidates
        if arm not in ranked
    }
    films = {seed: set.intersection(*(known[arm.label][seed] for arm in ranked)) for seed in shared if ranked}
    problem = None
    if not scored:
        problem = "no arm has values"
    elif any(len({arm.data.get(seed) for arm in candidates}) > 1 for seed in shared):
        problem = DIFFERENT_DATA
    elif not shared:
        problem = "no arm has every seed, and no seed is common to all"
    elif not ranked:
        problem = "each arm lost films that another has"
    elif not all(films.values()):
        problem = "they share no test films"
    if problem is not None:
        return Ranking(column, (), shared, left_out, False, problem)
    means = tuple((arm, _mean(cells[arm.label].known, films)) for arm in ranked)
    fewer = len(shared) < len(seeds) or any(known[arm.label] != films for arm in ranked)
    return Ranking(column, means, shared, left_out, fewer)


def _mean(values: Mapping[int, Mapping[str, float]], films: Mapping[int, set[str]]) -> float:
    """Over seeds, of the means over these films."""
    return float(np.mean([np.mean([values[seed][film] for film in sorted(of)]) for seed, of in films.items()]))
