"""Films and masks in folders, or listed in a CSV manifest."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from cxrkit import ConfigError, DataError, Dataset, Entry, Sample, read_film
from cxrkit.data.images import FILM_SUFFIXES, read_labels
from cxrkit.errors import nearest
from cxrkit_plugins.datasets.listing import (
    contents,
    inside,
    name_structures,
    pictures,
    read_masks,
    shown,
    size_of,
    structure_name,
)
from cxrkit_plugins.datasets.manifest import Manifest, Record, read_manifest

_LAYOUT = (
    "Expected: {root}/images/<name>.png (or .tif, .jpg, .dcm, ...) and {root}/masks/<structure>/<name>.png, "
    "or a CSV manifest with the columns image and one a structure."
)
_LABELS = "labels"
_IF_EMPTY = (
    "Draw it, or leave the film out; if the film really doesn't show the structure: --set data.allow_empty=true."
)


class FolderDataset(Dataset):
    """Films in `images/<name>.<suffix>`, masks in `masks/<structure>/<name>.<suffix>`; or a CSV manifest.

    Structures are called as their folders or columns, in snake_case; lungs, heart and clavicles come first. A
    film needs a mask of every structure, of its own size; with `data.missing=unknown`, of one of them. Masks without a
    film are not used; a warning says so. With `labels` there is one picture of class numbers a film instead, in
    `masks/<name>.<suffix>` or the manifest's column `labels`: a palette, or greys. In a folder each film is a patient
    of its own; a manifest can say otherwise.

    A manifest is used where `root` is a `.csv` file or holds `manifest.csv`. Its columns: `image` and one a
    structure, with paths relative to the CSV's folder and not leading out of it; optionally `id` (by default the
    film's name), `patient`, `fold` or `split`, and `spacing`, or `row_spacing` and `col_spacing`, in millimetres.

    Raises:
        ConfigError: no root is given.
        DataError: the root is missing or laid out otherwise; says what was found.
    """

    root: Path

    def __init__(
        self,
        root: Path | None,
        *,
        images: Annotated[str, Field(min_length=1, description="folder of the films, below the root")] = "images",
        masks: Annotated[str, Field(min_length=1, description="folder of the structures' folders")] = "masks",
        manifest: Annotated[
            str | None, Field(description="CSV file below the root (null: manifest.csv if it is there)")
        ] = None,
        structures: Annotated[
            list[str] | None, Field(description="mask folders or columns to use, in this order (null: all)")
        ] = None,
        mask_threshold: Annotated[
            int | None, Field(ge=0, le=65534, description="masks are what is brighter (null: they have no greys)")
        ] = None,
        labels: Annotated[
            dict[str, int] | None,
            Field(
                description="structures and their class numbers, where a film has one picture of those (null: masks)"
            ),
        ] = None,
        allow_empty: Annotated[bool, Field(description="accept masks without a single pixel")] = False,
        spacing: Annotated[
            float | None, Field(gt=0, description="millimetres a pixel, of all films (null: as the films say)")
        ] = None,
    ) -> None:
        if root is None:
            raise ConfigError("The dataset 'folder' needs to know where the films are.", "Name it: --data DIR.")
        super().__init__(Path(root))
        self.images = images
        self.masks = masks
        self.mask_threshold = mask_threshold
        self.allow_empty = allow_empty
        self.spacing = spacing
        self._numbers = labels
        self._manifest = _find_manifest(Path(root), manifest)
        if labels is not None:
            self._sources = _label_names(labels, self._manifest)
        elif self._manifest:
            self._sources = self._manifest.structures
        else:
            self._sources = _mask_folders(Path(root), images, masks)
        self.structures = _choose(self._sources, structures, Path(root))

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """A CSV file, or a folder that holds `manifest.csv`, or `images` and `masks`."""
        if root.is_file():
            return root.suffix.lower() == ".csv"
        return (root / "manifest.csv").is_file() or all((root / name).is_dir() for name in ("images", "masks"))

    @cached_property
    def _records(self) -> dict[str, Record]:
        wanted = self.structures if self._numbers is None else (_LABELS,)
        found = self._manifest.records(wanted) if self._manifest else self._records_of_folders(wanted)
        if self._numbers is not None:  # without its picture of class numbers a film has no mask at all
            found = [
                replace(record, entry=replace(record.entry, lacking=self.structures if record.entry.lacking else ()))
                for record in found
            ]
        return {record.entry.id: record for record in found}

    def entries(self) -> Sequence[Entry]:
        """Every film: in the order of the names, or of the manifest's lines.

        Raises:
            DataError: there are no films. Masks that are missing are the fault of their film.
        """
        return [record.entry for record in self._records.values()]

    def read(self, entry: Entry) -> Sample:
        """Read a film and its masks.

        Raises:
            DataError: a file is unreadable, the entry isn't this dataset's, or a mask is empty, has greys or
                another size than its film; names the file and the remedy.
        """
        record = self._records.get(entry.id)
        if record is None:
            raise DataError(f"{self.root}: there is no film '{entry.id}'.", "Choose from this dataset's entries.")
        film = read_film(record.film)
        masks = self._masks(record)
        for name, mask in masks.items():
            if mask.shape != film.pixels.shape:
                file = record.masks[name if self._numbers is None else _LABELS]
                raise DataError(
                    f"{file}: the mask is {size_of(mask)} pixels, but its film "
                    f"{record.film} is {size_of(film.pixels)} (width × height).",
                    "Export the mask at the film's size.",
                )
        own = (self.spacing, self.spacing) if self.spacing is not None else None
        spacing = own or record.spacing or film.spacing
        return Sample(entry.id, film.pixels, masks, spacing, film.remarks, film.aspect)

    def _masks(self, record: Record) -> dict[str, np.ndarray]:
        """Structure to bool mask `(H, W)`, of those that are there."""
        if self._numbers is None:
            if_empty = None if self.allow_empty else _IF_EMPTY
            return read_masks(record.masks, threshold=self.mask_threshold, if_empty=if_empty)
        if _LABELS not in record.masks:
            return {}
        numbers = read_labels(record.masks[_LABELS])
        masks = {name: numbers == self._numbers[self._sources[name]] for name in self.structures}
        empty = [f"{name} ({self._numbers[self._sources[name]]})" for name, mask in masks.items() if not mask.any()]
        if empty and not self.allow_empty:
            there = shown([str(number) for number in np.unique(numbers)])
            raise DataError(
                f"{record.masks[_LABELS]}: holds no {', '.join(empty)}; its numbers are {there}.", _IF_EMPTY
            )
        return masks

    def _records_of_folders(self, wanted: Sequence[str]) -> list[Record]:
        faults: dict[str, str] = {}
        films = _films(inside(self.root, self.images, "data.images"), faults)
        folder = inside(self.root, self.masks, "data.masks")
        places = {name: folder if name == _LABELS else folder / self._sources[name] for name in wanted}
        found = {name: pictures(place, faults) for name, place in places.items()}
        spare = sorted({stem for masks in found.values() for stem in masks if stem not in films})
        if spare:
            what = "1 mask has no film and is" if len(spare) == 1 else f"{len(spare)} masks have no film and are"
            warnings.warn(f"{folder}: {what} not used: {shown(spare)}.", stacklevel=2)
        records = []
        for stem, film in films.items():
            masks = {name: found[name][stem] for name in wanted if stem in found[name]}
            missing = {name: str(place) for name, place in places.items() if name not in masks}
            fault, lacking = faults.get(stem, ""), () if stem in faults else tuple(missing)
            if lacking:
                fault = f"The film {film} has no mask of its name in {', '.join(missing.values())}."
            entry = Entry(stem, stem, (film, *masks.values()), fault=fault, lacking=lacking)
            records.append(Record(entry, film, masks))
        return records


def _label_names(labels: Mapping[str, int], manifest: Manifest | None) -> Mapping[str, str]:
    """Structure to its name in `labels`."""
    if not labels or len(set(labels.values())) < len(labels):
        raise ConfigError(
            f"data.labels={dict(labels)}: {'two structures have one number' if labels else 'names no structure'}.",
            "Name each structure with its class number: --set 'data.labels={left_lung: 1, right_lung: 2}'.",
        )
    if manifest is not None and _LABELS not in manifest.structures:
        raise DataError(
            f"{manifest.path}: data.labels is set, but there is no column '{_LABELS}'.",
            "Name the pictures of class numbers in that column.",
        )
    return name_structures(labels, "data.labels")


def _find_manifest(root: Path, name: str | None) -> Manifest | None:
    """The manifest, if the root is one or holds one."""
    if not root.exists():
        raise DataError(f"{root}: there is no such folder or file.", "Check the path: --data DIR.")
    if root.is_file():
        if root.suffix.lower() != ".csv":
            raise DataError(f"{root}: is neither a folder nor a CSV manifest.", _LAYOUT.format(root="DIR"))
        return read_manifest(root)
    if name is not None:
        return read_manifest(inside(root, name, "data.manifest"))
    usual = root / "manifest.csv"
    return read_manifest(usual) if usual.is_file() else None


def _mask_folders(root: Path, images: str, masks: str) -> Mapping[str, str]:
    """Structure to the name of its folder."""
    folder = inside(root, masks, "data.masks")
    for needed in (inside(root, images, "data.images"), folder):
        if not needed.is_dir():
            found = shown([path.name + ("/" if path.is_dir() else "") for path in contents(root)])
            raise DataError(
                f"{root}: there is no folder {needed.relative_to(root)}/; found: {found or 'nothing'}.",
                _LAYOUT.format(root=root),
            )
    sources = name_structures([path.name for path in contents(folder) if path.is_dir()], str(folder))
    if not sources:
        found = shown([path.name for path in contents(folder)])
        raise DataError(
            f"{folder}: there is no folder of masks in it; found: {found or 'nothing'}.",
            f"{_LAYOUT.format(root=root)} If a film has one picture of class numbers, name those: "
            "--set 'data.labels={left_lung: 1, right_lung: 2}'.",
        )
    return sources


def _choose(sources: Mapping[str, str], asked: Sequence[str] | None, root: Path) -> tuple[str, ...]:
    if asked is None:
        return tuple(sources)
    chosen = tuple(structure_name(name) for name in asked)
    for given, name in zip(asked, chosen, strict=True):
        if name not in sources:
            raise DataError(
                f"{root}: there are no masks of '{given}'.", f"{nearest(name, sources)}There are: {', '.join(sources)}."
            )
    if not chosen or len(set(chosen)) < len(chosen):
        raise ConfigError(
            f"data.structures={list(asked)}: names {'one twice' if chosen else 'none'}.",
            f"Name each structure once: {', '.join(sources)}.",
        )
    return chosen


def _films(folder: Path, faults: dict[str, str]) -> dict[str, Path]:
    films = pictures(folder, faults)
    if not films:
        found = shown([path.name + ("/" if path.is_dir() else "") for path in contents(folder)])
        raise DataError(
            f"{folder}: there are no films directly in it; found: {found or 'nothing'}.",
            f"Put the films there, as one of {', '.join(FILM_SUFFIXES)}.",
        )
    return films
