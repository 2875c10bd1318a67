"""What an ablation measured, as CSV: unrounded."""

from __future__ import annotations

from collections.abc import Sequence

from cxrkit.engine.scores import Evaluation
from cxrkit.files import csv_text
from cxrkit.report.ablation.numbers import Numbers


def scores_csv(numbers: Numbers) -> str:
    """A line for every film, seed and measure; a lost value is empty. Runs without scores: see `runs.csv`."""
    factors = [factor.name for factor in numbers.results.plan.factors]
    rows: list[Sequence[object]] = []
    for arm in numbers.arms:
        levels = [arm.arm.levels[name] for name in factors]
        for run in arm.runs:
            for column in numbers.columns:
                evaluation = column.evaluation(run)
                weights = [evaluation.weights, evaluation.step] if evaluation is not None else ["", ""]
                for film, value in arm.cells[column.key].values.get(run.seed, {}).items():
                    shown = "" if value is None else value
                    rows.append(
                        [arm.label, *levels, run.seed, *weights, column.measure.protocol, film, column.key, shown]
                    )
    return csv_text(["arm", *factors, "seed", "weights", "step", "protocol", "film", "measure", "value"], rows)


def runs_csv(numbers: Numbers) -> str:
    """A line for every planned run: its state, time and error, which weights were evaluated, and means over films.

    `weights`, `step` and `selected_on` are of the honest scores; `paper_…` of the paper's columns. A measure's `…_lost`
    is the number of films that have no value though they should.
    """
    factors = [factor.name for factor in numbers.results.plan.factors]
    keys = [column.key for column in numbers.columns]
    losing = [key for key in keys if any(arm.cells[key].lost for arm in numbers.arms)]
    rows: list[Sequence[object]] = []
    for arm in numbers.arms:
        levels = [arm.arm.levels[name] for name in factors]
        for run in arm.runs:
            means = [arm.cells[key].seeds.get(run.seed, "") for key in keys]
            lost = [sum(v is None for v in arm.cells[key].values.get(run.seed, {}).values()) for key in losing]
            seconds = "" if run.seconds is None else run.seconds
            about = [run.state, seconds, run.error or "", *_weights(run.honest), *_weights(run.paper)]
            rows.append([arm.label, *levels, run.seed, *about, *means, *lost])
    weights = ["weights", "step", "selected_on"]
    head = ["state", "seconds", "error", *weights, *(f"paper_{name}" for name in weights)]
    return csv_text(["arm", *factors, "seed", *head, *keys, *(f"{key}_lost" for key in losing)], rows)


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
