"""Parallel runs on this machine."""

from __future__ import annotations

import os
from typing import Annotated

from pydantic import Field

from cxrkit import Job, Launcher, RunningJob
from cxrkit.errors import StorageError
from cxrkit_plugins.launchers.forking import Forker, can_fork
from cxrkit_plugins.launchers.process import Process, thread_environment


class LocalLauncher(Launcher):
    """Processes on this machine: on a CPU they share the cores; if there are GPUs, each run has its own.

    Small networks leave most of a GPU idle: `per_gpu` puts several runs on each.
    """

    def __init__(
        self,
        *,
        workers: Annotated[
            int | None, Field(ge=1, description="parallel runs (null: per_gpu per GPU, or one per CPU core, at most 4)")
        ] = None,
        threads: Annotated[
            int | None,
            Field(ge=1, description="threads of each run (null: OMP_NUM_THREADS, or the cores shared evenly)"),
        ] = None,
        per_gpu: Annotated[int, Field(ge=1, description="runs that share a GPU")] = 1,
    ) -> None:
        gpus = _visible_gpus()
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.workers = workers or (len(gpus) * per_gpu if gpus else min(cores, 4))
        self.threads: int = threads or _asked_threads() or max(1, cores // self.workers)
        self.places = [gpus[index % len(gpus)] for index in range(self.workers)] if gpus else [""] * self.workers
        self.running: list[RunningJob | None] = [None] * self.workers
        self.forker: Forker | None = None

    @property
    def slots(self) -> int:
        """How many runs there are at a time."""
        return self.workers

    def start(self, job: Job) -> RunningJob:
        """Start a job in the first free slot.

        Raises:
            StorageError: its log can't be written.
        """
        place = next(i for i, process in enumerate(self.running) if process is None or process.poll() is not None)
        environment = os.environ | thread_environment(self.threads)
        if self.places[place]:
            environment["CUDA_VISIBLE_DEVICES"] = self.places[place]
        try:
            started: RunningJob
            if can_fork(job) and not self.places[place]:
                self.forker = self.forker or Forker(environment)
                started = self.forker.start(job)
            else:
                started = _LocalJob(job.command, job.log, environment, stop_with_parent=True)
        except OSError as error:
            raise StorageError(f"{job.name}: can't be started: {error}.", "Check the disk and the memory.") from error
        self.running[place] = started
        return started

    def close(self) -> None:
        """End the process that forks jobs."""
        if self.forker is not None:
            self.forker.close()
            self.forker = None


class _LocalJob(Process, RunningJob):
    """A process of this machine."""


def _asked_threads() -> int | None:
    """What the user's `OMP_NUM_THREADS` says; more threads than free cores make a training many times slower."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(asked) if asked.isdecimal() and int(asked) > 0 else None


def _visible_gpus() -> list[str]:
    """The GPUs that runs may use, as `CUDA_VISIBLE_DEVICES` names them."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        return [name.strip() for name in listed.split(",") if name.strip() and name.strip() != "-1"]
    import torch

    return [str(index) for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
