"""One arm's values in one column, with their two spreads: over seeds, and over films."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from cxrkit.ablation.plan import Arm
from cxrkit.ablation.results import RunResult
from cxrkit.engine.measures import LUNGS
from cxrkit.metrics.statistics import Interval, bootstrap_interval, sample_std
from cxrkit.report.ablation.columns import Column


@dataclass(frozen=True)
class Cell:
    """One column of one arm.

    Attributes:
        values: seed to film to value, None where it is lost; only seeds that the measure applies to.
        patients: film to patient, where it isn't a patient of its own.
    """

    values: Mapping[int, Mapping[str, float | None]]
    patients: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def known(self) -> dict[int, dict[str, float]]:
        """The values without those that are lost."""
        return {
            seed: {film: value for film, value in films.items() if value is not None}
            for seed, films in self.values.items()
        }

    @cached_property
    def seeds(self) -> dict[int, float]:
        """Seed to its mean over films."""
        return {seed: float(np.mean(list(films.values()))) for seed, films in self.known.items() if films}

    @cached_property
    def films(self) -> dict[str, float]:
        """Film to its mean over the seeds that tested it; only films that have a value."""
        values: dict[str, list[float]] = defaultdict(list)
        for films in self.known.values():
            for film, value in films.items():
                values[film].append(value)
        return {film: float(np.mean(found)) for film, found in values.items()}

    @property
    def lost(self) -> int:
        """Values that films should have and don't, over all seeds: reported, not silently dropped."""
        return self.tested - sum(len(films) for films in self.known.values())

    @property
    def tested(self) -> int:
        """Values that there should be, over all seeds."""
        return sum(len(films) for films in self.values.values())

    @property
    def mean(self) -> float | None:
        """Over seeds."""
        return float(np.mean(list(self.seeds.values()))) if self.seeds else None

    @property
    def std(self) -> float | None:
        """Sample standard deviation over seeds; None for fewer than two."""
        return sample_std(list(self.seeds.values()))

    @property
    def film_std(self) -> float | None:
        """Sample standard deviation over films; None for fewer than two."""
        return sample_std(list(self.films.values()))

    @cached_property
    def interval(self) -> Interval | None:
        """Of the mean over films, 95 %; films of one patient are alike, so the bootstrap draws whole patients."""
        return bootstrap_interval(list(self.films.values()), [self.patients.get(film, film) for film in self.films])


@dataclass(frozen=True)
class ArmNumbers:
    """One arm: its cells by the columns' keys, and the state of its runs.

    Attributes:
        data: seed to the number of its run's data: films of one name are the same films only where that is equal.
    """

    arm: Arm
    cells: Mapping[str, Cell]
    runs: tuple[RunResult, ...]
    data: Mapping[int, int]

    @property
    def label(self) -> str:
        """Its name in tables."""
        return self.arm.label

    @property
    def finished(self) -> int:
        """How many of its seeds have scores."""
        return len(self.runs) - len(self.unfinished)

    @property
    def unfinished(self) -> tuple[RunResult, ...]:
        """The runs without scores."""
        return tuple(run for run in self.runs if run.state != "finished")

    @property
    def missed(self) -> int:
        """Structures, over all films and seeds, whose mask has no pixel in common with the true one."""
        evaluations = [run.honest for run in self.runs if run.honest is not None]
        return sum(scores.missed(name) for scores in evaluations for name in scores.structures if name != LUNGS)


def arm_numbers(
    arm: Arm, runs: Sequence[RunResult], columns: Sequence[Column], groups: Mapping[tuple[str, int], int]
) -> ArmNumbers:
    """An arm's cells, from its runs' scores; `groups` are the numbers of the runs' data, by the arm's slug and seed."""
    films = [film for run in runs for scores in (run.honest, run.paper) if scores is not None for film in scores.films]
    patients = {film.id: film.patient for film in films if film.patient is not None}
    cells = {
        column.key: Cell({run.seed: values for run in runs if (values := column.values(run))}, patients)
        for column in columns
    }
    data = {run.seed: groups[arm.slug, run.seed] for run in runs if (arm.slug, run.seed) in groups}
    return ArmNumbers(arm, cells, tuple(runs), data)
