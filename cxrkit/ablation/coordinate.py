"""Running a plan: every run that isn't finished, several at a time; a failed run doesn't stop the others."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Protocol

from cxrkit.ablation.energy import EnergyMeter
from cxrkit.ablation.plan import PlannedRun
from cxrkit.ablation.results import log_event, read_events, read_scores
from cxrkit.config import save_config
from cxrkit.data.splits import has_tests
from cxrkit.engine.films import prepare_store
from cxrkit.engine.interrupts import stop_requests
from cxrkit.engine.observer import Observer, Silent
from cxrkit.engine.run import RunDirectory
from cxrkit.errors import ConfigError, CxrkitError, TrainingInterruptedError
from cxrkit.files import locked, storage_error
from cxrkit.interfaces import Job, Launcher, RunningJob
from cxrkit.readings import TrainingReading, from_record
from cxrkit.registry import Registry

_POLL_SECONDS = 0.3
_TAIL_BYTES = 8192


RunState = Literal["waiting", "running", "finished", "failed"]


@dataclass(frozen=True)
class RunStatus:
    """One run while the ablation is running.

    Attributes:
        run: which.
        state: waiting, running, finished or failed.
        step, steps: updates done and planned.
        note: its latest reading.
    """

    run: PlannedRun
    state: RunState
    step: int = 0
    steps: int = 0
    note: str = ""


@dataclass(frozen=True)
class Progress:
    """The whole ablation while it is running; `seconds_left` is None until it can be estimated."""

    runs: tuple[RunStatus, ...]
    seconds_left: float | None

    def count(self, state: str) -> int:
        """How many runs are in a state."""
        return sum(status.state == state for status in self.runs)


class Listener(Protocol):
    """Is notified of an ablation's progress, a few times a second."""

    def update(self, progress: Progress) -> None:
        """Called with the current state."""


def run_plan(
    path: Path,
    runs: Sequence[PlannedRun],
    launcher: Launcher,
    launcher_name: str,
    *,
    score: bool = True,
    listener: Listener | None = None,
) -> None:
    """Finish every run: finished ones are left alone, interrupted ones are continued, the others are started.

    A run that fails doesn't stop the others; the outcome of each is in `events.jsonl`.

    Args:
        path: the ablation's folder.
        runs: those to run, in order.
        launcher: where they run; `launcher_name` is for the record.
        score: whether runs end with their scores on the test films.
        listener: is notified of the progress.

    Raises:
        TrainingInterruptedError: Ctrl-C; every run has saved its state.
    """
    coordinator = _Coordinator(path, list(runs), launcher, launcher_name, score, listener)
    try:
        with stop_requests() as stop:
            while not coordinator.over():
                if stop.is_set():
                    coordinator.stop()
                    finished = coordinator.states.count("finished")
                    raise TrainingInterruptedError(
                        f"Stopped; {finished} of {len(runs)} runs are finished, and the others are saved.",
                        f"Continue with: cxrkit ablate --resume {path}",
                    )
                coordinator.turn()
                time.sleep(_POLL_SECONDS)
    finally:
        for job, _ in coordinator.running.values():  # an error in this loop must not leave them running
            job.stop()
    coordinator.notify()


