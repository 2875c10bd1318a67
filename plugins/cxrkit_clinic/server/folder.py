"""The films of a folder, by ids that say nothing of where they lie."""

from __future__ import annotations

import hashlib
import os
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

from cxrkit.commands import DataError, films_below
from cxrkit.errors import printable

#: Seconds until the folder is listed again.
_FRESH = 3.0


@dataclass(frozen=True)
class FilmFile:
    """A film of the folder: its id, its place below the folder as people read it, and its file."""

    id: str
    name: str
    path: Path


class Folder:
    """A folder of films, those below it too.

    Args:
        root: the folder.
        apart: a folder whose files aren't its films, although it may lie below.

    Raises:
        DataError: there is no such folder, or no film in it.
    """

    def __init__(self, root: Path, apart: Path | None = None) -> None:
        self.root = root
        self._apart = None if apart is None else apart.resolve()
        self._films: dict[str, FilmFile] = {}
        self._listed = 0.0
        if not root.is_dir():
            raise DataError(f"{root}: there is no such folder.", "Name the folder of the films.")
        if not self.films():
            raise DataError(f"{root}: no films in this folder.", "Films are PNG, TIFF, JPEG, DICOM or JSRT's .IMG.")

    def films(self) -> list[FilmFile]:
        """All films, sorted by name."""
        if not self._films or time.monotonic() - self._listed > _FRESH:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of other files, each time
                found = films_below(self.root)
            films = [self._film(path) for path in found if not self._is_apart(path)]
            self._films, self._listed = {film.id: film for film in films}, time.monotonic()
        return list(self._films.values())

    def film(self, id: str) -> FilmFile | None:
        """The film with an id; None where there is none."""
        return self._films.get(id)

    def _is_apart(self, path: Path) -> bool:
        return self._apart is not None and path.parent.resolve().is_relative_to(self._apart)

    def _film(self, path: Path) -> FilmFile:
        below = path.relative_to(self.root)
        return FilmFile(hashlib.sha256(os.fsencode(below)).hexdigest()[:16], printable(below.as_posix()), path)
