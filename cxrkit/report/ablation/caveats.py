"""What a reader must know before any number of an ablation: what is missing, lost, or not comparable."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from cxrkit.ablation.results import RunResult, State
from cxrkit.engine.run import Provenance
from cxrkit.errors import CxrkitError
from cxrkit.report.ablation.effects import FactorEffects
from cxrkit.report.ablation.measures import Measure, differing_inputs
from cxrkit.settings import full_name

if TYPE_CHECKING:
    from cxrkit.report.ablation.numbers import Numbers

_STATES: tuple[tuple[State, str, str], ...] = (
    ("failed", "failed", "failed"),
    ("stopped", "isn't finished", "aren't finished"),
    ("missing", "hasn't begun", "haven't begun"),
)
_NAMED = 6  # so many are named; more are counted


def all_caveats(numbers: Numbers) -> tuple[str, ...]:
    """Sentences, the gravest first."""
    return (
        *_missing(numbers),
        *_failed_after_all(numbers),
        *_other_data(numbers),
        *_other_films(numbers),
        *_lost(numbers),
        *_incomparable(numbers),
        *_inputs(numbers),
        *_few_seeds(numbers),
        *_selection(numbers),
        *_budgets(numbers),
        *_splits(numbers),
        *_circumstances(numbers),
        *_effects(numbers),
    )


def missing_runs(numbers: Numbers) -> list[tuple[str, str]]:
    """Each run without scores: which, and why."""
    listed = []
    for run in numbers.results.runs:
        if run.state != "finished":
            state = {"failed": "failed", "stopped": "begun, not finished", "missing": "not begun"}[run.state]
            listed.append((f"{run.arm.label}, seed {run.seed}", f"{state}: {run.error}" if run.error else state))
    return listed


def missing_briefly(numbers: Numbers) -> str:
    """The same in a sentence for a table's caption; empty where nothing is missing."""
    missing = [run for run in numbers.results.runs if run.state != "finished"]
    if not missing:
        return ""
    said = {"failed": "failed", "stopped": "not finished", "missing": "not begun"}
    named = _listed([f"{run.arm.label}, seed {run.seed} ({said[run.state]})" for run in missing], "; ")
    return f"Without {len(missing)} of {len(numbers.results.runs)} runs: {named}."


def _missing(numbers: Numbers) -> Iterator[str]:
    results = numbers.results
    for state, one, several in _STATES:
        if count := results.count(state):
            verb, them = (one, "it") if count == 1 else (several, "them")
            yield f"{count} of {len(results.runs)} runs {verb}; the tables are without {them}."
    complete = any(arm.finished == len(arm.runs) for arm in numbers.arms)
    for arm in numbers.arms:
        if arm.missing and arm.finished:
            seeds = ", ".join(str(run.seed) for run in arm.missing)
            ranked = ", and it isn't ranked" if complete else ""
            which = f"seed {seeds} is" if len(arm.missing) == 1 else f"seeds {seeds} are"
            yield (f"{arm.label}: {which} missing; its mean is over {arm.finished} of {len(arm.runs)}{ranked}.")
    grounds = [numbers.grounds[measure.key] for measure in numbers.primary]
    if not complete and any(ground.seeds for ground in grounds):
        seeds = ", ".join(str(seed) for seed in grounds[0].seeds)
        yield f"No arm has every seed: arms are ranked, and the best is bold, by what all have: seed {seeds}."


def _failed_after_all(numbers: Numbers) -> Iterator[str]:
    """Runs that have scores though their last try ended with an error."""
    runs = [run for run in numbers.results.runs if run.state == "finished" and run.error is not None]
    if runs:
        named = _listed([f"{run.arm.label}, seed {run.seed} ({run.error})" for run in runs], "; ")
        yield f"Whole scores, but the last try ended with an error: {named}."


