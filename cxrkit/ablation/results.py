"""An ablation on disk: every planned run with its state, and its scores where it has any.

An ablation's folder holds:

ablation.yaml   the plan
runs/           a run directory for every arm and seed: `runs/<arm>/seed-<seed>/`
logs/           what each run's process printed
events.jsonl    one line each time such a process ended
report/         what `cxrkit report` writes
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from cxrkit.ablation.plan import Arm, Plan, PlannedRun, read_plan
from cxrkit.config import RunConfig, resolve
from cxrkit.engine.run import Provenance, RunDirectory
from cxrkit.engine.scores import Evaluation
from cxrkit.errors import ConfigError, CxrkitError, DataError
from cxrkit.files import append_line
from cxrkit.overrides import differences, merge
from cxrkit.plugins import registry

PLAN_FILE = "ablation.yaml"

#: `finished`: scored on the test films. `stopped`: started, can continue. `failed`: its last attempt ended with an
#: error. `missing`: not started.
State = Literal["finished", "stopped", "failed", "missing"]
#: What reports and the live progress call the states.
STATES: Mapping[State, str] = {
    "finished": "finished",
    "failed": "failed",
    "stopped": "not finished",
    "missing": "not started",
}


@dataclass(frozen=True)
class RunResult:
    """One planned run.

    Attributes:
        arm, seed: which.
        run: its folder, which may not exist.
        log: what its process printed.
        state: see `State`.
        honest: scores of the weights that validation chose, or of the last ones where nothing was chosen.
        paper: scores of the weights that the test films chose, where the run was trained with `protocol: paper`;
            else the same as `honest`.
        error: the message of its last attempt, if that failed (also after its scores were written); or what is wrong
            with its scores.
        seconds: wall time of its attempts; None if unknown.
        joules: the energy that the coordinating machine used during its attempts; None where it has no counters. Their
            sum over all runs is the energy of the ablation.
        counters: which counters these joules are from.
    """

    arm: Arm
    seed: int
    run: RunDirectory
    log: Path
    state: State
    honest: Evaluation | None = None
    paper: Evaluation | None = None
    error: str | None = None
    seconds: float | None = None
    joules: float | None = None
    counters: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What reports call it."""
        return f"{self.arm.label}, seed {self.seed}"

    @cached_property
    def config(self) -> RunConfig | None:
        """Its configuration; None if it cannot be read."""
        with suppress(CxrkitError):
            return self.run.config()
        return None

    @cached_property
    def provenance(self) -> Provenance | None:
        """Where its numbers come from; None if that cannot be read."""
        with suppress(CxrkitError):
            return self.run.provenance()
        return None


@dataclass(frozen=True)
class Results:
    """All planned runs, in the plan's order (arms, then seeds)."""

    path: Path
    plan: Plan
    runs: tuple[RunResult, ...]

    @property
    def arms(self) -> tuple[Arm, ...]:
        """In the plan's order."""
        return self.plan.arms()

    def of(self, arm: Arm) -> tuple[RunResult, ...]:
        """The runs of an arm, a seed each."""
        return tuple(run for run in self.runs if run.arm == arm)

    @property
    def finished(self) -> tuple[RunResult, ...]:
        """The runs with scores."""
        return tuple(run for run in self.runs if run.state == "finished")

    @property
    def unfinished(self) -> tuple[RunResult, ...]:
        """The runs without scores."""
        return tuple(run for run in self.runs if run.state != "finished")

    @cached_property
    def configs(self) -> tuple[RunConfig, ...]:
        """Of all runs that have a readable one."""
        return tuple(run.config for run in self.runs if run.config is not None)

    def count(self, state: State) -> int:
        """How many runs are in a state."""
        return sum(run.state == state for run in self.runs)


def read_own_plan(path: Path) -> Plan:
    """The plan of an ablation's folder.

    Raises:
        ConfigError: there is none, or it is damaged.
    """
    return like_its_runs(read_plan(path / PLAN_FILE), path)


def like_its_runs(plan: Plan, path: Path) -> Plan:
    """A plan that prepares films as the runs of its folder do: those from before `resize_as` have it as `stored`."""
    for file in sorted(path.glob("runs/*/*/config.yaml")):
        with suppress(OSError):  # one that can't be read is reported when its run is needed
            text = file.read_text(encoding="utf-8", errors="replace")  # as YAML, hundreds of runs would take seconds
            if "preprocess:" in text and "resize_as:" not in text:
                return replace(plan, base=merge({"preprocess": {"resize_as": "stored"}}, plan.base))
    return plan


