"""Main effects: what a factor's levels score, the other factors and the seed being the same.

A block is one combination of the other factors' levels with one seed. Only blocks that every level of the factor has
count, on the films that all of its runs were tested on; else a level that lacks a hard block would look good. Blocks
whose runs are of different data don't count: their films only share names.

Two levels are compared over blocks: a difference that shows in most of them outlasts other seeds and settings, which a
test over films can't say.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from cxrkit.ablation.plan import Factor
from cxrkit.metrics.statistics import PairedTest, compare, holm
from cxrkit.report.ablation.cells import ArmNumbers
from cxrkit.report.ablation.measures import Measure, sample_std

Values = Mapping[str, float | None]
_Place = tuple[tuple[str, ...], int]
_NO_BLOCK = "no combination of the other factors and a seed has scores for every level"


@dataclass(frozen=True)
class Effect:
    """One level of a factor in one measure.

    Attributes:
        factor, level: their names; `measure` is the measure's key.
        values: a block's mean over films each, in the same order for all levels of the factor.
    """

    factor: str
    level: str
    measure: str
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over blocks."""
        return float(np.mean(self.values))

    @property
    def std(self) -> float | None:
        """Sample standard deviation over blocks; None for fewer than two."""
        return sample_std(self.values)

    @property
    def runs(self) -> int:
        """How many there are of that level."""
        return len(self.values)


@dataclass(frozen=True)
class FactorEffects:
    """A factor's levels in one measure.

    Attributes:
        levels: empty where `problem` says why there is no effect to tell.
        planned: blocks that any level has in the plan.
        absent: levels without any scores; the others are compared without them.
    """

    factor: str
    measure: str
    levels: tuple[Effect, ...]
    planned: int
    absent: tuple[str, ...]
    problem: str | None = None


@dataclass(frozen=True)
class LevelPair:
    """Two levels of a factor in one measure, compared over blocks.

    Attributes:
        first, second: the levels' names.
        std: sample standard deviation over blocks of the differences, first minus second.
        test: its items are blocks.
        corrected: the test's p, by Holm over all pairs of the factor's levels in this measure.
    """

    factor: str
    measure: str
    first: str
    second: str
    std: float | None
    test: PairedTest
    corrected: float


def factor_effects(factor: Factor, arms: Sequence[ArmNumbers], measure: Measure, seeds: int) -> FactorEffects:
    """A factor's effect on a measure.

    Args:
        factor: one with at least two levels.
        arms: all arms of the ablation.
        measure: what is measured.
        seeds: how many are planned.
    """
    blocks: dict[_Place, dict[str, Values]] = defaultdict(dict)
    data: dict[_Place, set[int | None]] = defaultdict(set)
    for arm in arms:
        for seed, values in arm.cells[measure.key].values.items():
            if any(value is not None for value in values.values()):
                blocks[_others(arm, factor), seed][arm.arm.levels[factor.name]] = values
                data[_others(arm, factor), seed].add(arm.data.get(seed))
    planned = len({_others(arm, factor) for arm in arms}) * seeds
    present = [level.label for level in factor.levels if any(level.label in block for block in blocks.values())]
    absent = tuple(level.label for level in factor.levels if level.label not in present)
    problem = measure.caveat or (None if len(present) > 1 else "fewer than two levels have scores")
    alike = [block for place, block in blocks.items() if len(data[place]) == 1]
    means = [found for block in alike if (found := _block_means(block, present))]
    if problem is None and not means:
        of_all = any(len(block) == len(present) for block in blocks.values() if block not in alike)
        problem = "its levels were tested on different data" if of_all else _NO_BLOCK
    if problem is not None:
        return FactorEffects(factor.name, measure.key, (), planned, absent, problem)
    effects = tuple(
        Effect(factor.name, level, measure.key, tuple(block[level] for block in means)) for level in present
    )
    return FactorEffects(factor.name, measure.key, effects, planned, absent)


def compare_levels(found: FactorEffects) -> list[LevelPair]:
    """Every pair of a factor's levels; none where there are fewer than two blocks."""
    pairs = [(a, b) for a, b in combinations(found.levels, 2) if a.runs > 1]
    tests = [compare(a.values, b.values, interval=False) for a, b in pairs]
    corrected = holm([test.p for test in tests])
    stds = [sample_std([x - y for x, y in zip(a.values, b.values, strict=True)]) for a, b in pairs]
    return [
        LevelPair(found.factor, found.measure, a.level, b.level, std, test, p)
        for (a, b), std, test, p in zip(pairs, stds, tests, corrected, strict=True)
    ]


def _others(arm: ArmNumbers, factor: Factor) -> tuple[str, ...]:
    return tuple(level for name, level in arm.arm.levels.items() if name != factor.name)


def _block_means(block: Mapping[str, Values], levels: Sequence[str]) -> dict[str, float] | None:
    """Level to its mean over the films that all levels have values on; None where there are none."""
    if any(level not in block for level in levels):
        return None
    known = [{film for film, value in block[level].items() if value is not None} for level in levels]
    films = sorted(set.intersection(*known))
    if not films:
        return None
    return {level: float(np.mean([block[level][film] for film in films])) for level in levels}
