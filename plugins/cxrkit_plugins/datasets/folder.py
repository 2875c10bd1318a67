"""Films and masks in folders, or listed in a CSV manifest."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import Field

from cxrkit import ConfigError, DataError, Dataset, Entry, Sample, read_film
from cxrkit.data.images import FILM_SUFFIXES
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
_IF_EMPTY = (
    "Draw it, or leave the film out; if the film really doesn't show the structure: --set data.allow_empty=true."
)


class FolderDataset(Dataset):
    """Films in `images/<name>.<suffix>`, masks in `masks/<structure>/<name>.<suffix>`; or a CSV manifest.

    Structures are called as their folders or columns, in snake_case; lungs, heart and clavicles come first. A
    film needs a mask of every structure, of its own size. Masks without a film are not used; a warning says so.
    In a folder each film is a patient of its own; a manifest can say otherwise.

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
        self._manifest = _find_manifest(Path(root), manifest)
        self._sources = self._manifest.structures if self._manifest else _mask_folders(Path(root), images, masks)
        self.structures = _choose(self._sources, structures, Path(root))

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """A CSV file, or a folder that holds `manifest.csv`, or `images` and `masks`."""
        if root.is_file():
            return root.suffix.lower() == ".csv"
        return (root / "manifest.csv").is_file() or all((root / name).is_dir() for name in ("images", "masks"))

    @cached_property
    def _records(self) -> dict[str, Record]:
        found = self._manifest.records(self.structures) if self._manifest else self._records_of_folders()
        return {record.entry.id: record for record in found}

    def entries(self) -> Sequence[Entry]:
        """Every film: in the order of the names, or of the manifest's lines.

        Raises:
            DataError: there are no films, or masks are missing; names them.
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
        masks = read_masks(
            record.masks, threshold=self.mask_threshold, if_empty=None if self.allow_empty else _IF_EMPTY
        )
        for name, mask in masks.items():
            if mask.shape != film.pixels.shape:
                raise DataError(
                    f"{record.masks[name]}: the mask is {size_of(mask)} pixels, but its film "
                    f"{record.film} is {size_of(film.pixels)} (width × height).",
                    "Export the mask at the film's size.",
                )
        own = (self.spacing, self.spacing) if self.spacing is not None else None
        return Sample(entry.id, film.pixels, masks, own or record.spacing or film.spacing, film.remarks)

    def _records_of_folders(self) -> list[Record]:
        films = _films(inside(self.root, self.images, "data.images"))
        folder = inside(self.root, self.masks, "data.masks")
        found = {name: pictures(folder / self._sources[name]) for name in self.structures}
        for name, masks in found.items():
            _need_masks(folder / self._sources[name], films, masks)
        spare = sorted({stem for masks in found.values() for stem in masks if stem not in films})
        if spare:
            what = "1 mask has no film and is" if len(spare) == 1 else f"{len(spare)} masks have no film and are"
            warnings.warn(f"{folder}: {what} not used: {shown(spare)}.", stacklevel=2)
        records = []
        for stem, film in films.items():
            masks = {name: found[name][stem] for name in self.structures}
            records.append(Record(Entry(stem, stem, (film, *masks.values())), film, masks))
        return records


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
            f"{folder}: there is no folder of masks in it; found: {found or 'nothing'}.", _LAYOUT.format(root=root)
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


def _films(folder: Path) -> dict[str, Path]:
    films = pictures(folder)
    if not films:
        found = shown([path.name + ("/" if path.is_dir() else "") for path in contents(folder)])
        raise DataError(
            f"{folder}: there are no films directly in it; found: {found or 'nothing'}.",
            f"Put the films there, as one of {', '.join(FILM_SUFFIXES)}.",
        )
    return films


def _need_masks(folder: Path, films: Mapping[str, Path], masks: Mapping[str, Path]) -> None:
    missing = [stem for stem in films if stem not in masks]
    if not missing:
        return
    spare = [path.name for stem, path in masks.items() if stem not in films]
    hint = f" (Masks there without a film: {shown(spare)}.)" if spare else ""
    raise DataError(
        f"{folder}: {len(missing)} of {len(films)} films have no mask here: {shown(missing)}.",
        "A mask is called as its film, with any suffix. Add the masks, take these films away, or leave the "
        f"structure out with --set data.structures=[...].{hint}",
    )