@contextmanager
def owned(path: Path) -> Iterator[None]:
    """Keep a second process from working on the same ablation.

    Raises:
        ConfigError: another one does. StorageError: the folder can't be written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(path, error) from error
    busy = ConfigError(f"{path}: another process is running this ablation.", "Wait for it, or stop it first.")
    with locked(path / ".lock", busy):
        yield


def prepare_runs(runs: Sequence[PlannedRun], registry: Registry, observer: Observer | None = None) -> None:
    """Make the stores of preprocessed films that runs need, once instead of in every process.

    Raises:
        CxrkitError: films that can't be used.
    """
    seen: set[str] = set()
    for planned in runs:
        config = planned.config
        key = json.dumps(
            [
                [one.model_dump(mode="json") for one in config.datasets],
                config.preprocess.model_dump(),
                config.structures,
            ]
        )
        if key not in seen:
            seen.add(key)
            prepare_store(config, registry, observer or Silent())


class _Coordinator:
    def __init__(
        self,
        path: Path,
        runs: list[PlannedRun],
        launcher: Launcher,
        launcher_name: str,
        score: bool,
        listener: Listener | None,
    ) -> None:
        self.path, self.runs, self.launcher, self.listener = path, runs, launcher, listener
        self.launcher_name, self.score = launcher_name, score
        self.began = time.monotonic()
        self.meter = EnergyMeter()
        self.running: dict[int, tuple[RunningJob, float]] = {}
        self.states: list[RunState] = ["finished" if self.is_done(run) else "waiting" for run in runs]
        self.at_start = updates_done(path, runs, score=score)

    def is_done(self, planned: PlannedRun) -> bool:
        return is_done(self.path, planned, score=self.score)

    def over(self) -> bool:
        return not self.running and "waiting" not in self.states

    def turn(self) -> None:
        """Start what there is room for, and note what has ended."""
        self.meter.look()
        self._take_ended()
        while len(self.running) < self.launcher.slots and "waiting" in self.states:
            index = self.states.index("waiting")
            try:
                job = self.launcher.start(training_job(self.path, self.runs[index], score=self.score))
                self.running[index] = (job, time.monotonic())
                self.states[index] = "running"
            except CxrkitError as error:
                self._note(index, error.exit_code, str(error), 0.0)
                self.states[index] = "failed"
        self.notify()

    def stop(self) -> None:
        """Ask every run to save and end, and wait for it; a second Ctrl-C doesn't wait."""
        for job, _ in self.running.values():
            job.stop()
        while self.running:
            self._take_ended()
            time.sleep(_POLL_SECONDS)

    def _take_ended(self) -> None:
        for index, (job, since) in list(self.running.items()):
            if (status := job.poll()) is not None:
                del self.running[index]
                self._end(index, status, time.monotonic() - since)

    def _end(self, index: int, status: int, seconds: float) -> None:
        planned = self.runs[index]
        done = status == 0 and (not self.score or self.is_done(planned))
        self.states[index] = "finished" if done else "failed"
        error = None if done else last_error(self.path / planned.log, status)
        self._note(index, status or (0 if done else 1), error, seconds)

    def _note(self, index: int, status: int, error: str | None, seconds: float) -> None:
        log_event(
            self.path,
            {
                "run": self.runs[index].folder,
                "status": status,
                "error": error,
                "seconds": round(seconds, 1),
                "ended": datetime.now(UTC).isoformat(timespec="seconds"),
                "launcher": self.launcher_name,
                # Of this whole machine, since the event before.
                "machine_joules": self.meter.take(),
                "counters": self.meter.sources,
            },
        )

    def notify(self) -> None:
        """Let the listener know the present state."""
        if self.listener is None:
            return
        rows = []
        for planned, state in zip(self.runs, self.states, strict=True):
            reading = latest_reading(self.path / planned.folder) if state == "running" else None
            step, note = (0, "") if reading is None else (reading.step, f"loss {reading.loss:.3f}")
            steps = planned.config.train.steps
            rows.append(RunStatus(planned, state, steps if state == "finished" else step, steps, note))
        self.listener.update(Progress(tuple(rows), self._seconds_left(rows)))

    def _seconds_left(self, rows: Sequence[RunStatus]) -> float | None:
        """From the updates done since the start, assuming that all take equally long."""
        open_rows = [(row, start) for row, start in zip(rows, self.at_start, strict=True) if row.state != "failed"]
        done = sum(row.step - start for row, start in open_rows)
        left = sum(row.steps - row.step for row, _ in open_rows)
        seconds = time.monotonic() - self.began
        return seconds / done * left if done > 0 and seconds > 5 else None


def is_done(path: Path, planned: PlannedRun, *, score: bool = True) -> bool:
    """Whether a run of the ablation in `path` is finished, including its scores if it has any."""
    if score and has_tests(planned.config.split):
        return read_scores(RunDirectory(path / planned.folder))[0] is not None
    return any(event.get("run") == planned.folder and event.get("status") == 0 for event in read_events(path))


def updates_done(path: Path, runs: Sequence[PlannedRun], *, score: bool = True) -> list[int]:
    """The updates that each run has done: all of them only if it is finished."""
    counts = []
    for planned in runs:
        steps, reading = planned.config.train.steps, latest_reading(path / planned.folder)
        made = 0 if reading is None else min(reading.step, steps - 1)
        counts.append(steps if is_done(path, planned, score=score) else made)
    return counts


def training_job(path: Path, planned: PlannedRun, *, score: bool) -> Job:
    """The command line that starts or continues a run of an ablation.

    Args:
        path: the ablation's folder.
        planned: the run.
        score: whether it ends with its scores on the test films.

    Raises:
        StorageError: the folder can't be written to.
    """
    folder, log = path / planned.folder, path / planned.log
    if (folder / "config.yaml").is_file():
        what = ["--resume", str(folder)]
    else:
        file = path / "configs" / f"{planned.arm.slug}_seed-{planned.seed}.yaml"
        save_config(planned.config, file)
        what = ["--config", str(file), "--out", str(folder)]
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(log.parent, error) from error
    command = [sys.executable, "-m", "cxrkit", "train", *what, "--quiet", *([] if score else ["--no-score"])]
    return Job(f"{planned.arm.label}, seed {planned.seed}", tuple(command), log.absolute())


def latest_reading(folder: Path) -> TrainingReading | None:
    """The last complete reading of an update in a run's metrics.jsonl."""
    try:
        with (folder / "metrics.jsonl").open("rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - _TAIL_BYTES))
            lines = stream.read().decode("utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        with suppress(ValueError):
            if isinstance(reading := from_record(json.loads(line)), TrainingReading):
                return reading
    return None


def last_error(log: Path, status: int) -> str:
    """A failed process's last message; of one that was killed the log holds at most that of an earlier attempt."""
    if status < 0:
        return f"killed by signal {-status}" + (" (out of memory?)" if status == -9 else "")
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    starts = [index for index, line in enumerate(lines) if line.startswith("Error:")]
    if starts:
        return " ".join(line.strip() for line in lines[starts[-1] :]).removeprefix("Error:").strip()
    return lines[-1].strip() if lines else f"ended with status {status} and no message"
