"""What a reader must know before any number of an ablation: what is missing, lost, or not comparable."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress

from cxrkit.ablation.results import STATES, Results, RunResult
from cxrkit.readings import TrainingReading
from cxrkit.report.ablation.columns import differing_inputs
from cxrkit.report.ablation.numbers import Numbers
from cxrkit.report.summary import listed
from cxrkit.settings import full_name


def all_caveats(numbers: Numbers) -> tuple[str, ...]:
    """Sentences, the most serious first."""
    results = numbers.results
    return (
        *_missing(numbers),
        *_failed_later(results),
        *_other_films(numbers),
        *_lost(numbers),
        *_incomparable(numbers),
        *_weights(results),
        *_settings(results),
        *_circumstances(results),
        *_remarks(results),
        *_effects(numbers),
    )


def missing_runs(results: Results) -> list[tuple[str, str]]:
    """Each run without scores: which, and why."""
    return [(run.name, f"{STATES[run.state]}{f': {run.error}' if run.error else ''}") for run in results.unfinished]


def missing_briefly(results: Results) -> str:
    """The same in a sentence for a table's caption; empty where nothing is missing."""
    missing = [f"{run.name} ({STATES[run.state]})" for run in results.unfinished]
    return f"Without {len(missing)} of {len(results.runs)} runs: {listed(missing, '; ')}." if missing else ""


def _missing(numbers: Numbers) -> Iterator[str]:
    results = numbers.results
    for state, words in STATES.items():
        if state != "finished" and (count := results.count(state)):
            be = "" if state == "failed" else "is " if count == 1 else "are "
            them = "it" if count == 1 else "them"
            yield f"{count} of {len(results.runs)} runs {be}{words}; the tables leave {them} out."
    complete = any(not arm.unfinished for arm in numbers.arms)
    for arm in numbers.arms:
        if arm.unfinished and arm.finished:
            seeds = ", ".join(str(run.seed) for run in arm.unfinished)
            ranked = ", and it isn't ranked" if complete else ""
            which = f"seed {seeds} is" if len(arm.unfinished) == 1 else f"seeds {seeds} are"
            yield f"{arm.label}: {which} missing; its mean is over {arm.finished} of {len(arm.runs)}{ranked}."
    shared = [numbers.rankings[column.key].seeds for column in numbers.primary]
    if not complete and any(shared):
        yield (
            "No arm has every seed, so arms are ranked, and the best is bold, by the seeds that all have: "
            f"{', '.join(map(str, shared[0]))}."
        )


def _failed_later(results: Results) -> Iterator[str]:
    """Runs that have scores though their last attempt ended with an error."""
    if failed := [f"{run.name} ({run.error})" for run in results.finished if run.error is not None]:
        yield f"Scores are complete, but the last attempt ended with an error: {listed(failed, '; ')}."


def _other_films(numbers: Numbers) -> Iterator[str]:
    """Seeds whose arms are of different data, or were tested on different films of the same data."""
    different, fewer = [], []
    for seed in numbers.results.plan.seeds:
        runs = [run.honest for run in numbers.results.runs if run.seed == seed and run.honest is not None]
        tested = {frozenset(film.id for film in scores.films) for scores in runs}
        if len({arm.data[seed] for arm in numbers.arms if seed in arm.data}) > 1:
            different.append(str(seed))
        elif len(tested) > 1:
            fewer.append(f"{seed} ({len(frozenset.intersection(*tested))} films are common to all)")
    if different:
        yield (
            f"The arms were tested on different data with seed {', '.join(different)}: films with the same name "
            "aren't the same films. Arms of different data are neither ranked together nor compared film by film, and "
            "their runs aren't paired in main effects."
        )
    if fewer:
        yield (
            f"The arms were tested on different films with seed {', '.join(fewer)}: their means can't be compared "
            "directly. Arms are ranked, and paired, on common films only."
        )


def _lost(numbers: Numbers) -> Iterator[str]:
    """Values that films should have, by the columns that lack them."""
    labels: dict[str, list[str]] = defaultdict(list)
    for column in numbers.columns:
        cells = [(arm, arm.cells[column.key]) for arm in numbers.arms if arm.cells[column.key].lost]
        if cells:
            named = listed([f"{arm.label} ({cell.lost} of {cell.tested} films)" for arm, cell in cells])
            out = [arm.label for arm, _ in cells if arm.label in numbers.rankings[column.key].left_out]
            ranked = f" Not ranked, since another arm has what they lost: {listed(out)}." if out else ""
            labels[f"no value for {named}; means are over the rest.{ranked}"].append(column.label)
    for text, columns in labels.items():
        yield f"{', '.join(columns)}: {text}"


