"""What is measured on each film, and which of it an ablation's runs have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cxrkit.ablation.results import Results, RunResult
from cxrkit.config import RunConfig
from cxrkit.engine.scores import Evaluation, FilmScores
from cxrkit.errors import CxrkitError

Protocol = Literal["honest", "paper"]


@dataclass(frozen=True)
class Measure:
    """Something that is measured on each film.

    Attributes:
        key: for CSV.
        label: for tables, with the unit.
        scale: what a value is multiplied by for tables; `digits` are shown behind the point.
        higher_is_better: which way is up.
        protocol: by which protocol's formulas.
        selection: whose weights: the honest ones, or those of the paper's selection.
        read: the value on a film; None where it has none though it should.
        applies: whether a film should have one: the structure is there, or the true masks give a ratio.
        caveat: why arms can't be compared in it; None where they can.
    """

    key: str
    label: str
    scale: float
    digits: int
    higher_is_better: bool
    protocol: Protocol
    selection: Protocol
    read: Callable[[FilmScores], float | None]
    applies: Callable[[FilmScores], bool]
    caveat: str | None = None

    def text(self, value: float) -> str:
        """A value as tables show it."""
        return f"{self.scale * value:.{self.digits}f}"

    def evaluation(self, run: RunResult) -> Evaluation | None:
        """The scores that it reads."""
        return run.paper if self.selection == "paper" else run.honest


def film_values(run: RunResult, measure: Measure) -> dict[str, float | None]:
    """Film to value in one run: None where it is lost (no finite value). It may not apply to all films."""
    evaluation = measure.evaluation(run)
    films = () if evaluation is None else evaluation.films
    found = {film.id: measure.read(film) for film in films if measure.applies(film)}
    return {film: value if value is not None and np.isfinite(value) else None for film, value in found.items()}


def measures_of(results: Results) -> tuple[Measure, ...]:
    """The measures that any finished run has, in the order of the tables."""
    evaluations = [run.honest for run in results.runs if run.honest is not None]
    films = [film for evaluation in evaluations for film in evaluation.films]
    if not films:
        return ()
    structures = dict.fromkeys(name for film in films for name in film.structures)
    order = sorted(structures, key=lambda name: {"lungs": 0, "heart": 1}.get(name, 2))
    units = [unit for unit in ("mm", "px") if any(film.unit == unit for film in films)]
    configs = tuple(readable_configs(results).values())
    caveat = _pixels_differ(configs) if "px" in units else None
    made = [_overlap(name, "dice", "Dice") for name in order]
    for name in order:
        made.append(_overlap(name, "iou", "IoU"))
        for score in ("hd95", "assd"):
            made += [_distance(name, score, unit, len(units) > 1, caveat) for unit in units]
    if any(film.true_ctr is not None for film in films):
        made.append(Measure("ctr_error", "CTR error", 1, 4, False, "honest", "honest", _ratio_error, _has_true_ratio))
    chosen_on_test = any(run.paper is not None and run.paper.selected_on == "test" for run in results.runs)
    pooled = _channels_differ(results) or _fits_differ(configs)
    soft = (*_soft("paper", chosen_on_test, pooled), *(_soft("honest", True, pooled) if chosen_on_test else ()))
    return (*made, *soft)


def readable_configs(results: Results) -> dict[str, RunConfig]:
    """The configurations of the runs that have one, by their folders."""
    found: dict[str, RunConfig] = {}
    for run in results.runs:
        try:
            found[str(run.run.path)] = run.run.config()
        except CxrkitError:
            continue
    return found


def differing_inputs(configs: Iterable[RunConfig]) -> str | None:
    """The networks' input sizes, and how films fit into them where that differs: `32, 64`; None where all are alike."""
    inputs = sorted({(config.preprocess.size, config.preprocess.fit) for config in configs})
    if len(inputs) < 2:
        return None
    several = len({fit for _, fit in inputs}) > 1
    return ", ".join(f"{size} {fit}" if several else str(size) for size, fit in inputs)


def _pixels_differ(configs: Iterable[RunConfig]) -> str | None:
    """Why distances in pixels can't be compared."""
    told = differing_inputs(configs)
    return told and f"they are in pixels of the network's input, which differs between runs ({told})"


def _fits_differ(configs: Iterable[RunConfig]) -> str | None:
    """Why the paper's measures, which count the background, can't be compared."""
    fits = sorted({config.preprocess.fit for config in configs})
    if len(fits) < 2:
        return None
    return f"padding counts in them as background, and the runs differ in preprocess.fit ({', '.join(fits)})"


def _channels_differ(results: Results) -> str | None:
    """Why the paper's measures, which are over all channels together, say different things of different runs."""
    channels = set()
    for run in results.runs:
        if run.state == "finished":
            with suppress(CxrkitError):
                channels.add(run.run.provenance().channels)
    if len(channels) < 2:
        return None
    told = "; ".join(sorted(", ".join(found) for found in channels))
    return f"they are over all of a network's channels, which differ between runs ({told})"


def _overlap(structure: str, score: str, said: str) -> Measure:
    label = f"{structure.replace('_', ' ')} {said} %"
    read, applies = _of(structure, score), _with(structure)
    return Measure(f"{structure}_{score}", label, 100, 1, True, "honest", "honest", read, applies)


def _distance(structure: str, score: str, unit: str, mixed: bool, caveat: str | None) -> Measure:
    """A distance; where films differ in their unit, a measure for each."""
    key = f"{structure}_{score}" + (f"_{unit}" if mixed else "")
    label = f"{structure.replace('_', ' ')} {score.upper()} {unit}"
    read, applies = _of(structure, score), _with(structure, unit)
    return Measure(key, label, 1, 2, False, "honest", "honest", read, applies, caveat if unit == "px" else None)


def _soft(selection: Protocol, chosen_on_test: bool, caveat: str | None) -> tuple[Measure, Measure]:
    """The paper's DSC and IoU; where test films chose weights, once of these and once of the last ones."""
    said, suffix = "", ""
    if chosen_on_test:
        said = " (chosen on test)" if selection == "paper" else " (not chosen on test)"
        suffix = "" if selection == "paper" else "_honest_weights"

    def always(film: FilmScores) -> bool:
        return True

    def measure(name: str, label: str, read: Callable[[FilmScores], float]) -> Measure:
        key, label = f"paper_{name}{suffix}", f"paper {label} %{said}"
        return Measure(key, label, 100, 1, True, "paper", selection, read, always, caveat)

    return measure("dsc", "DSC", lambda film: film.dsc), measure("iou", "IoU", lambda film: film.iou)


def _of(structure: str, score: str) -> Callable[[FilmScores], float | None]:
    def read(film: FilmScores) -> float | None:
        scores = film.structures.get(structure)
        return None if scores is None else float(getattr(scores, score))

    return read


def _with(structure: str, unit: str | None = None) -> Callable[[FilmScores], bool]:
    def applies(film: FilmScores) -> bool:
        return structure in film.structures and unit in (None, film.unit)

    return applies


def _has_true_ratio(film: FilmScores) -> bool:
    return film.true_ctr is not None


def _ratio_error(film: FilmScores) -> float | None:
    return None if film.ctr is None or film.true_ctr is None else abs(film.ctr - film.true_ctr)


def sample_std(values: Sequence[float]) -> float | None:
    """Sample standard deviation; None for fewer than two values."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def mean_of(values: Mapping[str, float | None]) -> float | None:
    """The mean of the values that aren't lost; None where all are."""
    kept = [value for value in values.values() if value is not None]
    return float(np.mean(kept)) if kept else None