def load_results(path: Path) -> Results:
    """Read an ablation's folder.

    Raises:
        DataError: there is no ablation there. ConfigError: its plan is damaged.
    """
    if not (path / PLAN_FILE).is_file():
        raise DataError(
            f"{path} does not hold an ablation (no {PLAN_FILE}).",
            "Give the folder that `cxrkit ablate` named when it started.",
        )
    plan = read_own_plan(path)
    events = list(read_events(path))
    runs = tuple(_read(path, arm, seed, events) for arm in plan.arms() for seed in plan.seeds)
    return Results(path, plan, runs)


def _read(path: Path, arm: Arm, seed: int, events: Sequence[dict[str, Any]]) -> RunResult:
    folder = f"runs/{arm.slug}/seed-{seed}"
    run = RunDirectory(path / folder)
    own = [event for event in events if event.get("run") == folder]
    last_failed = bool(own) and own[-1].get("status") not in (0, 130, -2, -15)
    honest, paper = read_scores(run)
    error = str(own[-1].get("error") or "ended without a message") if last_failed else None
    state: State = "missing"
    if honest is not None:
        state = "finished"
    elif last_failed:
        state = "failed"
    elif run.config_file.is_file():
        state, error = "stopped", _score_problem(run)
    timed = [event["seconds"] for event in own if isinstance(event.get("seconds"), int | float)]
    metered = [event for event in own if isinstance(event.get("machine_joules"), int | float)]
    return RunResult(
        arm,
        seed,
        run,
        path / f"logs/{arm.slug}_seed-{seed}.log",
        state,
        honest,
        paper,
        error,
        sum(timed) if timed else None,
        sum(event["machine_joules"] for event in metered) if metered else None,
        tuple(dict.fromkeys(str(name) for event in metered for name in event.get("counters") or ())),
    )


def read_scores(run: RunDirectory) -> tuple[Evaluation | None, Evaluation | None]:
    """A run's scores on the test films: the honest ones and those of the paper's selection; None until there are any.

    Where weights were chosen, the scores of the last ones never replace theirs, even if theirs are damaged.
    """
    best, last = (_evaluation(_scores_file(run, weights)) for weights in ("best", "last"))
    if best is None:
        chosen = _has_best_weights(run) or _scores_file(run, "best").exists()
        return (None, None) if chosen else (last, last)
    if best.selected_on == "test":
        return (last, best) if last is not None else (None, None)
    return best, best


def _score_problem(run: RunDirectory) -> str | None:
    """Why a trained run's scores cannot be used, and what to do; None where it just has none yet."""
    for weights in ("best", "last"):
        file = _scores_file(run, weights)
        if file.exists() and _evaluation(file) is None:
            option = " --checkpoint last" if weights == "last" and _has_best_weights(run) else ""
            return f"scores damaged ({file.name}); run: cxrkit evaluate {run.path}{option}"
    if _scores_file(run, "last").exists() and _has_best_weights(run):
        return f"its best weights have no scores; run: cxrkit evaluate {run.path}"
    if _scores_file(run, "best").exists():
        return f"its last weights have no scores; run: cxrkit evaluate {run.path} --checkpoint last"
    return None


def _scores_file(run: RunDirectory, weights: str) -> Path:
    return run.evaluation / f"test-{weights}.json"


def _has_best_weights(run: RunDirectory) -> bool:
    return (run.path / "checkpoints" / "best.safetensors").is_file()


def _evaluation(file: Path) -> Evaluation | None:
    try:
        return Evaluation.model_validate_json(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError):
        return None


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of events.jsonl, without those that were cut off when a process was killed."""
    try:
        lines = (path / "events.jsonl").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            yield event


def log_event(path: Path, event: dict[str, Any]) -> None:
    """Append a line to events.jsonl."""
    append_line(path / "events.jsonl", json.dumps(event))


def check_folders(path: Path, runs: Sequence[PlannedRun]) -> None:
    """Refuse to mix runs of different settings in one table.

    Raises:
        ConfigError: an existing run was made with settings other than those planned now; names the differences.
    """
    for planned in runs:
        run = RunDirectory(path / planned.folder)
        if not run.config_file.is_file():
            continue
        try:
            existing = resolve(run.config(), registry())  # with parameters that have been added since
        except CxrkitError as error:
            raise ConfigError(f"{run.config_file}: {error.what}", "Remove that run's folder.") from error
        if existing != planned.config:
            differ = ", ".join(differences(existing.model_dump(mode="json"), planned.config.model_dump(mode="json")))
            raise ConfigError(
                f"{run.path} was made with different settings ({differ}).",
                f"Continue with the folder's own plan (--resume {path}), choose another --out, or remove that run.",
            )
