"""The node at work: threads that segment, threads that send, and a door that films come in by."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cxrkit.commands import ConfigError, CxrkitError, locked
from cxrkit_clinic.node.records import Waiting
from cxrkit_clinic.node.sending import Destination, Sender
from cxrkit_clinic.node.spool import Spool
from cxrkit_clinic.node.worker import Outcome, Recipe, Worker

#: Processes that may crash on a film before it counts as failed: the first may have had too little memory.
_CRASHES = 2
_FORGET_EVERY = 3600.0


class Door(Protocol):
    """What films come in by."""

    def close(self) -> None:
        """Take no more."""


@dataclass(frozen=True)
class Service:
    """What a node does with films, whatever they come in by.

    Attributes:
        spool: its folder.
        recipe: how films are segmented.
        destinations: where results go.
        workers: processes that segment.
        patience: seconds that a film may take.
        give_up: seconds after which results that a destination doesn't take are held.
        keep: days for which is kept what failed or is held, and what is known of films that are done.
        limit: films that may wait.
        say: called with messages.
    """

    spool: Path
    recipe: Recipe
    destinations: Sequence[Destination]
    workers: int
    patience: float
    give_up: float
    keep: float
    limit: int
    say: Callable[[str], None]

    def run(
        self, open_door: Callable[[Spool, str, Callable[[], None]], Door], stop: threading.Event, **facts: Any
    ) -> dict[str, int]:
        """Work until `stop` is set.

        Args:
            open_door: called with the spool, the hash of all that decides what becomes of a film, and what to call
                when one has arrived.
            stop: set from outside.
            facts: about the door, for `--status`.

        Returns:
            How many films still wait, and the results of how many are still to be sent.

        Raises:
            CxrkitError: no such weights or writers, the spool is another node's, or the door can't be opened.
        """
        with ExitStack() as stack:
            stack.enter_context(self._readable_ends_of_threads())
            spool = stack.enter_context(opened(self.spool, self.limit))
            spool.recover()
            again = spool.retry()
            if again:
                self.say(f"{again} films that failed or were held are tried again.")
            for name, count in spool.strangers([item.name for item in self.destinations]).items():
                self.say(f"The results of {count} films wait for {name}, which isn't among the destinations now.")
            workers = [Worker(self.recipe, self.patience) for _ in range(self.workers)]
            for worker in workers:
                stack.callback(worker.kill)
            ready = workers[0].start()
            where = sorted(item.name for item in self.destinations)
            made_with = hashlib.sha256(json.dumps([ready.settings, where]).encode()).hexdigest()[:16]
            senders = [Sender(item, spool, self.give_up, self.say) for item in self.destinations]
            closing, arrived = threading.Event(), threading.Condition()

            def wake() -> None:
                with arrived:
                    arrived.notify_all()

            threads = [
                threading.Thread(
                    target=self._segment, args=(worker, spool, senders, closing, arrived), daemon=True, name="segments"
                )
                for worker in workers
            ]
            door = open_door(spool, made_with, wake)
            try:
                spool.remember(pid=os.getpid(), started=time.time(), destinations=where, **ready.weights, **facts)
                for thread in (*threads, *senders):
                    thread.start()
                self._look_after(spool, stop)
            finally:
                door.close()
                closing.set()
                wake()
                for sender in senders:
                    sender.close(5.0)
                for worker, thread in zip(workers, threads, strict=True):
                    thread.join(5.0)
                    worker.kill()
                    thread.join(5.0)
                spool.remember(pid=None)
            return {state: spool.count(state) for state in ("waiting", "sending")}

    @contextmanager
    def _readable_ends_of_threads(self) -> Iterator[None]:
        """Report what ends a thread in a line: pynetdicom's end so at a caller that doesn't speak DICOM."""
        before = threading.excepthook
        threading.excepthook = lambda found: self.say(f"A connection ended: {found.exc_type.__name__}")
        try:
            yield
        finally:
            threading.excepthook = before

    def _look_after(self, spool: Spool, stop: threading.Event) -> None:
        forget = 0.0
        while not stop.wait(2.0):
            spool.write_lines()
            if time.monotonic() >= forget:
                forget = time.monotonic() + _FORGET_EVERY
                try:
                    spool.forget(self.keep)
                except (OSError, sqlite3.Error) as error:
                    self.say(f"{self.spool}: {error}")

    def _segment(
        self,
        worker: Worker,
        spool: Spool,
        senders: Sequence[Sender],
        closing: threading.Event,
        arrived: threading.Condition,
    ) -> None:
        """Segment one film after the other; errors of the disk are tried again after a while."""
        while not closing.is_set():
            film = None
            try:
                film = spool.take()
                if film is not None:
                    with spool.workplace(film) as workplace:
                        self._segment_one(worker, spool, film, workplace, closing)
                    for sender in senders:
                        sender.wake()
                    continue
                wait = 1.0
            except Exception as error:
                # The disk, the database, or weights that are gone: no film's fault, so it waits.
                if film is not None:
                    spool.release(film)
                what = error.what if isinstance(error, CxrkitError) else f"{type(error).__name__}: {error}"
                if not closing.is_set():
                    self.say(f"Films wait, and are tried again in 10 s: {what}")
                wait = 10.0
            with arrived:
                if not closing.is_set():
                    arrived.wait(wait)

    def _segment_one(
        self, worker: Worker, spool: Spool, film: Waiting, workplace: Path, closing: threading.Event
    ) -> None:
        outcome = worker.segment(film.path, workplace)
        if outcome is None:
            how = worker.kill()
            if closing.is_set():
                spool.release(film)
                return
            if film.crashes + 1 < _CRASHES:
                self.say(f"Film {film.uid[:8]}: the process that segmented it was {how}; it is tried once more.")
                spool.crashed(film)
                return
            outcome = Outcome("failed", f"the process that segmented it was {how}")
        if outcome.state == "disk":
            raise OSError(outcome.reason)
        if outcome.state == "made":
            spool.made(film, workplace, [item.name for item in self.destinations], outcome.facts, outcome.reason)
        else:
            self.say(f"Film {film.uid[:8]} {outcome.state}: {outcome.reason}")
            spool.end(film, outcome.state, outcome.reason, outcome.facts)


@contextmanager
def opened(folder: Path, limit: int = 1000) -> Iterator[Spool]:
    """A spool that no other node works on.

    Raises:
        ConfigError: another one does. StorageError: it can't be used.
    """
    with Spool(folder, limit=limit) as spool:
        busy = ConfigError(f"{folder}: another node works on this spool.", "Stop it, or choose another --spool.")
        with locked(folder / "lock", busy):
            yield spool
