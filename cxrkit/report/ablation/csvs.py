"""What an ablation measured, as CSV: unrounded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cxrkit.ablation.results import RunResult
from cxrkit.engine.scores import Evaluation
from cxrkit.files import csv_text
from cxrkit.report.ablation.cells import ArmNumbers
from cxrkit.report.ablation.numbers import Numbers


def scores_csv(numbers: Numbers) -> str:
    """A line for every film, seed and measure; a lost value is empty. Runs without scores: see `runs.csv`."""
    rows: list[Sequence[object]] = []
    for arm, run, names in _runs(numbers):
        for column in numbers.columns:
            weights = _weights(column.evaluation(run))[:2]
            for film, value in arm.cells[column.key].values.get(run.seed, {}).items():
                shown = "" if value is None else value
                rows.append([*names, *weights, column.measure.protocol, film, column.key, shown])
    return csv_text([*_headings(numbers), "weights", "step", "protocol", "film", "measure", "value"], rows)


def runs_csv(numbers: Numbers) -> str:
    """A line for every planned run: its state, time and error, which weights were evaluated, and means over films.

    `weights`, `step` and `selected_on` are of the honest scores; `paper_…` of the paper's columns. A measure's `…_lost`
    is the number of films that have no value though they should.
    """
    keys = [column.key for column in numbers.columns]
    losing = [key for key in keys if any(arm.cells[key].lost for arm in numbers.arms)]
    rows: list[Sequence[object]] = []
    for arm, run, names in _runs(numbers):
        means = [arm.cells[key].seeds.get(run.seed, "") for key in keys]
        lost = [sum(v is None for v in arm.cells[key].values.get(run.seed, {}).values()) for key in losing]
        about = [run.state, "" if run.seconds is None else run.seconds, run.error or ""]
        rows.append([*names, *about, *_weights(run.honest), *_weights(run.paper), *means, *lost])
    weights = ["weights", "step", "selected_on"]
    head = ["state", "seconds", "error", *weights, *(f"paper_{name}" for name in weights)]
    return csv_text([*_headings(numbers), *head, *keys, *(f"{key}_lost" for key in losing)], rows)


def _headings(numbers: Numbers) -> list[str]:
    return ["arm", *(factor.name for factor in numbers.results.plan.factors), "seed"]


def _runs(numbers: Numbers) -> Iterator[tuple[ArmNumbers, RunResult, list[object]]]:
    """Every run with its arm and the cells that name it."""
    for arm in numbers.arms:
        levels = [arm.arm.levels[factor.name] for factor in numbers.results.plan.factors]
        for run in arm.runs:
            yield arm, run, [arm.label, *levels, run.seed]


def comparisons_csv(numbers: Numbers) -> str:
    """A line for every pair of arms in every measure; without numbers where two arms share no film.

    `items` are the films, or patients where films share one. `p_holm` is corrected within the measure. The
    differences' intervals are those of the primary measures.
    """
    rows: list[Sequence[object]] = []
    for c in numbers.comparisons:
        row: list[object] = [c.column.key, c.first.label, c.second.label]
        if (test := c.test) is None:
            rows.append([*row, 0, *[""] * 10])
            continue
        between = (test.interval.low, test.interval.high) if test.interval else ("", "")
        seeds = [len(c.by_seed), c.seeds_above]
        row += [test.items, test.differing, test.above, test.difference, *between, test.effect, test.p, c.corrected]
        rows.append([*row, *seeds])
    numbers_of = ["items", "differing", "a_larger", "difference", "low", "high", "effect", "p", "p_holm"]
    numbers_of += ["seeds", "a_larger_seeds"]
    return csv_text(["measure", "a", "b", *numbers_of], rows)


def effects_csv(numbers: Numbers) -> str:
    """A line for every pair of a factor's levels in every primary measure, compared over runs.

    `std` is that of the differences over runs; `p_holm` is corrected within factor and measure.
    """
    rows: list[Sequence[object]] = []
    for p in numbers.level_pairs:
        about = [p.column.key, p.factor, p.first, p.second, p.test.items, p.test.differing, p.test.above]
        std = "" if p.std is None else p.std
        rows.append([*about, p.test.difference, std, p.test.effect, p.test.p, p.corrected])
    numbers_of = ["runs", "differing", "a_larger", "difference", "std", "effect", "p", "p_holm"]
    return csv_text(["measure", "factor", "a", "b", *numbers_of], rows)


def _weights(evaluation: Evaluation | None) -> list[object]:
    return ["", "", ""] if evaluation is None else [evaluation.weights, evaluation.step, evaluation.selected_on]
