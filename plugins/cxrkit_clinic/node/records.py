"""What the spool gives out, and the lines of the audit log."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrkit_clinic.node.durable import utc


class FullError(Exception):
    """There is no room for another film; its sender should try again later."""


@dataclass(frozen=True)
class Waiting:
    """A film to segment.

    Attributes:
        key: what makes it this film; the name of its file.
        uid: the salted hash of its SOP instance UID, by which the audit log and messages call it.
        name: of its folder, where results go to a folder.
        path: its file.
        crashes: how many processes have crashed on it.
    """

    key: str
    uid: str
    name: str
    path: Path
    crashes: int


@dataclass(frozen=True)
class Delivery:
    """Results to send: all of a film for one destination.

    Attributes:
        key, uid, name: as in `Waiting`.
        files: what writers made.
        attempts: how often it was tried in vain.
        since: when the results were made, in seconds since 1970.
    """

    key: str
    uid: str
    name: str
    files: tuple[Path, ...]
    attempts: int
    since: float


def audit_line(
    now: float, outcome: str, reason: str, film: Sequence[Any], deliveries: Iterable[Sequence[Any]]
) -> dict[str, Any]:
    """A line of the audit log: what became of a film at `now`.

    Args:
        now: seconds since 1970.
        outcome, reason: of the film.
        film: its uid, source, bytes, when it was received, facts as JSON, and when its results were ready.
        deliveries: destination, state, time and reason of each.
    """
    uid, source, size, received, made, ready = film
    sent = {
        to: {"state": how, "time": utc(when)} | ({"reason": why} if why else {}) for to, how, when, why in deliveries
    }
    more = {"reason": reason, "results_ready": ready and utc(ready), **json.loads(made), "sent_to": sent}
    line = {"time": utc(now), "film": uid, "outcome": outcome, "from": source, "bytes": size, "received": utc(received)}
    return line | {name: value for name, value in more.items() if value}
