"""The numbers of an ablation, from its runs' scores on the test films.

Two spreads, never mixed: over seeds (each seed's mean over its films is one value) and over films. A film's value is
its mean over the seeds that tested it, so that a film that several seeds drew counts once; arms are compared on the
films and seeds that both have.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from cxrkit.ablation.plan import Arm
from cxrkit.ablation.results import Results, RunResult, State
from cxrkit.config import RunConfig
from cxrkit.engine.scores import Evaluation, FilmScores
from cxrkit.errors import CxrkitError
from cxrkit.metrics.statistics import Interval, PairedTest, bootstrap_interval, compare, holm


@dataclass(frozen=True)
class Measure:
    """Something that is measured on each film.

    Attributes:
        key: for CSV.
        label: for tables, with the unit.
        scale: what a value is multiplied by for tables; `digits` are shown behind the point.
        higher_is_better: which way is up.
        paper: whether it is of the paper's protocol.
        read: the value on a film; None where it has none.
    """

    key: str
    label: str
    scale: float
    digits: int
    higher_is_better: bool
    paper: bool
    read: Callable[[FilmScores], float | None]

    def text(self, value: float) -> str:
        """A value as tables show it."""
        return f"{self.scale * value:.{self.digits}f}"


@dataclass(frozen=True)
class Cell:
    """One measure of one arm.

    Attributes:
        seeds: seed to its mean over films.
        films: film to its mean over seeds; only films that have a finite value.
        lost: values that films don't have or that aren't finite, over all seeds: told, not dropped in silence.
        interval: of the mean over films, 95 %, bootstrap.
    """

    seeds: Mapping[int, float]
    films: Mapping[str, float]
    lost: int
    interval: Interval | None

    @property
    def mean(self) -> float | None:
        """Over seeds."""
        return float(np.mean(list(self.seeds.values()))) if self.seeds else None

    @property
    def std(self) -> float | None:
        """Sample standard deviation over seeds; None for fewer than two."""
        return _std(list(self.seeds.values()))

    @property
    def film_std(self) -> float | None:
        """Sample standard deviation over films; None for fewer than two."""
        return _std(list(self.films.values()))


@dataclass(frozen=True)
class ArmNumbers:
    """One arm: its cells by the measures' keys, and how its runs stand."""

    arm: Arm
    cells: Mapping[str, Cell]
    runs: tuple[RunResult, ...]

    @property
    def finished(self) -> int:
        """How many of its seeds have scores."""
        return sum(run.state == "finished" for run in self.runs)

    @property
    def missing(self) -> tuple[RunResult, ...]:
        """The runs without scores."""
        return tuple(run for run in self.runs if run.state != "finished")


@dataclass(frozen=True)
class Comparison:
    """Two arms in one measure, on the films that both were tested on.

    Attributes:
        corrected: the test's p, by Holm over all pairs of arms in this measure.
    """

    measure: str
    first: Arm
    second: Arm
    test: PairedTest
    corrected: float


@dataclass(frozen=True)
class Effect:
    """One level of a factor: the spread of a measure over all finished runs that have it."""

    factor: str
    level: str
    measure: str
    mean: float
    std: float | None
    runs: int


@dataclass(frozen=True)
class Numbers:
    """Everything that the tables and figures show."""

    results: Results
    measures: tuple[Measure, ...]
    arms: tuple[ArmNumbers, ...]
    comparisons: tuple[Comparison, ...]
    effects: tuple[Effect, ...]
    warnings: tuple[str, ...]
    facts: Mapping[str, str]

    def measure(self, key: str) -> Measure:
        """The measure of that key."""
        return next(measure for measure in self.measures if measure.key == key)

    @property
    def primary(self) -> tuple[Measure, ...]:
        """What arms are compared in: honest Dice of lungs and heart (or of every structure), and the paper's DSC."""
        dice = [m for m in self.measures if m.key.endswith("_dice")]
        chosen = [m for m in dice if m.key in ("lungs_dice", "heart_dice")] or dice
        return (*chosen, *(m for m in self.measures if m.key == "paper_dsc"))

    def best(self, key: str) -> ArmNumbers | None:
        """The arm with the best mean over seeds."""
        measure = self.measure(key)
        scored = [arm for arm in self.arms if key in arm.cells and arm.cells[key].mean is not None]
        sign = 1 if measure.higher_is_better else -1
        return max(scored, key=lambda arm: sign * (arm.cells[key].mean or 0.0)) if scored else None


