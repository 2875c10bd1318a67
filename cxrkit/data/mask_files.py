"""Masks that exist: what another tool, a person or `cxrkit predict` left in a folder."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np

from cxrkit.data.film_files import PREDICTIONS_LIST
from cxrkit.data.images import FILM_SUFFIXES, read_labels, read_mask
from cxrkit.errors import ConfigError, DataError
from cxrkit.files import remedy_of_missing

#: Names by which folders or files are recognised as those of structures, where nothing else says so.
_USUAL = ("left_lung", "right_lung", "lungs", "heart", "left_clavicle", "right_clavicle")
#: What `cxrkit predict` writes beside masks.
_NO_MASKS = re.compile("overlay|.*-probability")
_SHOWN = 5


class MaskFolder:
    """The masks below a folder, by film and structure.

    They are where `cxrkit predict` writes them, `FILM/STRUCTURE.png`; as datasets have them, `STRUCTURE/FILM.png` (the
    dataset's folder will do); or with `labels` one picture of class numbers a film, `FILM.png`. A film's name may
    be its place below the folder, or the last part of that.

    Args:
        root: the folder.
        labels: structures and their class numbers, where a film has one picture of those.
        threshold: masks are what is brighter; None: they have no greys.
        expected: structures that are likely to be there, which tell folders of structures from those of films.

    Raises:
        DataError: the folder doesn't exist, or has no masks. ConfigError: two structures have one number.
    """

    def __init__(
        self,
        root: Path,
        *,
        labels: Mapping[str, int] | None = None,
        threshold: int | None = None,
        expected: Collection[str] = (),
    ) -> None:
        if not root.is_dir():
            raise DataError(f"{root}: there is no such folder.", remedy_of_missing(root))
        if labels is not None and (not labels or len(set(labels.values())) < len(labels)):
            fault = "two structures have one number" if labels else "names no structure"
            raise ConfigError(f"--labels: {fault}.", "Write --labels left_lung=1,right_lung=2,heart=3.")
        self.root, self.labels, self.threshold = root, labels, threshold
        is_dataset = (root / "images").is_dir() and (root / "masks").is_dir()
        self._below = root / "masks" if is_dataset else root
        self._faults: dict[str, str] = {}
        self._files = self._find([*_USUAL, *expected])
        if not self._files:
            layout = "FILM.png" if labels else "FILM/STRUCTURE.png or STRUCTURE/FILM.png"
            more = "" if labels else "; pictures of class numbers need --labels left_lung=1,right_lung=2"
            raise DataError(f"{root}: there are no masks in this folder.", f"Expected: {layout}{more}.")

    @property
    def films(self) -> tuple[str, ...]:
        """The names of the films that have masks, sorted."""
        return tuple(sorted(self._files))

    @cached_property
    def structures(self) -> tuple[str, ...]:
        """What the films have masks of; the usual structures first."""
        found = {name for files in self._files.values() for name in files} if self.labels is None else {*self.labels}
        return (*(name for name in _USUAL if name in found), *sorted(found - {*_USUAL}))

    def read(self, film: str, structures: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """A film's masks, bool `(H, W)` by structure; with `structures`, all of those.

        Raises:
            DataError: there are none of this film, one is missing or can't be read, or they differ in size.
        """
        key = self._key(film)
        if key in self._faults:
            raise DataError(self._faults[key], "Remove one of them.")
        files = self._files[key]
        if self.labels is not None:
            numbers = read_labels(files["labels"])
            if (drawn := numbers[numbers != 0]).size and not np.isin(drawn, [*self.labels.values()]).any():
                few = np.unique(drawn)[:_SHOWN].tolist()
                raise DataError(
                    f"{files['labels']}: has pixels of {', '.join(map(str, few))}, and none of a number in --labels.",
                    "Name all class numbers that the tool draws. If each picture is a mask of one structure, leave out "
                    "--labels.",
                )
            return {name: numbers == self.labels[name] for name in structures or self.structures}
        masks: dict[str, np.ndarray] = {}
        for name in files if structures is None else structures:
            if name not in files:
                raise DataError(
                    f"{self.root}: the film '{film}' has no mask of '{name}'.",
                    "Add it; where the tool found nothing, that is a picture without a marked pixel.",
                )
            masks[name] = self._mask(files[name])
        if len({mask.shape for mask in masks.values()}) > 1:
            listed = ", ".join(f"{name} {' × '.join(map(str, mask.shape[::-1]))}" for name, mask in masks.items())
            raise DataError(f"{self.root}: the masks of '{film}' differ in size: {listed}.", "Export them again.")
        return masks

    def _mask(self, file: Path) -> np.ndarray:
        try:
            return read_mask(file, threshold=self.threshold)
        except DataError as error:
            if "data.mask_threshold" in error.remedy:  # that of a dataset's masks
                error.remedy = (
                    "If the greys are soft or compressed edges, say where to cut: --mask-threshold 127. If they stand "
                    "for several structures, name those: --labels left_lung=1,right_lung=2."
                )
            raise

    def spacing(self, film: str) -> tuple[float, float] | None:
        """(row, column) millimetres per pixel of a film, where `cxrkit predict` has stored it."""
        return self._spacings.get(self._key(film))

    @cached_property
    def _spacings(self) -> dict[str, tuple[float, float]]:
        found: dict[str, tuple[float, float]] = {}
        with suppress(OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError):
            content = json.loads((self.root / PREDICTIONS_LIST).read_text(encoding="utf-8"))
            for row in [*content.get("films", []), *content.get("earlier", [])]:
                if row.get("spacing"):
                    height, width = map(float, row["spacing"])
                    found.setdefault(PurePosixPath(row["name"]).as_posix(), (height, width))
        return found

    def _key(self, film: str) -> str:
        """The name of a film in this folder: its own, or the only one that ends so."""
        for name in (film, film.rpartition("+")[2]):  # films of one of several datasets begin with its alias
            if name in self._files:
                return name
            if len(ending := self._by_last_part.get(name, [])) == 1:
                return ending[0]
            if ending:
                raise DataError(
                    f"{self.root}: several films are called '{name}': {', '.join(ending[:_SHOWN])}.",
                    "Keep the masks of each dataset in a folder of their own.",
                )
        few = ", ".join(self.films[:_SHOWN]) + (", …" if len(self._files) > _SHOWN else "")
        raise DataError(f"{self.root}: there are no masks of the film '{film}'.", f"Add them. It has those of: {few}.")

    @cached_property
    def _by_last_part(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name in self._files:
            found.setdefault(name.rpartition("/")[2], []).append(name)
        return found

    def _find(self, known: Sequence[str]) -> dict[str, dict[str, Path]]:
        """Film to structure to file."""
        listed = sorted(self._below.rglob("*"))
        pictures = [
            path
            for path in listed
            if path.suffix.lower() in FILM_SUFFIXES and not path.name.startswith(".") and path.is_file()
        ]
        found: dict[str, dict[str, Path]] = {}
        if self.labels is not None:
            for path in pictures:
                self._add(found, path.relative_to(self._below).with_suffix("").as_posix(), "labels", path)
            return found
        places = [
            (path.relative_to(self._below).parent.as_posix(), path)
            for path in pictures
            if path.parent != self._below and not _NO_MASKS.fullmatch(path.stem)
        ]
        folders, stems = {_named(place.partition("/")[0]) for place, _ in places}, {_named(p.stem) for _, p in places}
        if _speaks_for(folders, known) == _speaks_for(stems, known):
            by_structure = len(folders) < len(stems)
        else:
            by_structure = _speaks_for(folders, known)
        for place, path in places:
            if by_structure:
                structure, _, inner = place.partition("/")
                self._add(found, f"{inner}/{path.stem}".lstrip("/"), _named(structure), path)
            else:
                self._add(found, place, _named(path.stem), path)
        return found

    def _add(self, found: dict[str, dict[str, Path]], film: str, structure: str, path: Path) -> None:
        there = found.setdefault(film, {}).setdefault(structure, path)
        if there != path:
            self._faults[film] = f"{there} and {path} are two masks of one structure of one film."


def _speaks_for(names: Collection[str], known: Sequence[str]) -> bool:
    return any(name in known for name in names)


def _named(text: str) -> str:
    """A structure's name in snake_case: `Left Lung` is `left_lung`."""
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text).lower()).strip("_")
