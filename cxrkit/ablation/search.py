"""Searching ranges of settings instead of running a whole grid, with Optuna.

Trials are ordinary runs, trained without a look at the test films, and judged by the best Dice coefficient of their
validation films. Those that lag behind the median of the others are stopped early. Everything is kept in the search's
folder, so that a search that was stopped or killed goes on.
"""

from __future__ import annotations

import csv
import io
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cxrkit.ablation.coordinate import last_error, training_job
from cxrkit.ablation.plan import Arm, Plan, PlannedRun
from cxrkit.config import RunConfig, anchored, make_config, resolve, save_config
from cxrkit.engine.run import RunDirectory
from cxrkit.engine.stopping import stop_requests
from cxrkit.engine.train import TrainingInterruptedError
from cxrkit.errors import ConfigError, TrainingError
from cxrkit.files import write_text
from cxrkit.interfaces import Launcher, RunningJob
from cxrkit.registry import Registry
from cxrkit.shorthands import apply_settings

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial, Trial

_POLL_SECONDS = 0.5
_STARTUP_TRIALS = 5  # neither pruning nor anything but random choices before so many trials


@dataclass(frozen=True)
class Range:
    """A setting's range: whole numbers if both ends are, evenly in the logarithm if `log`."""

    key: str
    low: float | int
    high: float | int
    log: bool = False


