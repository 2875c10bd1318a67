"""CheXmask's masks (Gaggion et al., Scientific Data 11, 2024) for the public films that they were made for."""

from __future__ import annotations

import csv
import gzip
import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import IO, Annotated

import numpy as np
from pydantic import Field

from cxrkit import ConfigError, DataError
from cxrkit.data.images import FILM_SUFFIXES
from cxrkit.data.limits import refuse_huge
from cxrkit_plugins.datasets.annotated import Annotated as AnnotatedFilm
from cxrkit_plugins.datasets.annotated import AnnotatedDataset, film_id, side_lengths, warn_of_orphans
from cxrkit_plugins.datasets.listing import inside

#: What the column of films is called in the tables of VinDr-CXR, ChestX-ray8, MIMIC-CXR, CheXpert and PadChest.
_IDS = ("image_id", "Image Index", "dicom_id", "Path", "ImageID")
_STRUCTURES = ("Left Lung", "Right Lung", "Heart")
_QUALITY = "Dice RCA (Mean)"
_CELL = 2**24


class CheXmaskDataset(AnnotatedDataset):
    """A table of CheXmask (CSV, or `.csv.gz`) and the films that it is about, below the table's folder.

    It holds run lengths of the left lung, right lung and heart, in pixels of the original or the preprocessed films.
    Lines whose films aren't there are left out, so that a part of a collection can be used.

    Raises:
        ConfigError: no root is given.
        DataError: there is no table, or several; it lacks columns, or none of its films is there.
    """

    def __init__(
        self,
        root: Path | None,
        *,
        table: Annotated[str | None, Field(description="the table, below the root (null: the only CSV there)")] = None,
        images: Annotated[str, Field(description="folder of the films, below the root")] = "images",
        column: Annotated[str | None, Field(description="column of the films' names (null: as in CheXmask)")] = None,
        least_quality: Annotated[
            float, Field(ge=0, le=1, description="leave out films whose estimated Dice, 'Dice RCA (Mean)', is lower")
        ] = 0.7,
        structures: Annotated[list[str] | None, Field(description="masks to use, in this order (null: all)")] = None,
        spacing: Annotated[
            float | None, Field(gt=0, description="millimetres a pixel, of all films (null: as the films say)")
        ] = None,
    ) -> None:
        if root is None:
            raise ConfigError(
                "The dataset 'chexmask' needs to know where the data is.", "Name it: --data chexmask:DIR."
            )
        root = Path(root)
        file = root if root.is_file() else _find(root, table)
        folder = inside(file.parent if root.is_file() else root, images, "data.images")
        super().__init__(root, _read(file, folder, column, least_quality), structures, spacing)


def _find(root: Path, name: str | None) -> Path:
    if not root.is_dir():
        raise DataError(f"{root}: there is no such folder or file.", "Check the path: --data chexmask:DIR.")
    if name is not None:
        return inside(root, name, "data.table")
    found = sorted(path for pattern in ("*.csv", "*.csv.gz") for path in root.glob(pattern))
    if len(found) != 1:
        raise DataError(
            f"{root}: holds {len(found)} CSV files ({', '.join(path.name for path in found[:5])}); one is CheXmask's.",
            "Name it: --set data.table=FILE.",
        )
    return found[0]


def _read(file: Path, folder: Path, column: str | None, least_quality: float) -> dict[str, AnnotatedFilm]:
    films: dict[str, AnnotatedFilm] = {}
    orphans: list[str] = []
    poor = 0
    for line, row in _rows(file):
        where = f"{file}, line {line}"
        if line == 2:
            column = _column(row, column, file)
        assert column is not None
        path = _film(folder, row[column], where)
        if path is None:
            orphans.append(row[column])
            continue
        if (quality := _quality(row, where)) is not None and quality < least_quality:
            poor += 1
            continue
        name = film_id(path.relative_to(folder).as_posix(), where)
        if name in films:
            raise DataError(f"{where}: the film {row[column]} occurs twice.", "Keep one of its lines.")
        size = side_lengths(row["Height"], row["Width"], where)
        refuse_huge(file, *size)
        drawn: dict[str, Callable[[], np.ndarray]] = {
            structure: partial(_draw, row[structure], size, f"{where}: '{structure}'")
            for structure in _STRUCTURES
            if row[structure].strip()
        }
        films[name] = AnnotatedFilm(path, file, size, drawn, _patient(row))
    warn_of_orphans(file, orphans)
    if not films:
        left = f" ({poor} are below data.least_quality={least_quality})" if poor else ""
        raise DataError(f"{file}: none of its films is in {folder}{left}.", "Set data.images to their folder.")
    return films


