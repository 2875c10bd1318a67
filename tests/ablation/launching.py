"""A launcher that runs nothing: its jobs end when they are told to, and leave what a training leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from cxrkit.errors import CxrkitError
from cxrkit.interfaces import Job, Launcher, RunningJob

#: What a job does when it ends: leaves files, and returns its exit status.
Ending = Callable[[Job], int]


@dataclass
class FakeJob(RunningJob):
    job: Job
    ending: Ending
    polls: int
    during: Callable[[Job], None] | None = None
    status: int | None = None
    stopped: bool = False

    def poll(self) -> int | None:
        self.polls -= 1
        if self.during is not None and self.status is None:
            self.during(self.job)
        if self.status is None and (self.stopped or self.polls <= 0):
            self.status = 130 if self.stopped else self.ending(self.job)
        return self.status

    def stop(self) -> None:
        self.stopped = True


@dataclass
class FakeLauncher(Launcher):
    """Jobs end after so many looks at them, and do `during` at each; those named in `refused` can't be started."""

    ending: Ending
    room: int = 2
    polls: int = 2
    refused: tuple[str, ...] = ()
    during: Callable[[Job], None] | None = None
    jobs: list[FakeJob] = field(default_factory=list)
    most: int = 0

    @property
    def slots(self) -> int:
        return self.room

    def start(self, job: Job) -> RunningJob:
        if job.name in self.refused:
            raise CxrkitError(f"no worker for {job.name}", "Try later.")
        self.jobs.append(FakeJob(job, self.ending, self.polls, self.during))
        self.most = max(self.most, sum(one.status is None for one in self.jobs))
        return self.jobs[-1]

    @property
    def started(self) -> list[str]:
        return [one.job.name for one in self.jobs]
