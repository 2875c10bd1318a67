"""The spool: films that wait, results that are to be sent, and what became of each, on the disk.

A folder with a SQLite database. A film is `waiting`, then `sending`, and ends as `sent`, or as `held` (a destination
didn't take it), `failed` (it can't be used) or `skipped` (it isn't a frontal chest film).
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import secrets
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from cxrkit.commands import StorageError, storage_error
from cxrkit_clinic.node.durable import append, remove, sync, tail, utc, write
from cxrkit_clinic.node.records import Delivery, FullError, Waiting, audit_line

_SCHEMA = """
CREATE TABLE IF NOT EXISTS films (
    key TEXT PRIMARY KEY, uid TEXT, name TEXT, suffix TEXT, source TEXT, bytes INTEGER, received REAL,
    state TEXT, crashes INTEGER DEFAULT 0, reason TEXT DEFAULT '', made TEXT DEFAULT '{}', finished REAL, line TEXT);
CREATE INDEX IF NOT EXISTS films_by_state ON films (state, received);
CREATE TABLE IF NOT EXISTS deliveries (
    key TEXT, destination TEXT, state TEXT, attempts INTEGER DEFAULT 0, due REAL, reason TEXT DEFAULT '', sent REAL,
    PRIMARY KEY (key, destination));
