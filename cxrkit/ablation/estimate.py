"""How long an ablation will take, from a few updates of each kind of run."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from cxrkit.ablation.plan import PlannedRun
from cxrkit.config import RunConfig
from cxrkit.engine.hardware import computing_threads
from cxrkit.engine.observer import Observer, Silent
from cxrkit.engine.run import RunDirectory
from cxrkit.engine.train import train
from cxrkit.registry import Registry

#: Settings of `train` that don't change what an update does, or not how long it takes.
COSTLESS = ("lr", "steps", "epochs", "schedule", "warmup", "weight_decay", "validate_every", "checkpoint_every")

_UPDATES = 5
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
    kinds = {_kind(planned.config): planned for planned, steps in zip(runs, left, strict=True) if steps > 0}
    known: dict[str, tuple[float, float]] = {}
    listener = observer or Silent()
    listener.stage("Timing a few updates", len(kinds))
    with computing_threads(threads):
        for count, (kind, planned) in enumerate(kinds.items(), start=1):
            known[kind] = _measure(planned.config, registry)
            listener.advance(count, planned.arm.label)
    seconds = []
    for planned, steps in zip(runs, left, strict=True):
        update, validation = known.get(_kind(planned.config), (0.0, 0.0))
        work = update * steps + validation * (steps // planned.config.train.validate_every)
        seconds.append(_START_SECONDS + work if steps > 0 else 0.0)
    return seconds


def _kind(config: RunConfig) -> str:
    """What the time of an update depends on."""
    content = config.model_dump(mode="json")
    content.pop("seed")
    for key in COSTLESS:
        content["train"].pop(key)
    return repr(content)


def _measure(config: RunConfig, registry: Registry) -> tuple[float, float]:
    """Seconds of an update, and of a validation."""
    brief = config.train.model_copy(update={"steps": _UPDATES, "epochs": None, "validate_every": _UPDATES})
    clock = _Clock()
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory.create(Path(folder) / "run", config.model_copy(update={"train": brief}))
        train(run, registry, clock)
        ended = time.monotonic()
    gaps = [after - before for before, after in zip(clock.times[1:], clock.times[2:], strict=False)]
    # What follows the last update is a validation, where there is one, and the saving of the state.
    return statistics.median(gaps), ended - clock.times[-1]


class _Clock(Silent):
    def __init__(self) -> None:
        self.times: list[float] = []
        self.training = False

    def stage(self, name: str, total: int) -> None:
        self.training = name == "Training"

    def advance(self, done: int, note: str = "") -> None:
        if self.training and done > 0:
            self.times.append(time.monotonic())