def _rows(file: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Line number and cells of every film."""
    csv.field_size_limit(max(_CELL, csv.field_size_limit()))
    try:
        with _open(file) as text:
            reader = csv.DictReader(text, strict=True)
            header = reader.fieldnames or []
            lacking = [name for name in (*_STRUCTURES, "Height", "Width") if name not in header]
            if lacking:
                raise DataError(
                    f"{file}: has no column {', '.join(map(repr, lacking))}; its columns are "
                    f"{', '.join(str(name)[:30] for name in header[:12]) or 'none'}.",
                    "Use a table of CheXmask as it is published.",
                )
            for number, row in enumerate(reader, start=2):
                if None in row or None in row.values():
                    raise DataError(f"{file}, line {number}: has other cells than the header.", "Download it again.")
                yield number, row
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: is not UTF-8 text.", "Download it again.") from error
    except (csv.Error, EOFError, gzip.BadGzipFile) as error:
        raise DataError(f"{file}: is not readable as CSV: {error}.", "Download it again.") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"{file}: can't be read: {reason}.", "Check the path and its permissions.") from error


def _open(file: Path) -> IO[str]:
    if file.suffix.lower() == ".gz":
        return gzip.open(file, "rt", encoding="utf-8-sig", newline="")
    return file.open(encoding="utf-8-sig", newline="")


def _column(row: Mapping[str, str], asked: str | None, file: Path) -> str:
    found = next((name for name in ((asked,) if asked else _IDS) if name in row), None)
    if found is None:
        raise DataError(
            f"{file}: there is no column {asked or ' or '.join(_IDS)} with the films' names.",
            "Name it: --set 'data.column=NAME'.",
        )
    return found


def _film(folder: Path, name: str, where: str) -> Path | None:
    """The film of a name or path, with or without its suffix; the last part of a path is enough."""
    path = inside(folder, name, where)
    for place in (path, folder / path.name):
        if place.is_file():
            return place
        for suffix in FILM_SUFFIXES:
            if (film := place.with_name(place.name + suffix)).is_file():
                return film
    return None


def _patient(row: Mapping[str, str]) -> str:
    """CheXpert's path and ChestX-ray8's file name begin with the patient; others' tables don't name one."""
    if "Path" in row:
        return next((part for part in row["Path"].split("/") if part.startswith("patient")), "")
    return row["Image Index"].partition("_")[0] if "Image Index" in row else ""


def _quality(row: Mapping[str, str], where: str) -> float | None:
    text = row.get(_QUALITY, "").strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise DataError(f"{where}: '{_QUALITY}' is {text[:40]!r}, not a number.", "Download the table again.")
    return value


def _draw(text: str, size: tuple[int, int], where: str) -> np.ndarray:
    """The mask of run lengths "start length start length ...", by rows, of which the first pixel is 1."""
    try:
        runs = np.array([int(number) for number in text.split()], dtype=np.int64)
    except (ValueError, OverflowError):
        runs = np.array([0])
    starts, lengths = runs[: len(runs) // 2 * 2].reshape(-1, 2).T
    total = size[0] * size[1]
    outside = (starts < 1) | (starts > total) | (lengths < 1) | (lengths > total)
    if len(runs) % 2 or outside.any() or (starts + lengths > total + 1).any():
        raise DataError(
            f"{where} isn't made of run lengths within {size[1]} × {size[0]} pixels.",
            "Download the table again; it and the films must both be the original ones or both the preprocessed ones.",
        )
    mask = np.zeros(total, dtype=bool)
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        mask[start - 1 : start - 1 + length] = True
    return mask.reshape(size)
