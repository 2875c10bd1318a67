"""What a spool holds and did, for `--status`; it may be another process's."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from cxrkit.commands import DataError
from cxrkit_clinic.node.durable import utc

_HOUR = 3600.0


def status_of(folder: Path) -> dict[str, Any]:
    """Whether a node is at work, what waits, what became of the films that are remembered, and the last faults.

    Raises:
        DataError: the folder is no spool, or its database can't be read.
    """
    file = folder / "spool.sqlite"
    if not file.is_file():
        raise DataError(f"{folder}: there is no spool.", "Start a node first, or name its --spool.")
    try:
        # Not as read-only: the log beside the database may have to be read into it.
        with closing(sqlite3.connect(file, timeout=30)) as db:
            return _read(db)
    except sqlite3.Error as error:
        raise DataError(f"{folder}: its database can't be read: {error}.", "Name the --spool of a node.") from error


def _read(db: sqlite3.Connection) -> dict[str, Any]:
    now = time.time()
    facts = {name: json.loads(value) for name, value in db.execute("SELECT name, value FROM facts")}
    states = dict(db.execute("SELECT state, count(*) FROM films GROUP BY 1"))
    objects = dict(db.execute("SELECT outcome, count(*) FROM objects GROUP BY 1"))
    ended = "state NOT IN ('waiting', 'sending') AND finished >= ?"
    in_hour = dict(db.execute(f"SELECT state, count(*) FROM films WHERE {ended} GROUP BY 1", (now - _HOUR,)))
    received = db.execute("SELECT count(*) FROM films WHERE received >= ?", (now - _HOUR,)).fetchone()[0]
    oldest = db.execute("SELECT min(received) FROM films WHERE state = 'waiting'").fetchone()[0]
    faults = db.execute(
        "SELECT finished, uid, state, reason, key FROM films WHERE state IN ('failed', 'held', 'skipped') "
        "ORDER BY finished DESC LIMIT 10"
    ).fetchall()
    destinations: dict[str, dict[str, Any]] = {}
    for name, state, count in db.execute("SELECT destination, state, count(*) FROM deliveries GROUP BY 1, 2"):
        destinations.setdefault(name, {"open": 0, "sent": 0, "held": 0})[state] = count
    for name, about in destinations.items():
        row = db.execute(
            "SELECT reason FROM deliveries WHERE destination = ? AND state != 'sent' AND reason != '' "
            "ORDER BY due DESC LIMIT 1",
            (name,),
        ).fetchone()
        about["last_fault"] = row[0] if row else None
    return {
        "running": _runs(facts.get("pid")),
        "node": {name: facts[name] for name in sorted(facts) if name not in ("pid", "started")}
        | {"started": utc(facts["started"]) if facts.get("started") else None},
        "queue": {
            "waiting": states.get("waiting", 0),
            "oldest_waits_seconds": round(now - oldest, 1) if oldest else None,
            "sending": states.get("sending", 0),
        },
        "ended": {state: states.get(state, 0) for state in ("sent", "failed", "held", "skipped")},
        "objects": {outcome: objects.get(outcome, 0) for outcome in ("refused", "duplicate")},
        "last_hour": {"received": received, **{state: in_hour.get(state, 0) for state in ("sent", "failed", "held")}},
        "destinations": destinations,
        "last_faults": [
            {"time": utc(when), "film": uid, "state": state, "reason": reason or _why(db, key)}
            for when, uid, state, reason, key in faults
        ],
    }


def _why(db: sqlite3.Connection, key: str) -> str:
    """Why results are held."""
    rows = db.execute("SELECT destination, reason FROM deliveries WHERE key = ? AND state = 'held'", (key,))
    return "; ".join(f"{destination}: {reason}" for destination, reason in rows)


def _runs(process: Any) -> bool:
    if not isinstance(process, int):
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True
