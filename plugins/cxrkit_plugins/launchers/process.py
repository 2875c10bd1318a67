"""One job as a process of this machine, for the launchers that need it."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

#: The variables from which libraries read how many threads they may use.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_PRCTL = ctypes.CDLL(None).prctl if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


def thread_environment(threads: int) -> dict[str, str]:
    """Environment variables for a process with this many threads, next to others on the same cores.

    Threads that wait for one another sleep: by default GNU's OpenMP lets them spin, and two trainings of two threads
    each on the same two cores then take more than twice as long.
    """
    policy = os.environ.get("OMP_WAIT_POLICY", "PASSIVE")
    return dict.fromkeys(_THREAD_VARIABLES, str(threads)) | {"OMP_WAIT_POLICY": policy}


class Process:
    """A command in a session of its own, because the coordinator passes Ctrl-C on.

    Args:
        command: program and arguments.
        log: what its output is appended to.
        environment: all its variables.
        folder: its working directory; by default this process's.
        stop_signal: what asks it to stop.
        stop_with_parent: on Linux, also ask it to stop when its parent dies, even of kill -9. Otherwise
            it keeps training, and the next coordinator can't continue its run.

    Raises:
        OSError: it can't be started, or the log can't be written.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str],
        *,
        folder: str | None = None,
        stop_signal: signal.Signals = signal.SIGINT,
        stop_with_parent: bool = False,
    ) -> None:
        self.stop_signal = stop_signal
        with log.open("ab") as stream:
            self.process = subprocess.Popen(
                list(command),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                start_new_session=True,
                preexec_fn=signal_with_parent(stop_signal) if stop_with_parent else None,
            )

    def poll(self) -> int | None:
        """Its exit status, None while it runs."""
        return self.process.poll()

    def stop(self) -> None:
        """Ask it to stop; doesn't wait."""
        with suppress(ProcessLookupError):
            if sys.platform == "win32":
                self.process.terminate()
            else:
                os.killpg(self.process.pid, self.stop_signal)


def signal_with_parent(stop_signal: signal.Signals) -> Callable[[], None] | None:
    """What the new process does first: have the kernel send it the signal when its parent dies."""
    if _PRCTL is None:
        return None
    prctl = _PRCTL
    return lambda: prctl(_PR_SET_PDEATHSIG, int(stop_signal))
