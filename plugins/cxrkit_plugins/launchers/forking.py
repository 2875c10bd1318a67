"""A process that has imported what trainings need and forks one for each job, which spares it seconds of importing.

Linux only, and without GPUs: a forked process can't use a GPU that its parent may have looked at. Each job is a process
as isolated as one that is started from a command line. Messages are JSON: a job's number with its arguments, log and
folder, or only its number to stop it; the answer is the number with the exit status.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import sys
import warnings
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from cxrkit import Job, RunningJob
from cxrkit_plugins.launchers.process import signal_with_parent

#: The status of a job that couldn't be forked, or whose forking process is gone.
_LOST = 70


def can_fork(job: Job) -> bool:
    """Whether it is a Python module that this interpreter runs, on a system where forking is safe."""
    return sys.platform == "linux" and job.command[:2] == (sys.executable, "-m")


class Forker:
    """Our end: it is started with the first job, and ends, with all jobs, when this process does.

    Args:
        environment: all its variables, which jobs have too.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=dict(environment),
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self.pipe = Connection(ours.detach())
        self.started = 0
        self.ended: dict[int, int] = {}

    def start(self, job: Job) -> RunningJob:
        """Fork a process for a job; raises OSError where this one's helper is gone."""
        job.log.open("ab").close()
        self.started += 1
        self.send({"number": self.started, "arguments": job.command[2:], "log": str(job.log), "folder": os.getcwd()})  # noqa: PTH109
        return _Forked(self, self.started)

    def send(self, message: Mapping[str, Any]) -> None:
        """Raises OSError where the helper is gone."""
        self.pipe.send_bytes(json.dumps(message).encode())

    def status(self, number: int) -> int | None:
        """A job's exit status, None while it runs."""
        try:
            while self.pipe.poll():
                answer = json.loads(self.pipe.recv_bytes())
                self.ended[answer["number"]] = answer["status"]
        except (EOFError, OSError):
            return self.ended.get(number, _LOST)
        return self.ended.get(number)

    def close(self) -> None:
        """End it; jobs that still run are asked to stop, and not waited for."""
        self.pipe.close()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(1)


class _Forked(RunningJob):
    def __init__(self, forker: Forker, number: int) -> None:
        self.forker, self.number = forker, number

    def poll(self) -> int | None:
        return self.forker.status(self.number)

    def stop(self) -> None:
        with suppress(OSError):
            self.forker.send({"number": self.number})


def serve(pipe: Connection) -> None:
    """Fork what is asked for, until the other end is closed; then stop all jobs and wait for them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is passed on by whoever started us
    with suppress(Exception):  # what is missing is reported by the job that needs it
        _preload()
    jobs: dict[int, multiprocessing.Process] = {}
    listening = True
    while listening or jobs:
        ready = wait([*([pipe] if listening else []), *(job.sentinel for job in jobs.values())])
        if pipe in ready:
            try:
                message = json.loads(pipe.recv_bytes())
            except (EOFError, OSError):
                listening = False
                for job in jobs.values():
                    _stop(job)
                continue
            number = message["number"]
            if "arguments" in message:
                try:
                    jobs[number] = _fork(message, pipe)
                except OSError as error:  # of memory, or of processes, there are too few
                    with open(message["log"], "a") as log:  # noqa: PTH123
                        log.write(f"Error: it can't be started: {error}.\n")
                    _answer(pipe, number, _LOST)
            elif number in jobs:
                _stop(jobs[number])
        for number, job in list(jobs.items()):
            if job.sentinel in ready:
                job.join()
                del jobs[number]
                _answer(pipe, number, job.exitcode or 0)


def _answer(pipe: Connection, number: int, status: int) -> None:
    with suppress(OSError):  # nobody listens any more
        pipe.send_bytes(json.dumps({"number": number, "status": status}).encode())


def _preload() -> None:
    import kornia  # noqa: F401
    import lightning_fabric  # noqa: F401
    import matplotlib.figure  # noqa: F401
    import scipy.stats  # noqa: F401

    import cxrkit

    cxrkit.train  # noqa: B018  # and with it what it imports


def _fork(message: Mapping[str, Any], pipe: Connection) -> multiprocessing.Process:
    context = multiprocessing.get_context("fork")
    waiting, ready = context.Pipe(duplex=False)
    job: Any = context.Process(target=_run, args=(message, pipe, ready))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # no thread of ours holds a lock
        job.start()
    ready.close()
    with waiting:
        waiting.poll(None)  # from now on it can be stopped
    return job


def _run(message: Mapping[str, Any], pipe: Connection, ready: Connection) -> None:
    """In the forked process: become what the command line would have started."""
    if (prepare := signal_with_parent(signal.SIGINT)) is not None:
        prepare()
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    ready.close()
    pipe.close()
    log = os.open(message["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for ours, theirs in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(ours, theirs)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
    os.chdir(message["folder"])
    sys.argv = list(message["arguments"])
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


def _stop(job: multiprocessing.Process) -> None:
    """Ask it to stop as Ctrl-C does, which lets a training save its state."""
    with suppress(ProcessLookupError):
        os.killpg(job.pid or 0, signal.SIGINT)


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