@dataclass(frozen=True)
class Found:
    """What a search came to.

    Attributes:
        best: the run of the best trial; its `settings` and validation `score` (Dice, in [0, 1]).
        complete, pruned, failed: numbers of trials.
        importances: setting to its share of what moves the score; empty where too few trials tell.
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
    """Hears of trials."""

    def trial(self, number: int, state: str, settings: Mapping[str, Any], score: float | None) -> None:
        """A trial has begun (`begins`), gone on (`goes on`), or ended (`complete`, `pruned`, `failed`)."""


def parse_range(text: str) -> Range:
    """`train.lr=1e-4..1e-2:log` or `model.depth=3..5`.

    Raises:
        ConfigError: it isn't of that form, or upside down.
    """
    number = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
    match = re.fullmatch(rf"\s*([\w.-]+)\s*=\s*({number})\.\.({number})(:log)?\s*", text)
    if match is None:
        raise ConfigError(f"--range {text!r} is no range.", "Write KEY=LOW..HIGH, or KEY=LOW..HIGH:log.")
    key, low, high, log = match.groups()
    whole = re.fullmatch(r"[+-]?\d+", low) and re.fullmatch(r"[+-]?\d+", high)
    made = (
        Range(key, int(low), int(high), log is not None)
        if whole
        else Range(key, float(low), float(high), log is not None)
    )
    if made.low >= made.high or (made.log and made.low <= 0):
        raise ConfigError(
            f"--range {text!r}: {'a logarithm needs numbers above 0' if made.low < made.high else 'is upside down'}.",
            "Write the lower number first.",
        )
    return made


def search(
    plan: Plan,
    ranges: Sequence[Range],
    trials: int,
    path: Path,
    launcher: Launcher,
    registry: Registry,
    listener: SearchListener | None = None,
) -> Found:
    """Try settings until `trials` trials have ended, those of earlier calls counted.

    Args:
        plan: what all trials share; its factors are choices, its first seed is every trial's.
        ranges: what is searched beside the factors.
        trials: how many in all.
        path: the search's folder.
        launcher: where trials run, several side by side.

    Raises:
        ConfigError: Optuna isn't installed, nothing is searched, settings that aren't accepted, no validation films.
        TrainingError: no trial came to an end. TrainingInterruptedError: Ctrl-C; the same call goes on.
    """
    optuna = _import_optuna()
    work = _Search(plan, tuple(ranges), path, registry)
    work.check()
    backend = optuna.storages.journal.JournalFileBackend(str(path / "search.journal"))
    study = optuna.create_study(
        study_name=plan.name,
        storage=optuna.storages.JournalStorage(backend),
        sampler=optuna.samplers.TPESampler(seed=plan.seeds[0], n_startup_trials=_STARTUP_TRIALS, constant_liar=True),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_STARTUP_TRIALS),
        direction="maximize",
        load_if_exists=True,
    )
    _Trials(work, study, trials, launcher, listener).go()
    return _result(work, study)


@dataclass
class _Search:
    plan: Plan
    ranges: tuple[Range, ...]
    path: Path
    registry: Registry

    def distributions(self) -> dict[str, BaseDistribution]:
        optuna = _import_optuna()
        made: dict[str, BaseDistribution] = {}
        for factor in self.plan.factors:
            labels = [level.label for level in factor.levels]
            made[factor.name] = optuna.distributions.CategoricalDistribution(labels)
        for span in self.ranges:
            whole = isinstance(span.low, int) and isinstance(span.high, int)
            kind = optuna.distributions.IntDistribution if whole else optuna.distributions.FloatDistribution
            made[span.key] = kind(span.low, span.high, log=span.log)
        return made

    def planned(self, number: int, chosen: Mapping[str, Any]) -> PlannedRun:
        """The run of a trial with these choices."""
        levels = {(factor.name, level.label): level for factor in self.plan.factors for level in factor.levels}
        settings: dict[str, Any] = {}
        for key, value in chosen.items():
            settings |= levels[key, value].settings if (key, value) in levels else {key: value}
        content, seed = dict(self.plan.base), self.plan.seeds[0]
        apply_settings(content, settings, tuple(RunConfig.model_fields))
        config = anchored(resolve(make_config(content, {"seed": seed}), self.registry))
        arm = Arm({"trial": f"trial-{number:04d}"})
        return PlannedRun(arm, seed, f"runs/{arm.slug}/seed-{seed}", config)

    def check(self) -> None:
        """Refuse what no trial could do."""
        if not self.ranges and not any(len(factor.levels) > 1 for factor in self.plan.factors):
            raise ConfigError(
                "--search: nothing is searched.", "Give --range KEY=LOW..HIGH, or flags of several values."
            )
        for pick in (0, -1):
            chosen: dict[str, Any] = {factor.name: factor.levels[pick].label for factor in self.plan.factors}
            chosen |= {span.key: (span.low, span.high)[pick] for span in self.ranges}
            config = self.planned(0, chosen).config
            if config.train.protocol != "honest":
                raise ConfigError("--search selects on validation films, never on test films.", "Leave --protocol out.")
            if config.split.validation == 0 and config.split.file is None:
                raise ConfigError("--search selects on validation films, and there are none.", "Set --validation.")


@dataclass
class _Active:
    trial: Trial
    planned: PlannedRun
    job: RunningJob
    told: int = -1
    pruned: bool = False


@dataclass
class _Trials:
    """The loop: asks Optuna for settings, runs them, tells it what came of them."""

    work: _Search
    study: Study
    wanted: int
    launcher: Launcher
    listener: SearchListener | None
    active: list[_Active] = field(default_factory=list)

    def go(self) -> None:
        optuna = _import_optuna()
        waiting = [t for t in self.study.get_trials(deepcopy=False) if not t.state.is_finished()]
        with stop_requests() as stop:
            while True:
                while len(self.active) < self.launcher.slots and not stop.is_set():
                    if waiting:  # of a process that died
                        frozen = waiting.pop(0)
                        self._start(optuna.trial.Trial(self.study, frozen._trial_id), frozen.params, "goes on")
                    elif self._ended() + len(self.active) < self.wanted:
                        trial = self.study.ask(self.work.distributions())
                        self._start(trial, trial.params, "begins")
                    else:
                        break
                if not self.active:
                    break
                if stop.is_set():
                    self._stop()
                self._look()
                time.sleep(_POLL_SECONDS)

    def _ended(self) -> int:
        return sum(trial.state.is_finished() for trial in self.study.get_trials(deepcopy=False))

    def _start(self, trial: Trial, params: Mapping[str, Any], verb: str) -> None:
        planned = self.work.planned(trial.number, params)
        job = self.launcher.start(training_job(self.work.path, planned, score=False))
        self.active.append(_Active(trial, planned, job))
        self._say(trial.number, verb, params, None)

    def _look(self) -> None:
        """Report new validations, stop trials that lag behind, and note which have ended."""
        optuna = _import_optuna()
        for one in list(self.active):
            readings = validations(RunDirectory(self.work.path / one.planned.folder))
            for step, reading in readings.items():
                if step > one.told:
                    one.told = step
                    one.trial.report(reading, step)
                    if not one.pruned and one.trial.should_prune():
                        one.pruned = True
                        one.job.stop()
            status = one.job.poll()
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
                error = last_error(self.work.path / one.planned.log, status)
                one.trial.set_user_attr("error", error)
                self.study.tell(one.trial, state=optuna.trial.TrialState.FAIL)
                self._say(one.trial.number, f"failed: {error}", one.trial.params, None)

    def _stop(self) -> None:
        for one in self.active:
            one.job.stop()
        while any(one.job.poll() is None for one in self.active):
            time.sleep(_POLL_SECONDS)
        raise TrainingInterruptedError(
            f"Stopped after {self._ended()} of {self.wanted} trials; everything is saved.",
            f"The same line goes on, with --out {self.work.path}.",
        )

    def _say(self, number: int, state: str, settings: Mapping[str, Any], score: float | None) -> None:
        if self.listener is not None:
            self.listener.trial(number, state, settings, score)


def validations(run: RunDirectory) -> dict[int, float]:
    """Update to the Dice coefficient of the validation films, in [0, 1]."""
    return {
        record["step"]: float(record["validation"]["dice"])
        for record in run.metrics()
        if isinstance(record.get("validation"), Mapping) and record.get("on") == "validation"
    }


def _result(work: _Search, study: Study) -> Found:
    optuna = _import_optuna()
    trials = study.get_trials(deepcopy=False)
    states = [trial.state for trial in trials]
    if optuna.trial.TrialState.COMPLETE not in states:
        errors = [str(trial.user_attrs.get("error", "")) for trial in trials]
        raise TrainingError(
            f"None of {len(trials)} trials came to an end. The last said: {errors[-1] if errors else 'nothing'}",
            f"All they said is in {work.path / 'logs'}.",
        )
    best = study.best_trial
    planned = work.planned(best.number, best.params)
    save_config(planned.config, work.path / "best.yaml")
    write_text(work.path / "search.csv", _csv(trials))
    importances: dict[str, float] = {}
    if states.count(optuna.trial.TrialState.COMPLETE) > _STARTUP_TRIALS and len(best.params) > 1:
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        importances = dict(optuna.importance.get_param_importances(study, evaluator=evaluator))
    return Found(
        best=work.path / planned.folder,
        settings=best.params,
        score=float(best.value or 0.0),
        complete=states.count(optuna.trial.TrialState.COMPLETE),
        pruned=states.count(optuna.trial.TrialState.PRUNED),
        failed=states.count(optuna.trial.TrialState.FAIL),
        importances=importances,
        config_file=work.path / "best.yaml",
        table=work.path / "search.csv",
    )


def _csv(trials: Sequence[FrozenTrial]) -> str:
    keys = list(dict.fromkeys(key for trial in trials for key in trial.params))
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["trial", "state", "validation_dice", *keys, "error"])
    for trial in trials:
        last = max(trial.intermediate_values.values(), default=None)
        value = trial.value if trial.value is not None else last
        row = [trial.number, trial.state.name.lower(), "" if value is None else value]
        writer.writerow([*row, *(trial.params.get(key, "") for key in keys), trial.user_attrs.get("error", "")])
    return stream.getvalue()


def _import_optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ConfigError("--search: Optuna isn't installed.", "Run: pip install 'cxrkit[search]'") from error
    import warnings

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return optuna
