"""What runs on a worker of a Ray cluster. It imports no torch, so that a worker starts quickly."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from cxrkit_plugins.launchers.process import Process, thread_environment


class Worker:
    """An actor on a worker of the cluster, which runs one process."""

    def __init__(self) -> None:
        self.process: Process | None = None

    def start(self, command: list[str], log: str, directory: str, threads: int) -> None:
        """Start it."""
        environment = os.environ | thread_environment(threads)
        environment.pop("RAY_JOB_ID", None)
        # Ray's workers, and so their children, ignore SIGINT.
        self.process = Process(command, Path(log), environment, folder=directory, stop_signal=signal.SIGTERM)

    def poll(self) -> int | None:
        """Its exit status, None while it runs."""
        return None if self.process is None else self.process.poll()

    def stop(self) -> None:
        """Ask it to stop."""
        if self.process is not None:
            self.process.stop()
