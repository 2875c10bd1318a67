"""What cxrkit expects of every launcher: jobs run as commands, report how they ended, and stop when asked."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cxrkit.interfaces import Job, Launcher, RunningJob
from cxrkit.testing.expectations import Check, Subject, expect

_PATIENCE_SECONDS = 60.0


@contextmanager
def _launched(subject: Subject) -> Iterator[Launcher]:
    launcher: Launcher = subject.build_if_usable()
    try:
        yield launcher
    finally:
        launcher.close()


def _ended(job: RunningJob) -> int | None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if (status := job.poll()) is not None:
            return status
        time.sleep(0.05)
    return None


def jobs_run_and_report_their_status(subject: Subject) -> None:
    """Exit statuses come back, output goes to the log, and there is at least one slot."""
    with _launched(subject) as launcher, tempfile.TemporaryDirectory() as folder:
        expect(launcher.slots >= 1, "slots to be 1 or more", str(launcher.slots), "Say how many jobs fit.")
        known = launcher.threads is None or launcher.threads >= 1
        expect(known, "threads to be None, or 1 or more", str(launcher.threads), "Say how many threads a job has.")
        for status in (0, 5):
            log = Path(folder) / f"{status}.log"
            code = f"import sys; print('hello from the job'); sys.exit({status})"
            ended = _ended(launcher.start(Job(f"ends with {status}", (sys.executable, "-c", code), log)))
            expect(ended == status, f"exit status {status}", str(ended), "Return its status from poll().")
            output = log.read_text(encoding="utf-8") if log.is_file() else ""
            expect("hello from the job" in output, "its output in the log", repr(output), "Append what it prints.")


def a_job_stops_when_asked(subject: Subject) -> None:
    """stop() ends a job that would take long, with a status other than 0."""
    with _launched(subject) as launcher, tempfile.TemporaryDirectory() as folder:
        begun = Path(folder) / "begun"
        code = f"import pathlib, time; pathlib.Path({str(begun)!r}).touch(); time.sleep(600)"
        job = launcher.start(Job("long", (sys.executable, "-c", code), Path(folder) / "log"))
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not begun.exists() and time.monotonic() < deadline:
            job.poll()
            time.sleep(0.05)
        job.stop()
        status = _ended(job)
        expect(status not in (0, None), "a status other than 0 after stop()", str(status), "Interrupt its process.")


CHECKS: tuple[Check, ...] = (jobs_run_and_report_their_status, a_job_stops_when_asked)