def summarise_ablation(results: Results) -> Numbers:
    """The numbers of an ablation as it stands, finished or not."""
    measures = _measures(results)
    arms = tuple(
        ArmNumbers(arm, {m.key: _cell(results.of(arm), m) for m in measures}, results.of(arm)) for arm in results.arms
    )
    numbers = Numbers(results, measures, arms, (), (), (), {})
    comparisons = tuple(c for m in numbers.primary for c in _compare(results, m)) if measures else ()
    effects = tuple(e for m in numbers.primary for e in _effects(results, m)) if measures else ()
    return Numbers(results, measures, arms, comparisons, effects, _warnings(results, arms), _facts(results))


def film_values(run: RunResult, measure: Measure) -> dict[str, float | None]:
    """Film to value in one run; None where the film has no finite value."""
    evaluation = run.paper if measure.paper else run.honest
    found = {} if evaluation is None else {film.id: measure.read(film) for film in evaluation.films}
    return {film: value if value is not None and np.isfinite(value) else None for film, value in found.items()}


def _measures(results: Results) -> tuple[Measure, ...]:
    first = next((run.honest for run in results.runs if run.honest is not None), None)
    if first is None:
        return ()
    made: list[Measure] = []
    order = sorted(first.structures, key=lambda name: {"lungs": 0, "heart": 1}.get(name, 2))
    unit = _unit(first)
    for name in order:
        said = name.replace("_", " ")
        made.append(Measure(f"{name}_dice", f"{said} Dice %", 100, 1, True, False, _of(name, "dice")))
    for name in order:
        said = name.replace("_", " ")
        made.append(Measure(f"{name}_iou", f"{said} IoU %", 100, 1, True, False, _of(name, "iou")))
        made.append(Measure(f"{name}_hd95", f"{said} HD95 {unit}", 1, 2, False, False, _of(name, "hd95")))
        made.append(Measure(f"{name}_assd", f"{said} ASSD {unit}", 1, 2, False, False, _of(name, "assd")))
    if any(film.true_ctr is not None for film in first.films):
        made.append(Measure("ctr_error", "CTR error", 1, 4, False, False, _ratio_error))
    made.append(Measure("paper_dsc", "paper DSC %", 100, 1, True, True, lambda film: film.dsc))
    made.append(Measure("paper_iou", "paper IoU %", 100, 1, True, True, lambda film: film.iou))
    return tuple(made)


def _unit(evaluation: Evaluation) -> str:
    units = {film.unit for film in evaluation.films}
    return units.pop() if len(units) == 1 else "mm or px"


def _of(structure: str, score: str) -> Callable[[FilmScores], float | None]:
    def read(film: FilmScores) -> float | None:
        scores = film.structures.get(structure)
        return None if scores is None else float(getattr(scores, score))

    return read


def _ratio_error(film: FilmScores) -> float | None:
    return None if film.ctr is None or film.true_ctr is None else abs(film.ctr - film.true_ctr)


def _cell(runs: Sequence[RunResult], measure: Measure) -> Cell:
    seeds: dict[int, float] = {}
    films: dict[str, list[float]] = defaultdict(list)
    lost = 0
    for run in runs:
        values = film_values(run, measure)
        kept = {film: value for film, value in values.items() if value is not None}
        lost += len(values) - len(kept)
        for film, value in kept.items():
            films[film].append(value)
        if kept:
            seeds[run.seed] = float(np.mean(list(kept.values())))
    means = {film: float(np.mean(values)) for film, values in films.items()}
    return Cell(seeds, means, lost, bootstrap_interval(list(means.values())) if means else None)


def _compare(results: Results, measure: Measure) -> list[Comparison]:
    found: list[tuple[Arm, Arm, PairedTest]] = []
    for first, second in combinations(results.arms, 2):
        pairs: dict[str, list[tuple[float, float]]] = defaultdict(list)
        others = {run.seed: film_values(run, measure) for run in results.of(second)}
        for run in results.of(first):
            for film, value in film_values(run, measure).items():
                other = others.get(run.seed, {}).get(film)
                if value is not None and other is not None:
                    pairs[film].append((value, other))
        if pairs:
            means = np.array([np.mean(values, axis=0) for values in pairs.values()])
            found.append((first, second, compare(means[:, 0], means[:, 1])))
    corrected = holm([test.p for _, _, test in found])
    return [Comparison(measure.key, a, b, test, p) for (a, b, test), p in zip(found, corrected, strict=True)]