def _other_data(numbers: Numbers) -> Iterator[str]:
    """Seeds whose arms are of different data."""
    if seeds := [str(seed) for seed in numbers.results.plan.seeds if _of_different_data(numbers, seed)]:
        yield (
            f"The arms were tested on different data with seed {', '.join(seeds)}: films of one name aren't the same "
            "films. Arms of different data are neither ranked together nor compared film by film; in a main effect "
            "their runs aren't paired."
        )


def _of_different_data(numbers: Numbers, seed: int) -> bool:
    return len({arm.data[seed] for arm in numbers.arms if seed in arm.data}) > 1


def _other_films(numbers: Numbers) -> Iterator[str]:
    """Seeds whose arms were tested on different films of the same data."""
    seeds = []
    for seed in numbers.results.plan.seeds:
        if _of_different_data(numbers, seed):
            continue
        tested = {
            frozenset(film.id for film in run.honest.films)
            for run in numbers.results.runs
            if run.seed == seed and run.honest is not None
        }
        if len(tested) > 1:
            seeds.append(f"{seed} ({len(frozenset.intersection(*tested))} films are common to all)")
    if seeds:
        yield (
            f"The arms were tested on different films with seed {', '.join(seeds)}: their means can't be compared as "
            "they stand. Arms are ranked, and paired, on common films only."
        )


def _lost(numbers: Numbers) -> Iterator[str]:
    """Values that films should have, by the measures that miss them."""
    said: dict[str, list[str]] = defaultdict(list)
    for measure in numbers.measures:
        left_out = {entry.arm.arm.slug for entry in numbers.grounds[measure.key].left_out}
        arms = [arm for arm in numbers.arms if arm.cells[measure.key].lost]
        if arms:
            named = _listed(
                [f"{a.label} ({a.cells[measure.key].lost} of {a.cells[measure.key].tested} films)" for a in arms]
            )
            out = [arm.label for arm in arms if arm.arm.slug in left_out]
            ranked = f" Not ranked, since another arm has what they lost: {_listed(out)}." if out else ""
            said[f"no value for {named}; means are over the rest.{ranked}"].append(measure.label)
    for text, labels in said.items():
        yield f"{', '.join(labels)}: {text}"


def _incomparable(numbers: Numbers) -> Iterator[str]:
    """Measures in which arms can't be ranked though several have values."""
    said: dict[str, list[str]] = defaultdict(list)
    for measure in numbers.measures:
        scored = [arm for arm in numbers.arms if arm.cells[measure.key].values]
        problem = numbers.grounds[measure.key].problem
        if len(scored) > 1 and problem is not None:
            said[problem].append(measure.label)
    for problem, labels in said.items():
        yield f"Arms aren't comparable in {', '.join(labels)}: {problem}."


def _inputs(numbers: Numbers) -> Iterator[str]:
    if (told := differing_inputs(numbers.configs)) is not None:
        yield (
            f"The networks' inputs differ ({told}): Dice and IoU are measured on each network's own grid, against true "
            "masks that were resized to it, so that some of a difference may be the grids'."
        )


def _few_seeds(numbers: Numbers) -> Iterator[str]:
    if len(numbers.results.plan.seeds) == 1:
        yield "One seed: nothing here tells how much another split or other first weights would change."


def _selection(numbers: Numbers) -> Iterator[str]:
    finished = [run for run in numbers.results.runs if run.state == "finished"]
    if any(run.paper is not None and run.paper.selected_on == "test" for run in finished):
        yield (
            "Columns marked «chosen on test» are of weights that were chosen on the test films themselves, as the "
            "paper's released code did: they are optimistic. All other columns of these runs are of their last "
            "weights, which nothing chose."
        )
    kinds = dict.fromkeys(_chosen(run) for run in finished)
    if len(kinds) > 1:
        yield f"The arms' weights were not chosen alike: {'; '.join(kinds)}."


def _chosen(run: RunResult) -> str:
    """How a run's honest weights and those of the paper's columns were chosen."""
    said = {"validation": "on validation films", "test": "on the test films", "nothing": "the last ones"}
    honest, paper = (said[e.selected_on] if e is not None else "unknown" for e in (run.honest, run.paper))
    return honest if honest == paper else f"{honest}, and {paper} in the paper's columns"


