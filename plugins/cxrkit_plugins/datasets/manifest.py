"""A CSV file that lists films, their masks, and what is known about them."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cxrkit import DataError, Entry
from cxrkit_plugins.datasets.listing import inside, is_file, name_structures, structure_name

#: Columns with a meaning of their own; every other column is a structure.
COLUMNS = ("id", "image", "patient", "fold", "split", "spacing", "row_spacing", "col_spacing")


@dataclass(frozen=True, slots=True)
class Record:
    """A film and its masks on disk.

    Attributes:
        entry: what the dataset says about it.
        film: the film's file.
        masks: structure to mask file.
        spacing: (row, column) millimetres per pixel, if something other than the film says it.
    """

    entry: Entry
    film: Path
    masks: Mapping[str, Path]
    spacing: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """The rows of a manifest, before any file that they name is looked for.

    Attributes:
        path: the CSV file.
        structures: structure to its column.
        rows: line number and cells by column.
    """

    path: Path
    structures: Mapping[str, str]
    rows: Sequence[tuple[int, Mapping[str, str]]]

    def records(self, structures: Sequence[str]) -> list[Record]:
        """The films with the masks of these structures.

        Raises:
            DataError: a cell is not accepted, a path leads out of the manifest's folder, or a film or an id occurs
                twice. Masks without a path, and files that don't exist, are the fault of their film.
        """
        records: list[Record] = []
        lines: dict[str | Path, int] = {}
        for line, row in self.rows:
            record = self._record(line, row, structures)
            for key, what in ((record.entry.id, f"id '{record.entry.id}'"), (record.film, f"film {record.film}")):
                if key in lines:
                    raise DataError(
                        f"{self.path}, lines {lines[key]} and {line}: the {what} occurs twice.",
                        "List each film once; give films of the same name different ids in a column 'id'.",
                    )
                lines[key] = line
            records.append(record)
        return records

    def _record(self, line: int, row: Mapping[str, str], structures: Sequence[str]) -> Record:
        where = f"{self.path}, line {line}"

        def cell(column: str) -> str:
            if not row[column]:
                raise DataError(f"{where}: the cell '{column}' is empty.", "Fill it in, or remove the row.")
            return row[column]

        film = inside(self.path.parent, cell("image"), where)
        drawn = {name: row[self.structures[name]] for name in structures}
        masks = {name: inside(self.path.parent, text, where) for name, text in drawn.items() if text}
        name = cell("id") if "id" in row else film.stem
        if (
            name.startswith(".")
            or any(sign in '/\\:*?"<>|' or not sign.isprintable() for sign in name)
            or len(name) > 128
        ):
            raise DataError(f"{where}: the id {name!r} can't be a file name.", "Use letters, digits, '-' and '_'.")
        patient = cell("patient") if "patient" in row else name
        fold = row.get("fold") or row.get("split") or None
        there = {name: path for name, path in masks.items() if is_file(path)}
        missing = [str(path) for path in (film, *masks.values()) if not is_file(path)]
        faults = [f"there is no file {', '.join(missing)} (paths are relative to the CSV's folder)"] if missing else []
        faults += [f"the cell '{self.structures[name]}' is empty" for name in structures if name not in masks]
        fault = f"{where}: {'; '.join(faults)}." if faults else ""
        lacking = tuple(name for name in structures if name not in there) if is_file(film) else ()
        entry = Entry(name, patient, (film, *there.values(), self.path), fold, fault=fault, lacking=lacking)
        return Record(entry, film, there, _spacing(row, where))


def read_manifest(path: Path) -> Manifest:
    """Read a CSV file: UTF-8 with or without a byte-order mark, cells separated by commas, semicolons or tabs.

    Raises:
        DataError: it can't be read as such, has no rows, no column 'image', or no column of masks.
    """
    rows = list(_cells(path))
    if not rows:
        raise DataError(f"{path}: the file is empty.", "Write a header (image,heart,...) and a line for each film.")
    header = [structure_name(title) for title in rows[0][1]]
    twice = sorted({title for title in header if header.count(title) > 1})
    if "" in header or twice:
        fault = f"several columns are called '{twice[0]}'" if twice and twice[0] else "a column has no name"
        raise DataError(f"{path}: {fault}.", "Give each column in the first line its own name.")
    structures = name_structures([title for title in header if title not in COLUMNS], str(path))
    if "image" not in header or not structures:
        need = "no column 'image' with the films' paths" if "image" not in header else "no column of masks"
        raise DataError(
            f"{path}: there is {need}; its columns are {', '.join(header)}.",
            "The first line names the columns: image, one a structure (left_lung, heart, ...), and optionally "
            "id, patient, fold, and spacing or row_spacing and col_spacing in mm.",
        )
    if "fold" in header and "split" in header:
        raise DataError(f"{path}: has both a column 'fold' and a column 'split'.", "Keep one of them.")
    pair = [name for name in ("row_spacing", "col_spacing") if name in header]
    if len(pair) == 1:
        other = "col_spacing" if pair == ["row_spacing"] else "row_spacing"
        raise DataError(f"{path}: has a column '{pair[0]}', but no '{other}'.", f"Add '{other}', or use 'spacing'.")
    body: list[tuple[int, Mapping[str, str]]] = []
    for line, cells in rows[1:]:
        if len(cells) != len(header):
            raise DataError(
                f"{path}, line {line}: has {len(cells)} cells, but the first line names {len(header)} columns.",
                "Add or remove cells; put a path with a comma in it in double quotes.",
            )
        body.append((line, dict(zip(header, cells, strict=True))))
    if not body:
        raise DataError(f"{path}: lists no films.", "Write a line for each film below the header.")
    return Manifest(path, structures, body)


def _cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and stripped cells of every line that isn't blank."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            delimiter = max(",;\t", key=first.count)
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            for cells in reader:
                stripped = [cell.strip() for cell in cells]
                if any(stripped):
                    yield reader.line_num, stripped
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text.", "Save it as 'CSV UTF-8'.") from error
    except csv.Error as error:
        raise DataError(f"{path}: is not readable as CSV: {error}.", "Check its quotes, or save it again.") from error
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror}.", "Check the path and its permissions.") from error


def _spacing(row: Mapping[str, str], where: str) -> tuple[float, float] | None:
    texts = [row.get("row_spacing", ""), row.get("col_spacing", "")]
    if not any(texts):
        texts = [row.get("spacing", "")] * 2
    if not any(texts):
        return None
    try:
        values = [float(text) for text in texts]
    except ValueError:
        values = [math.nan]
    if not all(math.isfinite(value) and value > 0 for value in values):
        raise DataError(
            f"{where}: the spacing {' × '.join(texts)} is not a length.", "Give positive millimetres, such as 0.175."
        )
    return values[0], values[-1]
