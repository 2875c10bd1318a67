"""Pairs of arms, compared on the films and seeds that both were tested on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from cxrkit.ablation.plan import Arm
from cxrkit.metrics.statistics import EQUAL, PairedTest, compare, holm
from cxrkit.report.ablation.cells import ArmNumbers
from cxrkit.report.ablation.measures import Measure


@dataclass(frozen=True)
class Comparison:
    """Two arms in one measure, on the films that both were tested on with the same seed.

    Films of one patient count once, with their mean. Where their data differ, films of one name are other films.

    Attributes:
        measure: its key.
        test: None where there is no such film: they can't be compared.
        corrected: the test's p, by Holm over all pairs of arms in this measure.
        by_seed: seed to the mean difference over its films, first minus second.
    """

    measure: str
    first: Arm
    second: Arm
    test: PairedTest | None
    corrected: float | None
    by_seed: Mapping[int, float]

    @property
    def seeds_above(self) -> int:
        """In how many seeds the first is the larger one."""
        return sum(difference > EQUAL for difference in self.by_seed.values())


def compare_arms(arms: Sequence[ArmNumbers], measure: Measure, *, intervals: bool) -> list[Comparison]:
    """Every pair of the arms that have values in a measure.

    Args:
        arms: all arms of the ablation.
        measure: what they are compared in.
        intervals: whether the differences' bootstrap intervals are wanted.
    """
    scored = [arm for arm in arms if arm.cells[measure.key].values]
    found: list[tuple[Arm, Arm, PairedTest | None, dict[int, float]]] = []
    for first, second in combinations(scored, 2):
        pairs = _paired(first, second, measure) if measure.caveat is None else {}
        values, by_seed = _over_patients(pairs, first.cells[measure.key].patients), _over_films(pairs)
        test = compare(values[:, 0], values[:, 1], interval=intervals) if len(values) else None
        found.append((first.arm, second.arm, test, by_seed))
    corrected = iter(holm([test.p for _, _, test, _ in found if test is not None]))
    return [
        Comparison(measure.key, a, b, test, None if test is None else next(corrected), by_seed)
        for a, b, test, by_seed in found
    ]


_Pairs = Mapping[tuple[int, str], tuple[float, float]]


def _paired(first: ArmNumbers, second: ArmNumbers, measure: Measure) -> _Pairs:
    """Seed and film to both arms' values, where both have one and are of the same data."""
    pairs: dict[tuple[int, str], tuple[float, float]] = {}
    others_of = second.cells[measure.key].values
    for seed, films in first.cells[measure.key].values.items():
        others = others_of.get(seed, {}) if first.data.get(seed) == second.data.get(seed) else {}
        for film, value in films.items():
            other = others.get(film)
            if value is not None and other is not None:
                pairs[seed, film] = value, other
    return pairs


def _over_patients(pairs: _Pairs, patients: Mapping[str, str]) -> np.ndarray:
    """Each patient's two means over their films, of a film over seeds; float64 `(patients, 2)`."""
    films: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for (_, film), both in pairs.items():
        films[film].append(both)
    found: dict[str, list[np.ndarray]] = defaultdict(list)
    for film, values in films.items():
        found[patients.get(film, film)].append(np.mean(values, axis=0))
    return np.array([np.mean(values, axis=0) for values in found.values()])


def _over_films(pairs: _Pairs) -> dict[int, float]:
    """Seed to the mean difference over its films."""
    differences: dict[int, list[float]] = defaultdict(list)
    for (seed, _), (value, other) in pairs.items():
        differences[seed].append(value - other)
    return {seed: float(np.mean(values)) for seed, values in differences.items()}
