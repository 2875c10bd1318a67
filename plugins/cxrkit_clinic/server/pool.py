"""The workers that share one network, who may wait for them, and whose film may be on its way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager

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

    @property
    def is_full(self) -> bool:
        """Whether as many films wait as may."""
        return self.taken >= self._most

    @contextmanager
    def place(self) -> Iterator[Callable[[Task], asyncio.Future[Answer]]]:
        """Take a place; it is free again at the end of the block.

        Raises:
            FullError: there is none.
        """
        if self.is_full:
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


class Uploads:
    """Films that are being sent: the one that began first makes room for another.

    Args:
        most: how many at a time.
        grace: seconds that each has in any case.
    """

    def __init__(self, most: int, grace: float = 10.0) -> None:
        self._most, self._grace = most, grace
        self._began: dict[asyncio.Timeout, float] = {}

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Take a place until the end of the block, which is interrupted if it began first and another needs the place.

        Raises:
            FullError: there is none. TimeoutError: the block was interrupted.
        """
        now = asyncio.get_running_loop().time()
        if len(self._began) >= self._most:
            first, since = next(iter(self._began.items()))
            if now - since < self._grace:
                raise FullError
            del self._began[first]
            first.reschedule(now)
        async with asyncio.timeout(None) as limit:
            self._began[limit] = now
            try:
                yield
            finally:
                self._began.pop(limit, None)