def _budgets(numbers: Numbers) -> Iterator[str]:
    budgets = {(config.train.steps, config.train.epochs) for config in numbers.configs}
    in_epochs = any(epochs for _, epochs in budgets)
    if len(budgets) > 1 or (in_epochs and len({config.split.train_size for config in numbers.configs}) > 1):
        yield "The arms differ in their number of updates."

    if len({config.train.batch_size for config in numbers.configs}) > 1:
        yield "The batches differ in size: with equal updates the arms see different numbers of films."


def _splits(numbers: Numbers) -> Iterator[str]:
    files = {config.split.file for config in numbers.configs if config.split.file is not None}
    if files and len(numbers.results.plan.seeds) > 1:
        yield (
            f"The split comes from a file ({_listed([str(file) for file in sorted(files)])}): seeds differ in first "
            "weights and in the order of films alone, not in which films train and test."
        )


def _circumstances(numbers: Numbers) -> Iterator[str]:
    """What else differs between runs, and within one, than what is compared."""
    records: list[Provenance] = []
    went_on: list[str] = []
    for run in numbers.results.runs:
        if run.state == "finished":
            with suppress(CxrkitError):
                record = run.run.provenance()
                records.append(record)
                if record.continued:
                    went_on.append(f"{run.arm.label}, seed {run.seed} ({'; '.join(record.continued)})")
    yield from _differing(numbers, records)
    if went_on:
        yield (
            "Runs went on elsewhere, or with other versions, than they began, which can change their numbers a "
            f"little: {_listed(went_on, '; ')}."
        )


def _differing(numbers: Numbers, records: Sequence[Provenance]) -> Iterator[str]:
    """What differs between runs as they began."""
    varied = {full_name(key) for factor in numbers.results.plan.factors for lv in factor.levels for key in lv.settings}
    films = {(record.data, record.fingerprint) for record in records}
    if len(films) > 1 and not any(key.startswith(("data", "preprocess", "structures")) for key in varied):
        yield "The films, their masks or their preprocessing changed between runs (see the runs' fingerprints)."
    plugins = {name for record in records for name in record.plugins} - {"cxrkit"}
    told = {
        "precision": {r.precision for r in records} if "train.precision" not in varied else set(),
        "device": {str(r.hardware.get("name")) for r in records},
        "torch": {r.packages.get("torch", "unknown") for r in records},
        "cxrkit": {r.cxrkit for r in records},
        **{name: {r.plugins[name] for r in records if name in r.plugins} for name in sorted(plugins)},
    }
    for name, found in told.items():
        if len(found) > 1:
            yield f"The runs differ in {name} ({', '.join(sorted(found))}), which can change their numbers a little."


def _effects(numbers: Numbers) -> Iterator[str]:
    """Main effects that can't be told, or not of all levels."""
    problems: dict[tuple[str, str], list[Measure]] = defaultdict(list)
    absent: dict[tuple[str, str], None] = {}
    for found in numbers.factor_effects:
        if found.problem is not None:
            problems[found.factor, found.problem].append(numbers.measure(found.measure))
        elif found.absent and _is_absent_everywhere(numbers, found):
            absent[found.factor, _listed(found.absent)] = None
    for (factor, problem), measures in problems.items():
        yield f"The main effect of {factor} on {', '.join(m.label for m in measures)} is left out: {problem}."
    for factor, levels in absent:
        yield f"The main effect of {factor} is without {levels}: no scores."


def _is_absent_everywhere(numbers: Numbers, found: FactorEffects) -> bool:
    """Whether these levels have no finished run at all, rather than not this structure."""
    return not any(arm.finished for arm in numbers.arms if arm.arm.levels[found.factor] in found.absent)


def _listed(names: list[str] | tuple[str, ...], between: str = ", ") -> str:
    """The first few names, and how many more there are."""
    more = len(names) - _NAMED
    return between.join(names[:_NAMED]) + (f"{between}and {more} more" if more > 0 else "")
