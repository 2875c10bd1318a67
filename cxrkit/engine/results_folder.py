"""The folder that `predict` writes to: whose results lie in it, and how they stay whole however a call ends.

predictions.csv                the table of the last call; it grows film by film
predictions.json               the same and more, written when the call ends; also what earlier calls left here
predictions-unfinished.jsonl   what stands for it until then: a line before a film is written, and one after
NAME/                          the results of a film
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from cxrkit.data.film_files import PREDICTIONS_LIST, UNFINISHED_LIST
from cxrkit.engine.outcomes import Failure, PredictionRow, Predictions, Table, identity
from cxrkit.engine.writing import FILE_NAME
from cxrkit.errors import ConfigError, StorageError
from cxrkit.files import append_line, locked, sweep, write_bytes, write_text

PREDICTIONS_TABLE = "predictions.csv"

_ROW = TypeAdapter(PredictionRow)
#: Why nothing can be written at all; other errors are those of one film, such as a name that is too long.
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM)


class ResultsFolder:
    """Writes the results of films, and removes what earlier calls wrote of the same films.

    Each film has a name below the folder, which it keeps: the same film again replaces its own results, and no other
    film's. Whatever the lists say, only plain names in films' own folders are removed.

    Args:
        path: the folder.
        table: the table that it shall hold.
    """

    def __init__(self, path: Path, table: Table) -> None:
        self.path, self.table = path, table
        self._rows: dict[str, PredictionRow] = {}
        self._places: dict[str, str] = {}
        self._begun = False

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Keep other calls out, and clear away what a killed one left half-written.

        Raises:
            ConfigError: another call is at work here. StorageError: it can't be written to.
        """
        busy = ConfigError(f"--out {self.path}: another `cxrkit predict` writes to it.", "Choose another folder.")
        journal = self.path / UNFINISHED_LIST
        was_killed = journal.exists()
        with suppress(OSError):
            self.path.mkdir(parents=True, exist_ok=True)
        with locked(journal, busy):
            try:
                self._rows, half = read_lists(self.path)
                if was_killed:
                    sweep([*self.path.rglob(".*")])
                for row in half:
                    self._remove(row)
                    self._rows[_key(row.name)] = _claim(row)
                self._places = {row.path: row.name for row in self._rows.values() if row.path}
                yield
            finally:
                with suppress(OSError):
                    if journal.stat().st_size == 0:
                        journal.unlink()

    def name_for(self, name: str, film: Path) -> str:
        """The name of a film's results: the one that it has, else `name`, or where that isn't free `other_name`."""
        path = identity(film)
        if path not in self._places:
            free = _key(name) not in self._rows and not self._holds_files(name)
            chosen = name if free else other_name(name, film)
            self._places[path] = chosen
            self._rows[_key(chosen)] = PredictionRow(str(film), "", None, None, {}, (), name=chosen, path=path)
        return self._places[path]

    def earlier(self, name: str, made_with: str) -> PredictionRow | None:
        """What an earlier call with the same settings found on a film, if all that it wrote is still there."""
        row = self._rows[_key(name)]
        if row.made_with != made_with or not self._is_own(name):
            return None
        return row if all((self.path / name / file).is_file() for file in row.files) else None

    def write(self, row: PredictionRow, files: Mapping[str, bytes]) -> PredictionRow | Failure:
        """Replace the results of a film, all of them or, on an error or Ctrl-C, with nothing; what stands in the table.

        Raises:
            StorageError: nothing can be written here.
        """
        self._begin(row)
        try:
            if not self._is_own(row.name):
                raise StorageError(
                    f"{self.path / row.name}: is a link to another place.", "Remove it, or choose another --out."
                )
            for name, content in files.items():
                write_bytes(self.path / row.name / name, content)
        except BaseException as error:  # half of a film's results would pass for all of them
            self._remove(row)
            cause = error.__cause__
            if not isinstance(error, StorageError) or (isinstance(cause, OSError) and cause.errno in _OF_THE_DISK):
                raise
            return self.fail(row.name, Failure(row.film, error.what, error.remedy))
        self._rows[_key(row.name)] = row
        append_line(self.path / UNFINISHED_LIST, json.dumps({"done": asdict(row)}))
        return row

    def fail(self, name: str, failure: Failure) -> Failure:
        """Remove what earlier calls wrote of a film that now fails: old masks would pass for new ones."""
        if self._rows[_key(name)].files:
            self._begin(self._rows[_key(name)])
        return failure

    def _begin(self, row: PredictionRow) -> None:
        """Note what is to be written of a film, then remove what is there of it."""
        there = self._rows[_key(row.name)]
        both = replace(row, files=tuple(dict.fromkeys((*there.files, *row.files))))
        append_line(self.path / UNFINISHED_LIST, json.dumps({"begun": asdict(both)}))
        self._remove(there)
        self._rows[_key(row.name)] = _claim(there)

    def _remove(self, row: PredictionRow) -> None:
        """Remove the files of a film, and its folder unless there is something else in it."""
        if not self._is_own(row.name):
            return
        folder = self.path / row.name
        for name in row.files:
            with suppress(OSError):
                (folder / name).unlink(missing_ok=True)
        with suppress(OSError):
            if folder.is_dir():
                sweep(folder.iterdir())
            while folder != self.path:
                folder.rmdir()
                folder = folder.parent

    def _is_own(self, name: str) -> bool:
        """Whether a film's folder isn't elsewhere, through a link or a name with dots."""
        return name != "" and (self.path / name).resolve() == self.path.resolve() / name

    def _holds_files(self, name: str) -> bool:
        """Whether there is something in a film's folder that no list knows: its owner isn't known either."""
        folder = self.path / name
        if not folder.is_dir():
            return folder.is_symlink() or folder.exists()
        return not self._is_own(name) or any(not inside.is_dir() for inside in folder.iterdir())

    def add(
        self,
        outcome: PredictionRow | Failure,
        so_far: Callable[[], Sequence[PredictionRow | Failure]],
        *,
        rewrite: bool = False,
    ) -> None:
        """Add a line to the table; the first time, or with `rewrite`, write all lines so far.

        Raises:
            StorageError: it can't be written.
        """
        if self._begun and not rewrite:
            append_line(self.path / PREDICTIONS_TABLE, self.table.line(outcome))
        else:
            write_text(self.path / PREDICTIONS_TABLE, self.table.text(so_far()))
        self._begun = True

    def finish(self, predictions: Predictions, outcomes: Sequence[PredictionRow | Failure]) -> None:
        """Write the whole table in order, and `predictions.json` with what earlier calls left of other films.

        Raises:
            StorageError: they can't be written.
        """
        current = {_key(row.name) for row in predictions.rows}
        others = (row for key, row in self._rows.items() if key not in current)
        earlier = [row for row in others if (self.path / row.name).is_dir()]
        write_text(self.path / PREDICTIONS_TABLE, self.table.text(outcomes))
        write_text(self.path / PREDICTIONS_LIST, json.dumps(predictions.as_json(earlier), indent=1) + "\n")
        (self.path / UNFINISHED_LIST).write_bytes(b"")


