"""Searching ranges of settings instead of running a whole grid, with Optuna.

Trials are ordinary runs, trained without looking at the test films, and scored by the best Dice coefficient of their
validation films. Those that lag behind the median of the others are stopped early. Everything is kept in the search's
folder, so that a search that was stopped or killed can be continued.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from cxrkit.ablation.coordinate import last_error, training_job
from cxrkit.ablation.plan import Arm, PlannedRun
from cxrkit.ablation.ranges import Space, check_same, save_space
from cxrkit.ablation.results import PLAN_FILE, check_folders
from cxrkit.ablation.study import (
    STARTUP_TRIALS,
    count_ended,
    distributions,
    guarded_record,
    import_optuna,
    open_study,
    trials_csv,
)
from cxrkit.config import save_config
from cxrkit.engine.interrupts import stop_requests
from cxrkit.engine.run import RunDirectory
from cxrkit.errors import ConfigError, TrainingError, TrainingInterruptedError
from cxrkit.files import write_text
from cxrkit.interfaces import Launcher, RunningJob
from cxrkit.readings import ValidationReading
from cxrkit.registry import Registry

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

#: What a search leaves in its folder: all trials, and the best one's configuration.
TABLE_FILE, BEST_FILE = "search.csv", "best.yaml"
_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class SearchResult:
    """The result of a search.

    Attributes:
        best: the run of the best trial; its `settings` and validation `score` (Dice, in [0, 1]).
        complete, pruned, failed: numbers of trials.
        importances: setting to its share of what moves the score; empty where there are too few trials.
        config_file: the best configuration, for `cxrkit train --config`.
        table: all trials, as CSV.
    """

    best: Path
    settings: Mapping[str, Any]
    score: float
    complete: int
    pruned: int
    failed: int
    importances: Mapping[str, float]
    config_file: Path
    table: Path


class SearchListener(Protocol):
    """Is notified of trials."""

    def trial(self, number: int, state: str, settings: Mapping[str, Any], score: float | None) -> None:
        """A trial was started (`started`), continued (`continued`), or has ended (`complete`, `pruned`, `failed`)."""


def search(
    space: Space,
    trials: int,
    path: Path,
    launcher: Launcher,
    registry: Registry,
    listener: SearchListener | None = None,
) -> SearchResult:
    """Try settings until `trials` trials have ended, those of earlier calls counted.

    Args:
        space: what is searched.
        trials: how many in all.
        path: the search's folder.
        launcher: where trials run, several side by side.

    Raises:
        ConfigError: Optuna isn't installed, nothing is searched, settings that aren't accepted, no validation films,
            another search's folder. DataError: the search's record is damaged.
        TrainingError: no trial was completed. TrainingInterruptedError: Ctrl-C; the same call continues.
    """
    check_search(space, path, registry)
    check_trials(trials)
    save_space(space, trials, path)
    work = _Search(space, path, registry, open_study(space, path), trials, launcher, listener)
    work.go()
    return work.result()


def check_search(space: Space, path: Path, registry: Registry) -> None:
    """Refuse what no trial can do, and a folder that holds something else.

    Raises:
        ConfigError, PluginError: as `search`.
    """
    import_optuna()
    if not space.ranges and not any(len(factor.levels) > 1 for factor in space.plan.factors):
        raise ConfigError("--search: nothing is searched.", "Give --range KEY=LOW..HIGH, or flags of several values.")
    if len(seeds := space.plan.seeds) > 1:
        raise ConfigError(
            f"--search: each trial has one seed, but {len(seeds)} were given ({', '.join(map(str, seeds))}).",
            "Use --seeds 1. To compare seeds of the best trial: cxrkit ablate --config BEST.yaml --seeds 3.",
        )
    last = planned_trial(space, 0, _choose(space, -1), registry)
    for planned in (*samples(space, registry), last):
        config = planned.config
        if config.train.protocol != "honest":
            raise ConfigError("--search selects on validation films, never on test films.", "Remove --protocol.")
        if config.split.validation == 0 and config.split.file is None:
            raise ConfigError("--search selects on validation films, but there are none.", "Set --validation.")
    if (path / PLAN_FILE).is_file():
        raise ConfigError(f"{path} is the folder of an ablation.", "Choose another --out.")
    check_same(space, path)


def check_trials(trials: int) -> None:
    """Refuse a number of trials that tries nothing.

    Raises:
        ConfigError: it is below 1.
    """
    if trials < 1:
        raise ConfigError(f"--search {trials}: must be at least 1.", "Give the number of trials: --search 20.")


def samples(space: Space, registry: Registry) -> tuple[PlannedRun, ...]:
    """Trials for estimates of time: with each level of each factor once, and with both ends of the ranges."""
    first = _choose(space, 0)
    others: list[dict[str, Any]] = [
        {factor.name: level.label} for factor in space.plan.factors for level in factor.levels[1:]
    ]
    others += [{span.key: span.high} for span in space.ranges]
    return tuple(planned_trial(space, number, first | other, registry) for number, other in enumerate([{}, *others]))


def planned_trial(space: Space, number: int, chosen: Mapping[str, Any], registry: Registry) -> PlannedRun:
    """The run of a trial with these choices."""
    plan = space.plan
    levels = {(factor.name, level.label): level for factor in plan.factors for level in factor.levels}
    settings: dict[str, Any] = {}
    for key, value in chosen.items():
        settings |= levels[key, value].settings if (key, value) in levels else {key: value}
    seed = plan.seeds[0]
    arm = Arm({"trial": f"trial-{number:04d}"})
    return PlannedRun(arm, seed, f"runs/{arm.slug}/seed-{seed}", plan.configure(settings, seed, registry))


def _choose(space: Space, pick: Literal[0, -1]) -> dict[str, Any]:
    """The first level of each factor and the low end of each range, or the last and the high one."""
    chosen: dict[str, Any] = {factor.name: factor.levels[pick].label for factor in space.plan.factors}
    return chosen | {span.key: (span.low, span.high)[pick] for span in space.ranges}


@dataclass
class _Active:
    trial: Trial
    planned: PlannedRun
    job: RunningJob
    reported: int = -1
    pruned: bool = False


@dataclass
class _Search:
    """The loop: asks Optuna for settings, runs them and reports the results to it."""

    space: Space
    path: Path
    registry: Registry
    study: Study
    wanted: int
    launcher: Launcher
    listener: SearchListener | None
    active: list[_Active] = field(default_factory=list)

    def planned(self, number: int, chosen: Mapping[str, Any]) -> PlannedRun:
        return planned_trial(self.space, number, chosen, self.registry)

    def go(self) -> None:
        waiting = self._left_by_a_kill()
        try:
            with stop_requests() as stop:
                while True:
                    if not stop.is_set():
                        self._fill(waiting)
                    if not self.active:
                        break
                    if stop.is_set():
                        self._stop()
                    self._look()
                    time.sleep(_POLL_SECONDS)
        finally:
            for one in self.active:  # an error in this loop must not leave them running
                one.job.stop()

    def _left_by_a_kill(self) -> list[FrozenTrial]:
        """The trials that were running when the process before died; those whose settings it hadn't all drawn fail."""
        waiting = [trial for trial in self.study.get_trials(deepcopy=False) if not trial.state.is_finished()]
        wanted = set(distributions(self.space))
        for frozen in waiting:
            if set(frozen.params) != wanted:
                trial = import_optuna().trial.Trial(self.study, frozen._trial_id)
                self._fail(trial, "the search was killed while the settings were being drawn")
        return [trial for trial in waiting if set(trial.params) == wanted]

    def _fill(self, waiting: list[FrozenTrial]) -> None:
        """Start trials while there is room: first those of a process that died."""
        optuna = import_optuna()
        while len(self.active) < self.launcher.slots:
            if waiting:
                frozen = waiting.pop(0)
                self._start(optuna.trial.Trial(self.study, frozen._trial_id), frozen.params, "continued")
            elif count_ended(self.study) + len(self.active) < self.wanted:
                with guarded_record(self.path):
                    trial = self.study.ask(distributions(self.space))
                self._start(trial, trial.params, "started")
            else:
                break

    def _start(self, trial: Trial, params: Mapping[str, Any], verb: str) -> None:
        try:
            planned = self.planned(trial.number, params)
        except ConfigError as error:  # settings that are valid alone but not together
            self._fail(trial, str(error))
            return
        check_folders(self.path, [planned])
        job = self.launcher.start(training_job(self.path, planned, score=False))
        self.active.append(_Active(trial, planned, job))
        self._say(trial.number, verb, params, None)

    def _look(self) -> None:
        """Report new validations, stop trials that lag behind, and note which have ended."""
        optuna = import_optuna()
        for one in list(self.active):
            status = one.job.poll()  # first: what it wrote before its end is then read
            readings = validations(RunDirectory(self.path / one.planned.folder))
            for step, reading in readings.items():
                if step > one.reported:
                    one.reported = step
                    one.trial.report(reading, step)
                    if not one.pruned and one.trial.should_prune():
                        one.pruned = True
                        one.job.stop()
            if status is None:
                continue
            self.active.remove(one)
            score = max(readings.values()) if readings else None
            if status == 0 and score is not None:
                self.study.tell(one.trial, score)
                self._say(one.trial.number, "complete", one.trial.params, score)
            elif one.pruned:
                self.study.tell(one.trial, state=optuna.trial.TrialState.PRUNED)
                self._say(one.trial.number, "pruned", one.trial.params, score)
            else:
                self._fail(one.trial, last_error(self.path / one.planned.log, status))

    def _fail(self, trial: Trial, error: str) -> None:
        trial.set_user_attr("error", error)
        self.study.tell(trial, state=import_optuna().trial.TrialState.FAIL)
        self._say(trial.number, f"failed: {error}", trial.params, None)

    def _stop(self) -> None:
        for one in self.active:
            one.job.stop()
        while any(one.job.poll() is None for one in self.active):
            time.sleep(_POLL_SECONDS)
        self.active.clear()
        raise TrainingInterruptedError(
            f"Stopped after {count_ended(self.study)} of {self.wanted} trials; everything is saved.",
            f"Continue with: cxrkit ablate --resume {self.path}",
        )

    def _say(self, number: int, state: str, settings: Mapping[str, Any], score: float | None) -> None:
        if self.listener is not None:
            self.listener.trial(number, state, settings, score)

    def result(self) -> SearchResult:
        optuna = import_optuna()
        trials = self.study.get_trials(deepcopy=False)
        states = [trial.state for trial in trials]
        if optuna.trial.TrialState.COMPLETE not in states:
            errors = [str(trial.user_attrs.get("error", "")) for trial in trials]
            raise TrainingError(
                f"None of the {len(trials)} trials was completed. Last message: {errors[-1] if errors else 'none'}",
                f"The complete output is in {self.path / 'logs'}.",
            )
        best = self.study.best_trial
        planned = self.planned(best.number, best.params)
        # What that run was trained with, whatever the defaults are now.
        save_config(RunDirectory(self.path / planned.folder).config(), self.path / BEST_FILE)
        write_text(self.path / TABLE_FILE, trials_csv(trials))
        importances: dict[str, float] = {}
        if states.count(optuna.trial.TrialState.COMPLETE) > STARTUP_TRIALS and len(best.params) > 1:
            evaluator = optuna.importance.PedAnovaImportanceEvaluator()
            importances = dict(optuna.importance.get_param_importances(self.study, evaluator=evaluator))
        return SearchResult(
            best=self.path / planned.folder,
            settings=best.params,
            score=float(best.value or 0.0),
            complete=states.count(optuna.trial.TrialState.COMPLETE),
            pruned=states.count(optuna.trial.TrialState.PRUNED),
            failed=states.count(optuna.trial.TrialState.FAIL),
            importances=importances,
            config_file=self.path / BEST_FILE,
            table=self.path / TABLE_FILE,
        )


def validations(run: RunDirectory) -> dict[int, float]:
    """Update to the Dice coefficient of the validation films, in [0, 1]."""
    return {
        reading.step: reading.validation["dice"]
        for reading in run.metrics()
        if isinstance(reading, ValidationReading) and reading.on == "validation"
    }
