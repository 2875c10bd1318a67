"""Ablations and searches from Python: `ablate`, `search`, and `report`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from cxrkit.ablation.coordinate import Listener, owned, prepare_runs, run_plan
from cxrkit.ablation.growth import check_growth
from cxrkit.ablation.plan import Plan, PlannedRun, make_plan, read_plan, save_plan
from cxrkit.ablation.ranges import SEARCH_FILE, Range, Space
from cxrkit.ablation.results import PLAN_FILE, Results, load_results, read_scores
from cxrkit.ablation.search import BEST_FILE, TABLE_FILE, SearchListener, SearchResult, check_search, check_trials
from cxrkit.ablation.search import search as run_search
from cxrkit.api import evaluate
from cxrkit.data.splits import has_tests
from cxrkit.engine.observer import Observer
from cxrkit.engine.run import RunDirectory
from cxrkit.engine.scores import Evaluation
from cxrkit.errors import ConfigError, DataError
from cxrkit.interfaces import Launcher
from cxrkit.plugins import registry
from cxrkit.report.ablation import Numbers, write_ablation_report


def ablate(
    plan: Plan | Mapping[str, Any] | Path | str,
    out: Path | str,
    *,
    launcher: str | None = None,
    launcher_settings: Mapping[str, Any] | None = None,
    listener: Listener | None = None,
    observer: Observer | None = None,
) -> Results:
    """Run every arm of a plan with every seed, and write the report.

    Runs that `out` already holds are kept: finished ones are left alone, others are continued. A run that fails doesn't
    stop the rest; its state in the result shows it. The plan may add levels and seeds to those of an earlier call, but
    not leave out any that were started.

    Args:
        plan: a plan, its content, or a YAML file.
        out: the ablation's folder.
        launcher: where the runs are computed, by default this machine; `launcher_settings` are its parameters.
        listener: is notified of the runs' progress; `observer` of the preparation.

    Raises:
        CxrkitError: a plan, films, launcher or disk that can't be used; runs in `out` with different settings.
        TrainingInterruptedError: Ctrl-C; everything is saved.
    """
    name = launcher or registry().default("launcher")
    return run_ablation(plan, out, name, launcher_settings, listener, observer)[0]


def run_ablation(
    plan: Plan | Mapping[str, Any] | Path | str,
    out: Path | str,
    launcher: str,
    launcher_settings: Mapping[str, Any] | None = None,
    listener: Listener | None = None,
    observer: Observer | None = None,
) -> tuple[Results, Numbers | None]:
    """As `ablate`, with the report's numbers too; None where no run is finished."""
    components, path = registry(), Path(out)
    plan = _as_plan(plan)
    runs = plan.runs(components)
    check_tests(runs)
    # The launcher comes first: a mistake in its settings is reported before anything is written.
    with closing(build_launcher(launcher, launcher_settings)) as worker, owned(path):
        check_growth(path, plan, runs)
        save_plan(plan, path / PLAN_FILE)
        prepare_runs(runs, components, observer)
        run_plan(path, runs, worker, launcher, listener=listener)
        results = load_results(path)
        return results, write_ablation_report(results, observer) if results.count("finished") else None


def search(
    plan: Plan | Mapping[str, Any] | Path | str,
    ranges: Sequence[Range],
    trials: int,
    out: Path | str,
    *,
    launcher: str | None = None,
    launcher_settings: Mapping[str, Any] | None = None,
    listener: SearchListener | None = None,
    observer: Observer | None = None,
) -> tuple[SearchResult, Evaluation | None]:
    """Search ranges of settings on validation films, and score the best trial's network on the test films, once.

    Args:
        plan: what all trials share; its factors are choices of the search.
        ranges: further settings that are searched.
        trials: how many in all, those of earlier calls on this `out` counted.
        out: the search's folder; a second call on it must search the same.
        launcher, launcher_settings, observer: as in `ablate`.
        listener: is notified of the trials.

    Raises:
        CxrkitError: see `cxrkit.ablation.search.search`.
    """
    components, path = registry(), Path(out)
    plan = _as_plan(plan)
    space = Space(plan, tuple(ranges))
    check_search(space, path, components)  # before a folder is created
    check_trials(trials)
    with closing(build_launcher(launcher or components.default("launcher"), launcher_settings)) as worker, owned(path):
        result = run_search(space, trials, path, worker, components, listener)
        return result, evaluate_once(result.best, observer)


def evaluate_once(path: Path, observer: Observer | None) -> Evaluation | None:
    """A run's scores on its test films, evaluated only if they weren't yet; None where it has none."""
    run = RunDirectory.open(path)
    scores, _ = read_scores(run)
    if scores is not None or not has_tests(run.config().split):
        return scores
    return evaluate(path, observer=observer)


def check_tests(runs: Sequence[PlannedRun]) -> None:
    """Refuse an ablation without test films.

    Raises:
        ConfigError: a run has none.
    """
    if not all(has_tests(planned.config.split) for planned in runs):
        raise ConfigError("An ablation compares scores on test films, but there are none.", "Set --test-size.")


def build_launcher(name: str, settings: Mapping[str, Any] | None = None) -> Launcher:
    """A launcher with its settings, for the caller to close.

    Raises:
        CxrkitError: there is none of that name, it doesn't accept the settings, or can't start.
    """
    made: Launcher = registry().get("launcher", name).build(**dict(settings or {}))
    return made


def report(path: Path | str, *, observer: Observer | None = None) -> Numbers:
    """Write an ablation's report again: `report/report.html`, Markdown, CSV, LaTeX and figures.

    Returns what it shows; `.results` are the runs.

    Raises:
        DataError: `path` isn't an ablation's folder, or none of its runs is finished.
    """
    path = Path(path)
    if (path / SEARCH_FILE).is_file() and not (path / PLAN_FILE).is_file():
        raise DataError(f"{path} is the folder of a search; only ablations have a report.", _search_results(path))
    return write_ablation_report(load_results(path), observer)


def _search_results(path: Path) -> str:
    """Where a search's results are, or how to get them."""
    trials, best = path / TABLE_FILE, path / BEST_FILE
    if not trials.is_file():
        return f"It is not finished. Continue with: cxrkit ablate --resume {path}"
    return f"Its trials are in {trials}, the best one's settings in {best}."


def _as_plan(plan: Plan | Mapping[str, Any] | Path | str) -> Plan:
    if isinstance(plan, Plan):
        return plan
    return read_plan(Path(plan)) if isinstance(plan, str | Path) else make_plan(plan)
