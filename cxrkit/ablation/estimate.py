"""How long an ablation will take, from a few updates of each kind of run."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from cxrkit.ablation.plan import PlannedRun
from cxrkit.config import RunConfig
from cxrkit.engine.films import prepare_films
from cxrkit.engine.observer import Observer, Silent
from cxrkit.engine.run import RunDirectory
from cxrkit.engine.threads import computing_threads
from cxrkit.engine.train import train
from cxrkit.registry import Registry

#: Settings of `train` that don't change what an update does, or not how long it takes.
COSTLESS = ("lr", "steps", "epochs", "schedule", "warmup", "weight_decay", "validate_every", "checkpoint_every")

_UPDATES = 4
_SECONDS = 0.5  # of updates, after which no more of them are timed
_FORWARD = 0.4  # of an update's time: what the network's forward pass takes
_START_SECONDS = 8.0  # a process's imports, and its scores and pictures in the end


def total_seconds(of_runs: Sequence[float], slots: int) -> float:
    """Seconds for all runs, `slots` side by side, if each has its share of the machine to itself."""
    ends = [0.0] * max(1, slots)
    for seconds in of_runs:
        ends[ends.index(min(ends))] += seconds
    return max(ends)


def estimate(
    runs: Sequence[PlannedRun],
    registry: Registry,
    observer: Observer | None = None,
    *,
    threads: int | None = None,
    done: Sequence[int] = (),
) -> list[float]:
    """How long each run takes, in seconds: a guess from a few updates of every distinct kind of run, made now.

    Args:
        runs: which.
        threads: of each run; by default as many as this process uses.
        done: the updates that each has made already; those that have made all count as finished.

    Raises:
        CxrkitError: a run couldn't start, which is good to know before any of them does.
    """
    behind = done or [0] * len(runs)
    left = [planned.config.train.steps - step for planned, step in zip(runs, behind, strict=True)]
    unfinished = [planned for planned, steps in zip(runs, left, strict=True) if steps > 0]
    kinds = {_kind(planned.config): planned for planned in unfinished}
    sources = {_source(planned.config): planned for planned in unfinished}
    listener = observer or Silent()
    listener.stage("Timing a few updates", len(kinds))
    # Each source's films, so that one that doesn't fit is found, and how many of them validate.
    validating = {
        source: len(prepare_films(planned.config, registry, Silent()).split.validation)
        for source, planned in sources.items()
    }
    known: dict[str, float] = {}
    with computing_threads(threads):
        for count, (kind, planned) in enumerate(kinds.items(), start=1):
            known[kind] = _measure(planned.config, registry)
            listener.advance(count, planned.arm.label)
    seconds = []
    for planned, steps in zip(runs, left, strict=True):
        update, train = known.get(_kind(planned.config), 0.0), planned.config.train
        validation = _FORWARD * update * validating.get(_source(planned.config), 0) / train.batch_size
        seconds.append(
            _START_SECONDS + update * steps + validation * (steps // train.validate_every) if steps > 0 else 0.0
        )
    return seconds


def _source(config: RunConfig) -> str:
    """What decides which films a run has, but for the seed."""
    return repr(config.model_dump(mode="json", include={"data", "structures", "background", "preprocess", "split"}))


def _kind(config: RunConfig) -> str:
    """What the time of an update depends on."""
    content = config.model_dump(mode="json")
    for key in ("seed", "split"):
        content.pop(key)
    for key in COSTLESS:
        content["train"].pop(key)
    return repr(content)


def _measure(config: RunConfig, registry: Registry) -> float:
    """Seconds of an update: of a few after the first, fewer of them where they take long."""
    brief = config.train.model_copy(update={"steps": 1 + _UPDATES, "epochs": None, "validate_every": 1 + _UPDATES})
    clock = _Clock()
    with tempfile.TemporaryDirectory() as folder, suppress(_EnoughError):
        run = RunDirectory.create(Path(folder) / "run", config.model_copy(update={"train": brief}))
        train(run, registry, clock)
    return statistics.median(after - before for before, after in pairwise(clock.times))


class _EnoughError(Exception):
    """Ends a training that was made to be timed."""


class _Clock(Silent):
    def __init__(self) -> None:
        self.times: list[float] = []
        self.training = False

    def stage(self, name: str, total: int) -> None:
        self.training = name == "Training"

    def advance(self, done: int, note: str = "") -> None:
        if self.training and done > 0:
            self.times.append(time.monotonic())
            if len(self.times) > 1 and (done >= _UPDATES or self.times[-1] - self.times[0] > _SECONDS):
                raise _EnoughError