def _incomparable(numbers: Numbers) -> Iterator[str]:
    """Columns in which arms can't be ranked though several have values, and overlaps on different grids."""
    labels: dict[str, list[str]] = defaultdict(list)
    for column in numbers.columns:
        problem = numbers.rankings[column.key].problem
        if problem is not None and sum(bool(arm.cells[column.key].values) for arm in numbers.arms) > 1:
            labels[problem].append(column.label)
    for problem, columns in labels.items():
        yield f"Arms aren't comparable in {', '.join(columns)}: {problem}."
    if (inputs := differing_inputs(numbers.results.configs)) is not None:
        yield (
            f"The networks' inputs differ ({inputs}): Dice and IoU are measured on each network's own grid, against "
            "true masks that were resized to it, so part of a difference may come from the grids."
        )


def _weights(results: Results) -> Iterator[str]:
    """How the weights were chosen, and what a single seed can't show."""
    if len(results.plan.seeds) == 1:
        yield "One seed: nothing here shows how much another split or other initial weights would change."
    if any(run.paper is not None and run.paper.selected_on == "test" for run in results.finished):
        yield (
            "Columns marked “chosen on test” are of weights that were chosen on the test films themselves, as in the "
            "paper's released code: they are optimistic. All other columns of these runs are of their last weights, "
            "for which nothing was chosen."
        )
    kinds = dict.fromkeys(_chosen(run) for run in results.finished)
    if len(kinds) > 1:
        yield f"The arms' weights were chosen in different ways: {'; '.join(kinds)}."


def _chosen(run: RunResult) -> str:
    """How a run's honest weights and those of the paper's columns were chosen."""
    honest, paper = ("unknown" if scores is None else scores.selection for scores in (run.honest, run.paper))
    return honest if honest == paper else f"{honest}, and {paper} in the paper's columns"


def _settings(results: Results) -> Iterator[str]:
    """Settings that make arms or seeds differ in more, or less, than they seem to."""
    configs = results.configs
    budgets = {(config.train.steps, config.train.epochs) for config in configs}
    in_epochs = any(epochs for _, epochs in budgets)
    if len(budgets) > 1 or (in_epochs and len({config.split.train_size for config in configs}) > 1):
        yield "The arms differ in their number of updates."
    if len({config.train.batch_size for config in configs}) > 1:
        yield "The batches differ in size: with equal updates the arms see different numbers of films."
    files = {config.split.file for config in configs if config.split.file is not None}
    if files and len(results.plan.seeds) > 1:
        yield (
            f"The split comes from a file ({listed(str(file) for file in sorted(files))}): seeds differ only in "
            "initial weights and in the order of films, not in which films train and test."
        )


def _circumstances(results: Results) -> Iterator[str]:
    """What else differs between runs, and within one, than what is compared."""
    records = [(run, run.provenance) for run in results.finished if run.provenance is not None]
    varied = {full_name(key) for factor in results.plan.factors for lv in factor.levels for key in lv.settings}
    films = {(record.data, record.fingerprint) for _, record in records}
    if len(films) > 1 and not any(key.startswith(("data", "preprocess", "structures")) for key in varied):
        yield "The films, their masks or their preprocessing changed between runs (see the runs' fingerprints)."
    values: dict[str, set[str]] = defaultdict(set)
    for _, record in records:
        if "train.precision" not in varied:
            values["precision"].add(record.precision)
        values["device"].add(str(record.hardware.get("name")))
        values["torch"].add(record.packages.get("torch", "unknown"))
        values["cxrkit"].add(record.cxrkit)
        for name in sorted(record.plugins.keys() - {"cxrkit"}):
            values[name].add(record.plugins[name])
    for name, found in values.items():
        if len(found) > 1:
            yield f"The runs differ in {name} ({', '.join(sorted(found))}), which can change their numbers a little."
    if continued := [f"{run.name} ({'; '.join(record.continued)})" for run, record in records if record.continued]:
        yield (
            "Runs were continued on another machine, or with other versions, which can change their numbers a little: "
            f"{listed(continued, '; ')}."
        )


def _remarks(results: Results) -> Iterator[str]:
    """What losses said of their own training when a run ended."""
    runs: dict[str, list[str]] = defaultdict(list)
    for run in results.finished:
        with suppress(OSError):
            readings = [reading for reading in run.run.metrics() if isinstance(reading, TrainingReading)]
            if readings and run.honest is not None and readings[-1].step >= run.honest.step:
                runs[readings[-1].remark].append(run.name)
    runs.pop("", None)
    for remark, names in runs.items():
        yield f"At the end of {listed(names, '; ')}: {remark}"


def _effects(numbers: Numbers) -> Iterator[str]:
    """Main effects that cannot be determined, or not for all levels."""
    problems: dict[tuple[str, str], list[str]] = defaultdict(list)
    absent: dict[tuple[str, str], None] = {}
    for effects in numbers.effects:
        scored = {arm.arm.levels[effects.factor] for arm in numbers.arms if arm.finished}
        if effects.problem is not None:
            problems[effects.factor, effects.problem].append(effects.column.label)
        elif effects.absent and not scored & set(effects.absent):  # not just without this structure
            absent[effects.factor, listed(effects.absent)] = None
    for (factor, problem), columns in problems.items():
        yield f"The main effect of {factor} on {', '.join(columns)} is left out: {problem}."
    for factor, levels in absent:
        yield f"The main effect of {factor} leaves out {levels}, which have no scores."