def mirrored(film: Path, root: Path, stem: str) -> str:
    """A film's name: its place below the folder that was given, ending in `stem`; never that of a list.

    >>> mirrored(Path("/films/study/IM0001"), Path("/films"), "IM0001")
    'study/IM0001'
    """
    below = film.relative_to(root if film.is_relative_to(root) else film.anchor)
    first, *rest = (*below.parent.parts, stem)
    if first.casefold() in (PREDICTIONS_TABLE, PREDICTIONS_LIST, UNFINISHED_LIST):
        first += "-film"
    return str(Path(first, *rest))


def other_name(name: str, film: Path) -> str:
    """What a film's results are called where `name` is another's: it ends in a hash of the film's path."""
    head, tail = os.path.split(name)
    short = tail.encode("utf-8", "ignore")[:200].decode("utf-8", "ignore")
    return str(Path(head, f"{short}-{hashlib.sha256(os.fsencode(identity(film))).hexdigest()[:8]}"))


def _claim(row: PredictionRow) -> PredictionRow:
    """The row of a film that has a name, but no results."""
    return PredictionRow(row.film, "", None, None, {}, (), name=row.name, path=row.path)


def read_lists(folder: Path) -> tuple[dict[str, PredictionRow], list[PredictionRow]]:
    """What earlier calls left: the rows of films by the keys of their names, and those that a kill left half-written.

    Nothing where there are no lists, or they can't be read.
    """
    rows: dict[str, PredictionRow] = {}
    half: dict[str, PredictionRow] = {}
    with suppress(OSError, ValueError, TypeError, AttributeError, RecursionError):
        content = json.loads((folder / PREDICTIONS_LIST).read_text(encoding="utf-8"))
        earlier = content.get("earlier", [])
        if isinstance(earlier, dict):  # before schema version 1: name to files
            earlier = [{"name": name, "files": files} for name, files in earlier.items()]
        _take([*earlier, *content.get("films", [])], folder, rows)
    with suppress(OSError, UnicodeDecodeError):
        for line in (folder / UNFINISHED_LIST).read_text(encoding="utf-8").splitlines():
            with suppress(ValueError, TypeError, AttributeError, RecursionError):  # the last one may be cut off
                event = json.loads(line)
                if isinstance(event, list):  # before schema version 1
                    _take([{"name": event[0], "files": event[1:]}], folder, rows)
                elif "begun" in event:
                    _take([event["begun"]], folder, half)
                    rows.pop(_key(event["begun"]["name"]), None)
                else:
                    _take([event["done"]], folder, rows)
                    half.pop(_key(event["done"]["name"]), None)
    return rows, [*half.values()]


def _take(found: Iterable[Any], folder: Path, rows: dict[str, PredictionRow]) -> None:
    """Add rows of a list to others, also where an earlier version wrote them."""
    for given in found:
        with suppress(ValidationError, TypeError, AttributeError):
            known: dict[str, Any] = {
                "film": "",
                "folder": "",
                "cardiothoracic_ratio": None,
                "extents": None,
                "areas": {},
            }
            row = _ROW.validate_python({**known, "warnings": (), **given})
            files = row.files
            if "files" not in given:  # before there were writers
                pictures = [name for area in row.areas for name in (area, f"{area}-probability")]
                files = tuple(f"{name}.png" for name in (*pictures, "overlay"))
            name = row.name or Path(row.folder).name
            path = row.path or (identity(Path(row.film)) if row.film else "")
            plain = tuple(file for file in files if FILE_NAME.fullmatch(file))
            rows[_key(name)] = replace(row, name=name, path=path, files=plain, folder=str(folder / name))


def _key(name: str) -> str:
    """The same for names that some disks take for one: those that differ in case, or in how Unicode writes them."""
    return unicodedata.normalize("NFC", name).casefold()