def _effects(results: Results, measure: Measure) -> list[Effect]:
    effects: list[Effect] = []
    for factor in results.plan.factors:
        for level in factor.levels:
            means = [
                float(np.mean(values))
                for run in results.runs
                if run.arm.levels[factor.name] == level.label
                if (values := [value for value in film_values(run, measure).values() if value is not None])
            ]
            if means:
                effects.append(
                    Effect(factor.name, level.label, measure.key, float(np.mean(means)), _std(means), len(means))
                )
    return effects


def _warnings(results: Results, arms: Sequence[ArmNumbers]) -> tuple[str, ...]:
    said: list[str] = []
    states: tuple[tuple[State, str], ...] = (
        ("failed", "failed"),
        ("stopped", "are not finished"),
        ("missing", "have not begun"),
    )
    for state, verb in states:
        if count := results.count(state):
            said.append(f"{count} of {len(results.runs)} runs {verb}; the tables are without them.")
    for arm in arms:
        if arm.missing and arm.finished:
            seeds = ", ".join(str(run.seed) for run in arm.missing)
            said.append(
                f"{arm.arm.label}: seed {seeds} is missing; its mean is over {arm.finished} of {len(arm.runs)}."
            )
    if len(results.plan.seeds) == 1:
        said.append("One seed: nothing here tells how much another split or other first weights would change.")
    if any(run.paper is not None and run.paper.selected_on == "test" for run in results.runs):
        said.append(
            "The paper's columns are of weights that were chosen on the test films themselves, as its released code "
            "did: they are optimistic. The honest columns are of the last weights."
        )
    budgets = {config.train.steps for config in _configs(results)} | {
        -1 for config in _configs(results) if config.train.epochs
    }
    if len(budgets) > 1:
        said.append("The arms differ in their number of updates.")
    return tuple(said)


def _configs(results: Results) -> list[RunConfig]:
    found: list[RunConfig] = []
    for run in results.runs:
        try:
            found.append(run.run.config())
        except CxrkitError:
            continue
    return found


def _facts(results: Results) -> dict[str, str]:
    """What was run, where, and how long it took, as far as the runs' own records tell."""
    finished = [run for run in results.runs if run.state == "finished"]
    records, configs = [], _configs(results)
    for run in finished:
        try:
            records.append(run.run.provenance())
        except CxrkitError:
            continue

    def told(values: Sequence[object]) -> str:
        return ", ".join(dict.fromkeys(str(value) for value in values)) or "unknown"

    seconds = [run.seconds for run in results.runs if run.seconds is not None]
    films = [run.honest for run in finished if run.honest is not None]
    return {
        "runs": f"{len(finished)} finished of {len(results.runs)} ({len(results.arms)} arms, seeds "
        f"{', '.join(str(seed) for seed in results.plan.seeds)})",
        "data": told([record.data for record in records]),
        "input": told([f"{config.preprocess.size} × {config.preprocess.size}" for config in configs]),
        "updates": told([config.train.steps for config in configs]),
        "protocol": told([config.train.protocol for config in configs]),
        "test films a seed": told([len(evaluation.films) for evaluation in films]),
        "device": told([f"{r.hardware.get('name')} ({r.hardware.get('device')})" for r in records]),
        "threads a run": told([r.hardware.get("threads", "unknown") for r in records]),
        "precision": told([r.precision for r in records]),
        "versions": told([f"cxrkit {r.cxrkit}, torch {r.packages.get('torch')}, Python {r.python}" for r in records]),
        "process time": f"{sum(seconds) / 3600:.2f} h over all runs" if seconds else "unknown",
        "energy": _energy(results),
    }


def _energy(results: Results) -> str:
    """What the coordinating machine's counters counted, and of which runs that isn't known."""
    metered = [run for run in results.runs if run.joules is not None]
    if not metered:
        return "unknown: no counters could be read (RAPL needs root, GPUs the package nvidia-ml-py)"
    hours = sum(run.joules or 0.0 for run in metered) / 3.6e6
    counters = ", ".join(dict.fromkeys(name for run in metered for name in run.counters))
    begun = sum(run.state != "missing" for run in results.runs)
    part = "" if len(metered) == begun else f", in {len(metered)} of {begun} runs"
    return f"{hours:.3g} kWh of the coordinating machine ({counters}), whatever else it did included{part}"


def _std(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None