CREATE INDEX IF NOT EXISTS deliveries_by_state ON deliveries (state, destination, due);
CREATE TABLE IF NOT EXISTS objects (time REAL, outcome TEXT);
CREATE TABLE IF NOT EXISTS seen (path TEXT PRIMARY KEY, stamp TEXT);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT);
"""


class Spool:
    """The films of one node, shared by its threads.

    Args:
        folder: created if necessary, readable by this user alone.
        limit: films that may wait.
        reserve: bytes of the disk that films leave free, so that results can still be written.

    Raises:
        StorageError: the folder or its database can't be used.
    """

    def __init__(self, folder: Path, *, limit: int = 1000, reserve: int = 64 << 20) -> None:
        self.folder, self.limit, self.reserve = folder, limit, reserve
        self.audit = folder / "audit.jsonl"
        self._films, self._results, self._incoming = folder / "films", folder / "results", folder / "incoming"
        self._lock = threading.RLock()
        self._taken: set[str] = set()
        try:
            for place in (folder, self._films, self._results, self._incoming):
                place.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._salt = self._make_salt()
            self._db = _connect(folder)
            self._db.executescript(_SCHEMA)
        except OSError as error:
            raise storage_error(folder, error) from error
        except sqlite3.Error as error:
            raise StorageError(f"{folder}: its database can't be used: {error}.", "Choose another --spool.") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._db.close()

    # --- in ------------------------------------------------------------------------------------------------

    def receive(
        self,
        uid: str,
        parts: Sequence[bytes | memoryview],
        *,
        source: str,
        made_with: str,
        name: str,
        suffix: str = ".dcm",
    ) -> bool:
        """Put a film on the disk; when this returns, it survives the end of the process and of the machine.

        Args:
            uid: its SOP instance UID, or what else makes it the same film again.
            parts: the content of its file.
            source: where it comes from, for the log.
            made_with: a hash of all that decides what becomes of it.
            name: of its folder, where results go to a folder.
            suffix: of its file.

        Returns:
            False if it is known: it waits, or is done. One that failed or is held is tried again.

        Raises:
            FullError: too many films wait, or the disk is full. OSError, sqlite3.Error: the disk can't be written.
        """
        content = hashlib.sha256()
        for part in parts:
            content.update(part)
        key = hashlib.sha256(f"{made_with}\n{uid}\n{content.hexdigest()}".encode()).hexdigest()[:40]
        size = sum(len(part) for part in parts)
        if self._known(key):
            return False
        if self.count("waiting") >= self.limit:
            raise FullError(f"{self.limit} films wait already")
        if shutil.disk_usage(self.folder).free < size + self.reserve:
            raise FullError("the disk is nearly full")
        temporary = self._incoming / f"{key}-{secrets.token_hex(4)}"
        try:
            write(temporary, parts)
            temporary.replace(self._films / f"{key}{suffix}")
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        sync(self._films)
        row = (key, self.pseudonym(uid), name, suffix, source, size, time.time(), "waiting")
        with self._transaction() as db:
            columns = "key, uid, name, suffix, source, bytes, received, state"
            db.execute(f"INSERT OR IGNORE INTO films ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        return True

    def _known(self, key: str) -> bool:
        with self._transaction() as db:
            row = db.execute("SELECT state FROM films WHERE key = ?", (key,)).fetchone()
            if row is not None and row[0] in ("sending", "held") and not (self._results / key).is_dir():
                db.execute("DELETE FROM films WHERE key = ?", (key,))  # its results were removed: it is new
                row = None
            elif row is not None:
                self._again(db, "key = ?", (key,))
        return row is not None

    def pseudonym(self, uid: str) -> str:
        """A salted hash of a UID: the same for the same UID in this spool, and no way back."""
        return hmac.new(self._salt, uid.encode("utf-8", "replace"), hashlib.sha256).hexdigest()[:32]

    # --- films ---------------------------------------------------------------------------------------------

    def take(self) -> Waiting | None:
        """The next film to segment, which nobody else gets until it is released or has an outcome; None if none waits.

        Those that crashed a process come last.
        """
        with self._lock:
            rows = self._db.execute(
                "SELECT key, uid, name, suffix, crashes FROM films WHERE state = 'waiting' "
                "ORDER BY crashes, received, rowid LIMIT ?",
                (len(self._taken) + 1,),
            ).fetchall()
            for key, uid, name, suffix, crashes in rows:
                if key not in self._taken:
                    self._taken.add(key)
                    return Waiting(key, uid, name, self._films / f"{key}{suffix}", crashes)
        return None

    def release(self, film: Waiting) -> None:
        """Let a film that was taken wait again."""
        with self._lock:
            self._taken.discard(film.key)

    def crashed(self, film: Waiting) -> None:
        """Let a film that a process crashed on wait again, after the others."""
        with self._transaction() as db:
            db.execute("UPDATE films SET crashes = crashes + 1 WHERE key = ?", (film.key,))
            self._taken.discard(film.key)

    @contextlib.contextmanager
    def workplace(self, film: Waiting) -> Iterator[Path]:
        """A new empty folder that the results of a film may be written into; what is left in it is removed."""
        folder = self._incoming / f"{film.key}-{secrets.token_hex(4)}"
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            remove(folder)

    def made(
        self, film: Waiting, workplace: Path, destinations: Iterable[str], facts: Mapping[str, Any], reason: str = ""
    ) -> None:
        """Keep the results of a film, which lie in its workplace, to be sent; `reason` says what is missing.

        Raises:
            OSError, sqlite3.Error: they can't be written; the film still waits.
        """
        for file in workplace.iterdir():
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
        sync(workplace)
        place, now = self._results / film.key, time.time()
        shutil.rmtree(place, ignore_errors=True)
        workplace.replace(place)
        sync(self._results)
        with self._transaction() as db:
            db.executemany(
                "INSERT OR REPLACE INTO deliveries (key, destination, state, due) VALUES (?, ?, 'open', ?)",
                [(film.key, destination, now) for destination in destinations],
            )
            db.execute(
                "UPDATE films SET state = 'sending', made = ?, reason = ?, finished = ? WHERE key = ?",
                (json.dumps(facts), reason, now, film.key),
            )
            self._taken.discard(film.key)
        film.path.unlink(missing_ok=True)

    def end(self, film: Waiting, state: str, reason: str, facts: Mapping[str, Any]) -> None:
        """Record that nothing is made of a film: it `failed`, and is kept for another try, or is `skipped`."""
        with self._transaction() as db:
            db.execute("UPDATE films SET made = ? WHERE key = ?", (json.dumps(facts), film.key))
            self._finish(db, film.key, state, reason)
            self._taken.discard(film.key)
        if state == "skipped":
            film.path.unlink(missing_ok=True)
        self.write_lines()

    # --- out -----------------------------------------------------------------------------------------------

    def due(self, destination: str) -> Delivery | None:
        """What is to be sent to a destination next; None if there is nothing yet."""
        with self._lock:
            row = self._db.execute(
                "SELECT key, uid, name, attempts, finished FROM deliveries JOIN films USING (key) "
                "WHERE deliveries.state = 'open' AND destination = ? AND due <= ? ORDER BY due LIMIT 1",
                (destination, time.time()),
            ).fetchone()
        if row is None:
            return None
        key, uid, name, attempts, since = row
        files = sorted((self._results / key).glob("*"))  # none: somebody has removed them
        return Delivery(key, uid, name, tuple(files), attempts, since)

    def postpone(self, delivery: Delivery, destination: str, reason: str, seconds: float) -> None:
        """Try a delivery again after so many seconds."""
        with self._transaction() as db:
            db.execute(
                "UPDATE deliveries SET attempts = attempts + 1, due = ?, reason = ? WHERE key = ? AND destination = ?",
                (time.time() + seconds, reason, delivery.key, destination),
            )

    def delivered(self, delivery: Delivery, destination: str, reason: str = "", *, held: bool = False) -> None:
        """Record that a destination has all results of a film, or with `held` that it is given up until a retry."""
        with self._transaction() as db:
            db.execute(
                "UPDATE deliveries SET state = ?, sent = ?, reason = ? WHERE key = ? AND destination = ?",
                ("held" if held else "sent", time.time(), reason, delivery.key, destination),
            )
            states = {row[0] for row in db.execute("SELECT state FROM deliveries WHERE key = ?", (delivery.key,))}
            ended = "open" not in states
            if ended:
                self._finish(db, delivery.key, "held" if "held" in states else "sent")
        if ended:
            if "held" not in states:
                shutil.rmtree(self._results / delivery.key, ignore_errors=True)
            self.write_lines()

    def retry(self) -> int:
        """Try again what failed or is held; how many films that are."""
        with self._transaction() as db:
            return self._again(db, "1", ())

    def _again(self, db: sqlite3.Connection, which: str, values: Sequence[Any]) -> int:
        films = db.execute(f"SELECT key, state FROM films WHERE state IN ('failed', 'held') AND {which}", values)
        rows = films.fetchall()
        for key, state in rows:
            back = "waiting" if state == "failed" else "sending"
            db.execute("UPDATE films SET state = ?, crashes = 0, reason = '' WHERE key = ?", (back, key))
            db.execute(
                "UPDATE deliveries SET state = 'open', attempts = 0, due = ? WHERE key = ? AND state = 'held'",
                (time.time(), key),
            )
        return len(rows)

    # --- the log -------------------------------------------------------------------------------------------

    def _finish(self, db: sqlite3.Connection, key: str, state: str, reason: str | None = None) -> None:
        """Set a film's last state, with the line of the log that reports it."""
        now = time.time()
        columns = "uid, source, bytes, received, made, finished, reason"
        film = db.execute(f"SELECT {columns} FROM films WHERE key = ?", (key,)).fetchone()
        reason = film[-1] if reason is None else reason
        rows = db.execute("SELECT destination, state, sent, reason FROM deliveries WHERE key = ? ORDER BY 1", (key,))
        line = audit_line(now, state, reason, film[:-1], rows)
        nameless = ", name = ''" if state in ("sent", "skipped") else ""  # which may be a UID
        db.execute(
            f"UPDATE films SET state = ?, reason = ?, finished = ?, line = ?{nameless} WHERE key = ?",
            (state, reason, now, json.dumps(line), key),
        )

    def write_lines(self, *, check: bool = False) -> None:
        """Append the lines of the log that are committed and not yet written; a full disk delays them.

        Args:
            check: look whether some have been written by a process that ended before it could note that.
        """
        with self._lock, contextlib.suppress(OSError, sqlite3.Error):
            pending = self._db.execute(
                "SELECT key, line FROM films WHERE line IS NOT NULL ORDER BY finished"
            ).fetchall()
            there = tail(self.audit) if check and pending else ""
            for key, line in pending:
                if line not in there:
                    append(self.audit, line)
                with self._transaction() as db:
                    db.execute("UPDATE films SET line = NULL WHERE key = ?", (key,))

    def note(self, outcome: str, uid: str, source: str, size: int, reason: str = "") -> None:
        """Log an object that becomes no film: `refused`, or a `duplicate`."""
        film = self.pseudonym(uid) if uid else None
        line: dict[str, Any] = {"time": utc(time.time()), "film": film, "outcome": outcome}
        line |= {"from": source, "bytes": size} | ({"reason": reason} if reason else {})
        with self._lock, contextlib.suppress(OSError, sqlite3.Error):
            append(self.audit, json.dumps(line))
            with self._transaction() as db:
                db.execute("INSERT INTO objects VALUES (?, ?)", (time.time(), outcome))

    # --- housekeeping --------------------------------------------------------------------------------------

    def recover(self) -> None:
        """Remove what a process that ended left half-done, and complete the log; only while nobody else is at work."""
        with self._lock:
            state = dict(self._db.execute("SELECT key, state FROM films"))
            for file in self._incoming.iterdir():
                remove(file)
            for file in self._films.iterdir():
                if state.get(file.stem) not in ("waiting", "failed"):
                    remove(file)
            for folder in self._results.iterdir():
                if state.get(folder.name) not in ("sending", "held"):
                    remove(folder)
        self.write_lines(check=True)

    def forget(self, days: float) -> None:
        """Remove films that ended so long ago, with what is kept of them, and what is known of refused objects."""
        before = time.time() - days * 86400
        with self._transaction() as db:
            ended = "state NOT IN ('waiting', 'sending') AND line IS NULL AND finished < ?"
            keys = [key for (key,) in db.execute(f"SELECT key FROM films WHERE {ended}", (before,))]
            db.executemany("DELETE FROM films WHERE key = ?", [(key,) for key in keys])
            db.executemany("DELETE FROM deliveries WHERE key = ?", [(key,) for key in keys])
            db.execute("DELETE FROM objects WHERE time < ?", (before,))
        for key in keys:
            for place in (*self._films.glob(f"{key}*"), self._results / key):
                remove(place)

    def count(self, state: str) -> int:
        """How many films are in a state."""
        with self._lock:
            found: int = self._db.execute("SELECT count(*) FROM films WHERE state = ?", (state,)).fetchone()[0]
        return found

    def strangers(self, destinations: Sequence[str]) -> dict[str, int]:
        """Destinations that results wait for and that aren't among those given, with how many films each."""
        with self._lock:
            rows = self._db.execute("SELECT destination, count(*) FROM deliveries WHERE state = 'open' GROUP BY 1")
            return {destination: count for destination, count in rows if destination not in destinations}

    def remember(self, **facts: Any) -> None:
        """Keep facts about the process, for `--status`."""
        with self._transaction() as db:
            db.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", [(k, json.dumps(v)) for k, v in facts.items()])

    def seen(self, path: str) -> str | None:
        """What `see` noted of a file of a watched folder."""
        with self._lock:
            row = self._db.execute("SELECT stamp FROM seen WHERE path = ?", (path,)).fetchone()
        return None if row is None else str(row[0])

    def see(self, path: str, stamp: str) -> None:
        """Note that a file of a watched folder has been taken."""
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO seen VALUES (?, ?)", (path, stamp))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._db:
            yield self._db

    def _make_salt(self) -> bytes:
        file = self.folder / "salt"
        if not file.is_file() or file.stat().st_size != 32:
            temporary = self.folder / ".salt"
            write(temporary, [secrets.token_bytes(32)])
            temporary.replace(file)
            sync(self.folder)
        return file.read_bytes()


def _connect(folder: Path) -> sqlite3.Connection:
    db = sqlite3.connect(folder / "spool.sqlite", check_same_thread=False, timeout=30)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")  # a commit is on the disk
    return db
