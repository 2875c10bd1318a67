"""Differences of arms, and of a factor's levels, with their tests.

Two arms are compared on the films and seeds that both were tested on.

A factor's main effect is what its levels score, the other factors and the seed being the same. A block is one
combination of the other factors' levels with one seed. Only blocks that every level of the factor has count, on the
films that all of its runs were tested on; otherwise a level that lacks a hard block would look good. Blocks whose runs
are of different data don't count: their films only share names. Levels are compared over blocks: a difference that
shows in most of them holds for other seeds and settings too, which a test over films can't show.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from cxrkit.ablation.plan import Arm, Factor
from cxrkit.metrics.statistics import EQUAL, PairedTest, compare, holm, sample_std
from cxrkit.report.ablation.cells import ArmNumbers
from cxrkit.report.ablation.columns import Column

_NO_BLOCK = "no combination of the other factors and a seed has scores for every level"


@dataclass(frozen=True)
class Comparison:
    """Two arms in one column, on the films that both were tested on with the same seed.

    Films of one patient count once, with their mean. Where their data differ, films of one name are other films.

    Attributes:
        test: None where there is no such film: they cannot be compared.
        corrected: the test's p, by Holm over all pairs of arms in this column.
        by_seed: seed to the mean difference over its films, first minus second.
    """

    column: Column
    first: Arm
    second: Arm
    test: PairedTest | None
    corrected: float | None
    by_seed: Mapping[int, float]

    @property
    def seeds_above(self) -> int:
        """In how many seeds the first is the larger one."""
        return sum(difference > EQUAL for difference in self.by_seed.values())

    def turned(self) -> Comparison:
        """The same with the second arm as the first."""
        test = None if self.test is None else self.test.turned()
        by_seed = {seed: -difference for seed, difference in self.by_seed.items()}
        return replace(self, first=self.second, second=self.first, test=test, by_seed=by_seed)


@dataclass(frozen=True)
class FactorEffects:
    """A factor's main effect on one column.

    Attributes:
        levels: level to its blocks' means over films, the blocks in the same order for all; empty where `problem` says
            why the effect cannot be determined.
        planned: blocks that any level has in the plan.
        absent: levels without any scores; the others are compared without them.
    """

    factor: str
    column: Column
    levels: Mapping[str, tuple[float, ...]]
    planned: int
    absent: tuple[str, ...]
    problem: str | None = None


@dataclass(frozen=True)
class LevelPair:
    """Two levels of a factor in one column, compared over blocks.

    Attributes:
        first, second: the levels' names.
        std: sample standard deviation over blocks of the differences, first minus second.
        test: its items are blocks.
        corrected: the test's p, by Holm over all pairs of the factor's levels in this column.
    """

    factor: str
    column: Column
    first: str
    second: str
    std: float | None
    test: PairedTest
    corrected: float


def compare_arms(arms: Sequence[ArmNumbers], column: Column, *, intervals: bool) -> list[Comparison]:
    """Every pair of the arms that have values in a column, if asked for with the differences' bootstrap intervals."""
    scored = [arm for arm in arms if arm.cells[column.key].values]
    compared: list[tuple[Arm, Arm, PairedTest | None, dict[int, float]]] = []
    for first, second in combinations(scored, 2):
        pairs = _paired(first, second, column) if column.caveat is None else {}
        values = _over_patients(pairs, first.cells[column.key].patients)
        test = compare(values[:, 0], values[:, 1], interval=intervals) if len(values) else None
        compared.append((first.arm, second.arm, test, _over_films(pairs)))
    corrected = iter(holm([test.p for _, _, test, _ in compared if test is not None]))
    return [
        Comparison(column, a, b, test, None if test is None else next(corrected), by_seed)
        for a, b, test, by_seed in compared
    ]


_Pairs = Mapping[tuple[int, str], tuple[float, float]]


