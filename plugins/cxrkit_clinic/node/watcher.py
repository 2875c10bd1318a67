"""The door for a folder: films that lie in it are taken when they are no longer being written."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

from cxrkit.commands import films_below
from cxrkit_clinic.node.records import FullError
from cxrkit_clinic.node.spool import Spool


class Watcher(threading.Thread):
    """Looks into a folder every so often until it is closed. The films stay where they are.

    Args:
        folder: it and its subfolders are watched.
        spool: takes copies of the films.
        made_with: a hash of all that decides what becomes of a film.
        arrived: called after each film.
        settle: seconds without a change after which a file counts as whole.
        max_bytes: of a film.
        apart: folders that aren't looked into, such as that of the results.
        say: called with messages.
    """

    def __init__(
        self,
        folder: Path,
        spool: Spool,
        made_with: str,
        arrived: Callable[[], None],
        *,
        settle: float,
        max_bytes: int,
        apart: Iterable[Path],
        say: Callable[[str], None],
    ) -> None:
        super().__init__(daemon=True, name="watches")
        self._folder, self._spool, self._made_with, self._arrived = folder, spool, made_with, arrived
        self._settle, self._max_bytes, self._say = settle, max_bytes, say
        self._apart = [path.resolve() for path in apart]
        self._changed: dict[Path, tuple[str, float]] = {}
        self._unreadable: set[Path] = set()
        self._closed = threading.Event()
        self._away = False
        self.start()

    def close(self) -> None:
        """Look no more."""
        self._closed.set()
        self.join(5.0)

    def run(self) -> None:
        """Look until closed."""
        while not self._closed.is_set():
            try:
                self._look()
            except FullError:
                pass  # until some have been segmented
            except (OSError, sqlite3.Error) as error:
                self._say(f"{self._folder}: {error}")
            self._closed.wait(max(0.2, min(self._settle / 2, 5.0)))

    def _look(self) -> None:
        away = not self._folder.is_dir()
        if away != self._away:
            self._say(f"{self._folder}: {'the folder is gone; it is waited for' if away else 'the folder is back'}.")
            self._away = away
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of files that are no films, at every look
            found = [] if away else films_below(self._folder)
        changed, self._changed = self._changed, {}
        for path in found:
            if self._closed.is_set():
                return
            if any(path.resolve().is_relative_to(place) for place in self._apart):
                continue
            try:
                about = path.stat()
            except OSError:
                continue
            stamp = f"{about.st_size} {about.st_mtime_ns} {about.st_ino} {self._made_with}"
            if self._spool.seen(str(path)) == stamp:
                continue
            before, since = changed.get(path, ("", 0.0))
            if before != stamp:
                since = time.monotonic()
            self._changed[path] = (stamp, since)
            if about.st_size and time.monotonic() - since >= self._settle:
                self._take(path, stamp)

    def _take(self, path: Path, stamp: str) -> None:
        name = str(path.relative_to(self._folder))
        if path.stat().st_size > self._max_bytes:
            self._spool.note("refused", name, "folder", path.stat().st_size, "larger than --max-size")
            self._say(f"{path}: larger than --max-size; it is left out.")
        else:
            try:
                content = path.read_bytes()
            except OSError as error:
                if path not in self._unreadable:
                    self._say(f"{path}: can't be read: {os.strerror(error.errno or 0)}; it is tried again.")
                self._unreadable.add(path)
                return
            self._unreadable.discard(path)
            if content:
                suffix = path.suffix.lower() if path.suffix.isascii() and len(path.suffix) < 10 else ""
                self._spool.receive(
                    name, [content], source="folder", made_with=self._made_with, name=name, suffix=suffix
                )
                self._arrived()
        self._spool.see(str(path), stamp)
        self._changed.pop(path, None)
