"""What datasets share whose masks are outlines or runs in text files: films that are found by what the text says."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cxrkit import DataError, Dataset, Entry, Sample, read_film
from cxrkit.errors import nearest
from cxrkit_plugins.datasets.listing import name_structures, shown, size_of, structure_name


@dataclass
class Annotated:
    """What a text file says of one film.

    Attributes:
        film: its file.
        source: the text file.
        size: (height, width) that the annotations are for.
        masks: structure, as the text names it, to what draws its mask, bool `(H, W)`; it may raise a DataError.
        patient: the patient, or "" where each film is one.
    """

    film: Path
    source: Path
    size: tuple[int, int]
    masks: dict[str, Callable[[], np.ndarray]] = field(default_factory=dict)
    patient: str = ""


class AnnotatedDataset(Dataset):
    """Films by id with what draws their masks; a structure that a film has no annotation of is unknown.

    Args:
        root: the folder or file of the data.
        films: id to film.
        structures: names to use, in this order; None: all that the annotations have.
        spacing: millimetres a pixel, or None.
    """

    root: Path

    def __init__(
        self, root: Path, films: Mapping[str, Annotated], structures: Sequence[str] | None, spacing: float | None
    ) -> None:
        super().__init__(root)
        self.spacing = spacing
        self._films = films
        self._sources = name_structures(sorted({name for film in films.values() for name in film.masks}), str(root))
        chosen = tuple(self._sources) if structures is None else tuple(map(structure_name, structures))
        for name in chosen:
            if name not in self._sources:
                raise DataError(
                    f"{root}: no film is annotated with '{name}'.",
                    f"{nearest(name, self._sources)}There are: {', '.join(self._sources) or 'no annotations'}.",
                )
        if not chosen:
            raise DataError(f"{root}: its annotations are of no film that is there.", "Check where the films are.")
        self.structures = chosen

    def entries(self) -> Sequence[Entry]:
        """The films that are annotated with one of the structures, in the order of their names."""
        entries = []
        for name, film in sorted(self._films.items()):
            labelled = tuple(structure for structure in self.structures if self._sources[structure] in film.masks)
            fault = "" if film.film.is_file() else f"{film.source}: the film {film.film} isn't there."
            if labelled:
                files = (film.film, film.source)
                entries.append(Entry(name, film.patient or name, files, labelled=labelled, fault=fault))
        return entries

    def read(self, entry: Entry) -> Sample:
        """Read a film and draw its masks.

        Raises:
            DataError: the film can't be read, has another size than its annotations say, or one draws nothing.
        """
        annotated = self._films.get(entry.id)
        if annotated is None:
            raise DataError(f"{self.root}: there is no film '{entry.id}'.", "Choose from this dataset's entries.")
        film = read_film(annotated.film)
        if film.pixels.shape != annotated.size:
            raise DataError(
                f"{annotated.film}: the film is {size_of(film.pixels)} pixels, but {annotated.source} describes one of "
                f"{annotated.size[1]} × {annotated.size[0]} (width × height).",
                "Use the films that were annotated, at their own size.",
            )
        masks: dict[str, np.ndarray] = {}
        for name in entry.known(self.structures):
            masks[name] = annotated.masks[self._sources[name]]()
            if not masks[name].any():
                raise DataError(
                    f"{annotated.source}: '{name}' covers no pixel of {annotated.film.name}; it may lie outside of it.",
                    "Draw it again, or remove the annotation.",
                )
        spacing = film.spacing if self.spacing is None else (self.spacing, self.spacing)
        return Sample(entry.id, film.pixels, masks, spacing, film.remarks, film.aspect)


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        DataError: it can't be read, or isn't JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror}.", "Check the path and its permissions.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not readable as JSON ({str(error)[:100]}).", "Export it again.") from error


def side_lengths(height: Any, width: Any, where: str) -> tuple[int, int]:
    """(height, width) from what a text file says.

    Raises:
        DataError: they aren't whole numbers of pixels.
    """
    try:
        sides = int(height), int(width)
    except (TypeError, ValueError, OverflowError):
        sides = 0, 0
    if min(sides) < 1 or max(sides) > 100_000:
        raise DataError(f"{where}: its height and width are {height!r} and {width!r}.", "Give them in pixels.")
    return sides


def film_id(name: str, where: str) -> str:
    """A film's id, from its file's name or path: without the suffix, with `+` between folders.

    Raises:
        DataError: it is empty.
    """
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    if not parts:
        raise DataError(f"{where}: {name!r} names no film.", "Name the film's file.")
    return "+".join([*parts[:-1], Path(parts[-1]).stem])


def warn_of_orphans(source: Path, names: Sequence[str]) -> None:
    """Warn the user of annotations whose films aren't there."""
    if names:
        warnings.warn(
            f"{source}: {len(names)} of its films aren't there and are not used: {shown(names)}.", stacklevel=2
        )
