"""The workers that share one network, and who may wait for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from cxrkit.commands import Workers
from cxrkit_clinic.server.work import Answer, Task


class FullError(Exception):
    """As many films wait as may."""


class Pool:
    """Does tasks, several at a time, in the order of their arrival; a context manager.

    Args:
        workers: what does them.
        count: how many at a time.
        queue: how many more may wait.
    """

    def __init__(self, workers: Workers[Task, Answer], count: int, queue: int) -> None:
        self._workers, self._most = workers, count + queue
        self._threads = ThreadPoolExecutor(count, "cxrkit-films")
        self.taken = 0

    @contextmanager
    def place(self) -> Iterator[Callable[[Task], asyncio.Future[Answer]]]:
        """Take a place; it is free again at the end of the block.

        Raises:
            FullError: there is none.
        """
        if self.taken >= self._most:
            raise FullError
        self.taken += 1
        try:
            yield self._begin
        finally:
            self.taken -= 1

    def _begin(self, task: Task) -> asyncio.Future[Answer]:
        return asyncio.get_running_loop().run_in_executor(self._threads, self._workers.run, task)

    def close(self) -> None:
        """Begin nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)
