"""Pairs of arms, compared on the films and seeds that both were tested on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from cxrkit.ablation.plan import Arm
from cxrkit.metrics.statistics import PairedTest, compare, holm
from cxrkit.report.ablation.cells import ArmNumbers, Cell
from cxrkit.report.ablation.measures import Measure


@dataclass(frozen=True)
class Comparison:
    """Two arms in one measure, on the films that both were tested on with the same seed.

    Attributes:
        measure: its key.
        test: None where there is no such film: they can't be compared.
        corrected: the test's p, by Holm over all pairs of arms in this measure.
    """

    measure: str
    first: Arm
    second: Arm
    test: PairedTest | None
    corrected: float | None


def compare_arms(arms: Sequence[ArmNumbers], measure: Measure, *, intervals: bool) -> list[Comparison]:
    """Every pair of the arms that have values in a measure.

    Args:
        arms: all arms of the ablation.
        measure: what they are compared in.
        intervals: whether the differences' bootstrap intervals are wanted.
    """
    scored = [arm for arm in arms if arm.cells[measure.key].values]
    found: list[tuple[Arm, Arm, PairedTest | None]] = []
    for first, second in combinations(scored, 2):
        values = _paired(first.cells[measure.key], second.cells[measure.key]) if measure.caveat is None else None
        test = compare(values[:, 0], values[:, 1], interval=intervals) if values is not None else None
        found.append((first.arm, second.arm, test))
    corrected = iter(holm([test.p for _, _, test in found if test is not None]))
    return [Comparison(measure.key, a, b, test, None if test is None else next(corrected)) for a, b, test in found]


def _paired(first: Cell, second: Cell) -> np.ndarray | None:
    """Each common film's two means over the seeds that both tested it with, float64 `(films, 2)`; None without any."""
    pairs: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for seed, films in first.values.items():
        others = second.values.get(seed, {})
        for film, value in films.items():
            other = others.get(film)
            if value is not None and other is not None:
                pairs[film].append((value, other))
    return np.array([np.mean(values, axis=0) for values in pairs.values()]) if pairs else None
