"""The measures that an ablation's runs have, of each structure and by each choice of weights: a column each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from cxrkit.ablation.results import Results, RunResult
from cxrkit.config import RunConfig
from cxrkit.engine.measures import FILM_MEASURES, LUNGS, STRUCTURE_MEASURES, Measure, Protocol
from cxrkit.engine.scores import Evaluation
from cxrkit.report.colours import structure_label


@dataclass(frozen=True)
class Column:
    """A measure as an ablation shows it.

    Attributes:
        key: its name in CSV files.
        label: its name in tables, with the unit.
        measure: what is measured.
        structure: of which structure; None for whole films.
        unit: of distances.
        selection: with which weights: the honest ones, or those that the paper's protocol chose.
        caveat: why arms cannot be compared in it; None where they can.
        dataset: of which dataset's films; None for all films.
    """

    key: str
    label: str
    measure: Measure[Any]
    structure: str | None = None
    unit: str = ""
    selection: Protocol = "honest"
    caveat: str | None = None
    dataset: str | None = None

    def evaluation(self, run: RunResult) -> Evaluation | None:
        """The scores that it reads."""
        return run.paper if self.selection == "paper" else run.honest

    def values(self, run: RunResult) -> dict[str, float | None]:
        """Film to value in one run: None where it is lost; only films that the measure applies to."""
        evaluation = self.evaluation(run)
        if evaluation is not None and self.dataset is not None:
            evaluation = evaluation.of(self.dataset)
        return {} if evaluation is None else evaluation.by_film(self.measure.key, self.structure, self.unit)


def columns_of(results: Results) -> tuple[Column, ...]:
    """The columns that any finished run has values for, in the order of the files."""
    return tuple(column for column in _all_columns(results) if any(column.values(run) for run in results.runs))


def _all_columns(results: Results) -> Iterator[Column]:
    films = [film for run in results.runs if run.honest is not None for film in run.honest.films]
    names = dict.fromkeys(name for film in films for name in film.structures)
    order = sorted(names, key=lambda name: {LUNGS: 0, "heart": 1}.get(name, 2))
    units = tuple(unit for unit in ("mm", "px") if any(film.unit == unit for film in films))
    pixels = _pixels_differ(results.configs)

    def of_structure(measure: Measure[Any], name: str, unit: str) -> Column:
        key = f"{name}_{measure.key}" + (f"_{unit}" if unit and len(units) > 1 else "")
        label = f"{structure_label(name)} {measure.heading(unit)}"
        return Column(key, label, measure, name, unit, caveat=pixels if unit == "px" else None)

    primary = [measure for measure in STRUCTURE_MEASURES if measure.primary]
    pooled_columns = [of_structure(m, name, unit) for m in primary for name in order for unit in m.units(units)]
    yield from pooled_columns
    datasets = dict.fromkeys(film.dataset for film in films if film.dataset is not None)
    for dataset in datasets if len(datasets) > 1 else ():
        for one in pooled_columns:
            yield replace(one, key=f"{one.key}_{dataset}", label=f"{one.label} ({dataset})", dataset=dataset)
    rest = [measure for measure in STRUCTURE_MEASURES if not measure.primary]
    yield from (of_structure(m, name, unit) for name in order for m in rest for unit in m.units(units))
    yield from (Column(m.key, m.heading(), m) for m in FILM_MEASURES if m.protocol == "honest")
    pooled = _channels_differ(results) or _fits_differ(results.configs)
    chosen_on_test = any(run.paper is not None and run.paper.selected_on == "test" for run in results.runs)
    # Where test films chose weights, the paper's measures are shown of these weights and of the last ones.
    selections: dict[Protocol, tuple[str, str]] = {"paper": ("", " (chosen on test)" if chosen_on_test else "")}
    if chosen_on_test:
        selections["honest"] = ("_honest_weights", " (not chosen on test)")
    for selection, (suffix, remark) in selections.items():
        for m in FILM_MEASURES:
            if m.protocol == "paper":
                label = f"paper {m.heading()}{remark}"
                yield Column(f"paper_{m.key}{suffix}", label, m, selection=selection, caveat=pooled)


def differing_inputs(configs: Iterable[RunConfig]) -> str | None:
    """The networks' input sizes, and how films fit into them where that differs: `32, 64`; None where all are alike."""
    inputs = sorted({(config.preprocess.size, config.preprocess.fit) for config in configs})
    if len(inputs) < 2:
        return None
    several = len({fit for _, fit in inputs}) > 1
    return ", ".join(f"{size} {fit}" if several else str(size) for size, fit in inputs)


def _pixels_differ(configs: Iterable[RunConfig]) -> str | None:
    """Why distances in pixels cannot be compared."""
    inputs = differing_inputs(configs)
    return inputs and f"they are in pixels of the network's input, which differs between runs ({inputs})"


def _fits_differ(configs: Iterable[RunConfig]) -> str | None:
    """Why the paper's measures, which count the background, cannot be compared."""
    fits = sorted({config.preprocess.fit for config in configs})
    if len(fits) < 2:
        return None
    return f"they count padding as background, and the runs differ in preprocess.fit ({', '.join(fits)})"


def _channels_differ(results: Results) -> str | None:
    """Why the paper's measures, which are over all channels together, cannot be compared between runs."""
    channels = {run.provenance.channels for run in results.finished if run.provenance is not None}
    if len(channels) < 2:
        return None
    listed = "; ".join(sorted(", ".join(names) for names in channels))
    return f"they are over all of a network's channels, which differ between runs ({listed})"