def _paired(first: ArmNumbers, second: ArmNumbers, column: Column) -> _Pairs:
    """Seed and film to both arms' values, where both have one and are of the same data."""
    others = second.cells[column.key].known
    return {
        (seed, film): (value, others[seed][film])
        for seed, films in first.cells[column.key].known.items()
        if seed in others and first.data.get(seed) == second.data.get(seed)
        for film, value in films.items()
        if film in others[seed]
    }


def _over_patients(pairs: _Pairs, patients: Mapping[str, str]) -> np.ndarray:
    """Each patient's two means over their films, of a film over seeds; float64 `(patients, 2)`."""
    films: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for (_, film), both in pairs.items():
        films[film].append(both)
    of_patients: dict[str, list[np.ndarray]] = defaultdict(list)
    for film, values in films.items():
        of_patients[patients.get(film, film)].append(np.mean(values, axis=0))
    return np.array([np.mean(values, axis=0) for values in of_patients.values()])


def _over_films(pairs: _Pairs) -> dict[int, float]:
    """Seed to the mean difference over its films."""
    differences: dict[int, list[float]] = defaultdict(list)
    for (seed, _), (value, other) in pairs.items():
        differences[seed].append(value - other)
    return {seed: float(np.mean(values)) for seed, values in differences.items()}


def factor_effects(factor: Factor, arms: Sequence[ArmNumbers], column: Column, seeds: int) -> FactorEffects:
    """A factor's effect on a column: the factor has at least two levels, and `seeds` are planned."""
    blocks: dict[tuple[tuple[str, ...], int], dict[str, ArmNumbers]] = defaultdict(dict)
    for arm in arms:
        for seed in arm.cells[column.key].seeds:
            blocks[_others(arm, factor), seed][arm.arm.levels[factor.name]] = arm
    planned = len({_others(arm, factor) for arm in arms}) * seeds
    scored = {level for block in blocks.values() for level in block}
    present = [level.label for level in factor.levels if level.label in scored]
    absent = tuple(level.label for level in factor.levels if level.label not in scored)
    whole = {place: block for place, block in blocks.items() if len(block) == len(present)}
    alike = {p: block for p, block in whole.items() if len({arm.data.get(p[1]) for arm in block.values()}) == 1}
    means = [
        found
        for (_, seed), block in alike.items()
        if (found := _means({level: block[level].cells[column.key].known[seed] for level in present}))
    ]
    problem = column.caveat or (None if len(present) > 1 else "fewer than two levels have scores")
    if problem is None and not means:
        problem = "its levels were tested on different data" if len(alike) < len(whole) else _NO_BLOCK
    levels = {} if problem else {level: tuple(block[level] for block in means) for level in present}
    return FactorEffects(factor.name, column, levels, planned, absent, problem)


def _others(arm: ArmNumbers, factor: Factor) -> tuple[str, ...]:
    return tuple(level for name, level in arm.arm.levels.items() if name != factor.name)


def _means(block: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Level to its mean over the films that all levels have values on; empty where there are none."""
    films = sorted(set.intersection(*(set(values) for values in block.values())))
    return {level: float(np.mean([values[film] for film in films])) for level, values in block.items() if films}


def compare_levels(effects: FactorEffects) -> list[LevelPair]:
    """Every pair of a factor's levels; none where there are fewer than two blocks."""
    pairs = [(a, b) for a, b in combinations(effects.levels, 2) if len(effects.levels[a]) > 1]
    values = [(effects.levels[a], effects.levels[b]) for a, b in pairs]
    tests = [compare(first, second, interval=False) for first, second in values]
    stds = [sample_std([x - y for x, y in zip(first, second, strict=True)]) for first, second in values]
    corrected = holm([test.p for test in tests])
    return [
        LevelPair(effects.factor, effects.column, a, b, std, test, p)
        for (a, b), std, test, p in zip(pairs, stds, tests, corrected, strict=True)
    ]
