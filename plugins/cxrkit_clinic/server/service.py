"""What the server has at hand: the network's workers, the films of a folder, the dataset that masks are saved to."""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cxrkit_clinic.server.dataset import Drawings
from cxrkit_clinic.server.folder import FilmFile, Folder
from cxrkit_clinic.server.guard import Limits, refused
from cxrkit_clinic.server.metrics import Metrics
from cxrkit_clinic.server.pool import FullError, Pool, Uploads
from cxrkit_clinic.server.work import Answer, Task

#: Films whose measurements are remembered, so that a page that is opened again has them at once.
_REMEMBERED = 500
#: Seconds after which a page that has a film open is taken for closed.
_PRESENT = 25.0


@dataclass
class Service:
    """Everything that a request may need.

    Attributes:
        registry: where writers are looked up.
        structures: the masks, in their order.
        about: what the page shows of the server: version, weights, colours.
        workplace: a folder for uploaded films while they are segmented.
        uploads: who may send one.
        folder: of films, if one is served.
        drawings: where corrected masks go; None where nothing is corrected.
        propose: whether masks that aren't drawn yet are the network's, rather than empty.
    """

    pool: Pool
    registry: Any
    structures: tuple[str, ...]
    about: dict[str, Any]
    limits: Limits
    workplace: Path
    uploads: Uploads
    folder: Folder | None = None
    drawings: Drawings | None = None
    propose: bool = True
    _answers: OrderedDict[Any, str] = field(default_factory=OrderedDict)
    _shapes: dict[Any, tuple[int, int]] = field(default_factory=dict)
    _present: dict[str, dict[str, tuple[str, float]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.metrics = Metrics(lambda: self.pool.taken)

    async def do(self, task: Task) -> Answer:
        """Do a task in its turn.

        Raises:
            HTTPException: too many wait already, 429.
        """
        try:
            with self.pool.place() as begin:
                answer = await begin(task)
        except FullError:
            raise busy() from None
        if not task.picture:
            self.metrics.segmented(failed=answer.failed)
        return answer

    def film(self, id: str) -> FilmFile:
        """A film of the folder.

        Raises:
            HTTPException: there is none of that id, 404.
        """
        film = None if self.folder is None else self.folder.film(id)
        if film is None:
            raise refused(404, "There is no such film.", "List them: GET /v1/films.")
        return film

    async def shape(self, film: FilmFile) -> tuple[int, int]:
        """A film's rows and columns.

        Raises:
            HTTPException: it can't be read, 422.
        """
        key = _version(film.path)
        if key not in self._shapes:
            answer = await self.do(Task(film.path, film.name, picture=True))
            if answer.failed:
                raise refused(422, answer.body["failures"][0]["what"])
            self._shapes[key] = (answer.body["height"], answer.body["width"])
        return self._shapes[key]

    async def measured(self, film: FilmFile, *, propose: bool, runs: bool) -> str:
        """A film's masks and measurements, JSON; remembered for as long as its files stay as they are."""
        drawn = {} if self.drawings is None else self.drawings.files(film)
        structures = None if self.drawings is None else self.structures
        task = Task(film.path, film.name, runs=runs, structures=structures, drawn=drawn, propose=propose)
        key = (film.id, propose, runs, *(_version(path) for path in (film.path, *drawn.values())))
        if key in self._answers:
            self._answers.move_to_end(key)
            return self._answers[key]
        answer = await self.do(task)
        text = json.dumps(answer.body)
        if not answer.failed:
            self._answers[key] = text
            if runs:
                self._shapes[_version(film.path)] = (answer.body["height"], answer.body["width"])
            while len(self._answers) > _REMEMBERED:
                self._answers.popitem(last=False)
        return text

    def meet(self, film: FilmFile, session: str, who: str) -> list[str]:
        """Note that a page has a film open; who else has."""
        now = time.monotonic()
        here = {
            other: (name, seen)
            for other, (name, seen) in self._present.get(film.id, {}).items()
            if now - seen < _PRESENT and other != session
        }
        self._present[film.id] = {**here, session: (who, now)}
        return [name for name, _ in here.values()]


def busy() -> Exception:
    """As many films wait as may."""
    error = refused(429, "Too many films wait to be segmented.", "Send it again in a moment.")
    error.headers = {"Retry-After": "1"}
    return error


def _version(path: Path) -> tuple[str, int, int]:
    try:
        state = path.stat()
    except OSError:
        return str(path), 0, 0
    return str(path), state.st_mtime_ns, state.st_size
