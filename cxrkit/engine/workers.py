"""Films side by side.

On Linux each worker is a forked process: it shares the network's memory, and its crash is that of one film. Where
forking isn't safe (other systems, a GPU, predictors that aren't torch's) workers are threads.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import stat
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Generic, Self, TypeVar

import cv2
import numpy as np

from cxrkit.data.ahead import Results, cores, read_ahead
from cxrkit.engine.predictor import Predictor
from cxrkit.engine.threads import computing_threads

Task = TypeVar("Task")
Result = TypeVar("Result")

#: By default no more films are side by side: each takes memory, and all share one disk.
MOST_WORKERS = 8


def sensible_workers(films: int) -> int:
    """How many workers to use for some films: one per core that this process may use and gigabyte that is free.

    A film of 4000 × 4000 pixels takes 0.8 GB beside what the workers share.
    """
    most = cores()
    with suppress(OSError, AttributeError):
        found = re.search(r"MemAvailable: *(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"))
        most = min(most, int(found[1]) // 1_000_000) if found else most
    return max(1, min(most, films, MOST_WORKERS))


class Workers(Generic[Task, Result]):
    """Does the same work on many tasks, several at a time; a context manager.

    Each worker computes with one thread of torch and OpenCV, so that results don't depend on how many there are. The
    runtimes of exported networks have threads of their own, as many for any number of workers. One worker is this
    process itself.

    Args:
        work: task to result; it reports its own errors.
        count: how many workers.
        crashed: the result of a task whose process ended in the middle of it; the text says how it ended.
        fork: whether they may be forked processes.
        apart: whether one worker, too, is a forked process, so that its crash isn't this process's.
        patience: seconds after which a forked process is ended that hasn't finished its task; None: never.
    """

    def __init__(
        self,
        work: Callable[[Task], Result],
        count: int,
        crashed: Callable[[Task, str], Result],
        *,
        fork: bool,
        apart: bool = False,
        patience: float | None = None,
    ) -> None:
        self._work, self._count, self._crashed, self._patience = work, count, crashed, patience
        self._forked = fork and (count > 1 or apart) and sys.platform == "linux"
        self._processes: list[_Process] = []
        self._idle: SimpleQueue[_Process] = SimpleQueue()
        self._results: Results[Result] | None = None
        self._closed = False
        self._before = ExitStack()

    def __enter__(self) -> Self:
        self._before.enter_context(computing_threads(1))
        self._before.callback(cv2.setNumThreads, cv2.getNumThreads())
        cv2.setNumThreads(1)  # now, for a forked process can't end the threads that it doesn't have
        if self._forked:
            for _ in range(self._count):
                self._idle.put(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        for process in self._processes:
            process.kill()
        if self._results is not None:
            self._results.close()
        self._before.close()

    def map(self, tasks: Sequence[Task]) -> Iterator[Result]:
        """The results, in the order of the tasks; at most twice as many as workers are made ahead."""
        if self._count == 1:
            return map(self.run, tasks)
        self._results = read_ahead(self.run, tasks, self._count)
        return self._results

    def run(self, task: Task) -> Result:
        """The result of one task; for several threads, at most as many at a time as there are workers."""
        return self._in_process(task) if self._forked else self._work(task)

    def _start(self) -> _Process:
        process = _Process(self._work)
        self._processes.append(process)
        return process

    def _in_process(self, task: Task) -> Result:
        process = self._idle.get()
        try:
            result: Result = process.run(task, self._patience)
        except (EOFError, OSError) as error:
            hangs = isinstance(error, TimeoutError)
            how = process.kill(wait=0 if hangs else 5)
            result = self._crashed(task, f"not finished after {self._patience:g} s" if hangs else how)
            if not self._closed:
                self._processes.remove(process)
                process = self._start()
        self._idle.put(process)
        return result


class OneAtATime:
    """A predictor for several threads, of which it may not be known that it computes for more than one at a time."""

    def __init__(self, predictor: Predictor) -> None:
        self.channels, self.preprocess, self.weights = predictor.channels, predictor.preprocess, predictor.weights
        self.card = getattr(predictor, "card", None)
        self._predictor, self._lock = predictor, threading.Lock()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """As the predictor's own."""
        with self._lock:
            return self._predictor(images)


class _Process:
    """A forked process that works on one task after the other until its pipe is closed, by whatever end of ours."""

    def __init__(self, work: Callable[[Any], Any]) -> None:
        context = multiprocessing.get_context("fork")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(work, theirs, self._pipe), daemon=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # our threads hold no locks that it needs
            self._process.start()
        theirs.close()

    def run(self, task: Any, patience: float | None) -> Any:
        """The result of a task.

        Raises:
            EOFError, OSError: the process ended in the middle of it. TimeoutError: it takes longer than `patience`.
        """
        self._pipe.send(task)
        if not self._pipe.poll(patience):
            raise TimeoutError
        return self._pipe.recv()

    def kill(self, wait: float = 0) -> str:
        """End it, unless it ends by itself within so many seconds; how it ended."""
        self._process.join(wait)
        self._process.kill()
        self._process.join()
        code = self._process.exitcode or 0
        return f"by {signal.Signals(-code).name}" if code < 0 else f"with exit status {code}"


def _serve(work: Callable[[Any], Any], pipe: Any, parents: Any) -> None:
    parents.close()  # or the pipe would stay open when the parent is gone
    _close_sockets(pipe.fileno())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's affair
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.stdout = sys.stderr = sys.__stderr__ or sys.stderr  # the parent's may be a progress bar, and locked
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    with suppress(EOFError, OSError):
        while True:
            pipe.send(work(pipe.recv()))


def _close_sockets(kept: int) -> None:
    """Close the connections that a forked process has inherited: they would stay open when the parent closes them."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - numbers, not paths
        with suppress(OSError):
            if int(name) > 2 and int(name) != kept and stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                os.close(int(name))
