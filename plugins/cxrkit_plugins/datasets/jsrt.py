"""The JSRT films with the outlines of SCR: the data of the paper.

Films: Shiraishi et al., *Development of a digital image database for chest radiographs with and without a lung
nodule*, AJR 174 (2000). Masks: van Ginneken et al., *Segmentation of anatomical structures in chest radiographs
using supervised methods*, Medical Image Analysis 10 (2006). Both are free for research and may not be passed on:
each user gets them from their owners.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

import cv2
import numpy as np
from pydantic import Field

from cxrkit import ConfigError, DataError, Dataset, Entry, Sample, read_film
from cxrkit.data.images import FILM_SUFFIXES
from cxrkit.data.jsrt_img import SIDE, SPACING, WHITE
from cxrkit_plugins.datasets.folder import FolderDataset
from cxrkit_plugins.datasets.listing import CHANNEL_ORDER, contents, read_masks, size_of, structure_name

_ID = re.compile(r"JPC(?:LN|NN)\d{3}", re.IGNORECASE)
_FILM = re.compile(rf"{_ID.pattern}\.\w+", re.IGNORECASE)
_FOLD = re.compile(r"fold[12]", re.IGNORECASE)
_RAW = ".img"
#: Folders are searched down to this depth below the root, so that a wrong root fails soon.
_DEPTH = 6
#: Names that are looked at to tell whether a folder holds JSRT's films.
_LOOK_AT = 20_000
_FAULT = "The film {film} has no mask of {masks}; --set data.allow_missing=true leaves such films out."
_GET = (
    "Films (JPCLN001.IMG to JPCLN154.IMG, JPCNN001.IMG to JPCNN093.IMG) come from the Japanese Society of Radiological "
    "Technology (db.jsrt.or.jp), masks (fold1/masks/heart/JPCLN001.gif and so on) from the SCR database "
    "(www.isi.uu.nl/Research/Databases/SCR). Both are free for research after registration; their terms forbid copies. "
    "Unpack both below one folder and name it: --data jsrt --set data.root=DIR."
)


class JsrtDataset(Dataset):
    """JSRT films with SCR masks, wherever they lie below `root` (at most six folders deep).

    Films are the original `.IMG` files or pictures converted from them (`JPCLN001.png`, any size); where both are
    there, the originals are used. Images are uint16 of 12 bits, or as converted, bright where the film shows bone;
    spacing is 0.175 mm a pixel, or 358.4 mm over the side of a converted film. Masks, 1024 × 1024, are brought to
    the film's size by nearest neighbour. Left and right are the patient's.

    A part of the films is enough: masks without a film are not used. Each film is a patient of its own; `fold` of an
    entry is SCR's.

    Raises:
        ConfigError: no root is given.
    """

    root: Path

    def __init__(
        self,
        root: Path | None,
        *,
        clavicles: Annotated[bool, Field(description="also read left_clavicle and right_clavicle")] = False,
        fold: Annotated[
            Literal["fold1", "fold2"] | None, Field(description="only the films of this fold of SCR (null: both)")
        ] = None,
        inverted: Annotated[
            bool, Field(description="converted films (PNG, ...) show bone dark, as the .IMG files do")
        ] = False,
        mask_threshold: Annotated[
            int | None, Field(ge=0, le=65534, description="converted masks are what is brighter (null: no greys)")
        ] = None,
        allow_missing: Annotated[bool, Field(description="leave out films that lack a mask")] = False,
    ) -> None:
        if root is None:
            raise ConfigError("The dataset 'jsrt' needs to know where the films are.", _GET)
        super().__init__(Path(root))
        self.fold = fold
        self.inverted = inverted
        self.mask_threshold = mask_threshold
        self.allow_missing = allow_missing
        self.structures = CHANNEL_ORDER if clavicles else CHANNEL_ORDER[:3]

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """JSRT's films (`JPCLN001.IMG`, or converted) or SCR's masks (`fold1/masks`), three levels deep.

        Films converted into `images/` and `masks/`, or listed in a manifest, are a plain folder.
        """
        if not root.is_dir() or FolderDataset.recognises(root):
            return False
        return any(
            _FILM.fullmatch(path.name) or (_FOLD.fullmatch(path.name) and (path / "masks").is_dir())
            for path in islice(_levels(root, 3), _LOOK_AT)
        )

    @cached_property
    def _records(self) -> dict[str, _Record]:
        found = _find(self.root)
        _need(found, self.structures, self.root)
        records: dict[str, _Record] = {}
        for name, film in sorted(found.films.items()):
            masks = {structure: found.masks[structure].get(name) for structure in self.structures}
            files = {structure: path for structure, path in masks.items() if path is not None}
            fold = next((fold for path in files.values() if (fold := _fold_of(path, self.root))), None)
            lacking = [structure for structure in masks if structure not in files]
            if self.fold in (None, fold) and not (lacking and self.allow_missing):
                fault = _FAULT.format(film=film, masks=", ".join(lacking)) if lacking else ""
                records[name] = _Record(Entry(name, name, (film, *files.values()), fold, fault=fault), film, files)
        if not records:
            raise DataError(
                f"{self.root}: none of the {len(found.films)} films is left: "
                + (f"none lies in {self.fold}." if self.fold else "each lacks a mask."),
                "Keep SCR's folders fold1 and fold2 as they are in its archive, or leave data.fold out."
                if self.fold
                else _GET,
            )
        return records

    def entries(self) -> Sequence[Entry]:
        """The films that are there, in the order of their names.

        Raises:
            DataError: nothing is found, or one film or mask is there twice. Masks that are missing are the fault of
                their film.
        """
        return [record.entry for record in self._records.values()]

    def read(self, entry: Entry) -> Sample:
        """Read a film and its masks.

        Raises:
            DataError: a file is cut off, has values of more than 12 bits, can't be read, or doesn't fit.
        """
        record = self._records.get(entry.id)
        if record is None:
            raise DataError(f"{self.root}: there is no film '{entry.id}'.", "Choose from this dataset's entries.")
        raw = record.film.suffix.lower() == _RAW
        image = read_film(record.film).pixels if raw else _read_converted(record.film, inverted=self.inverted)
        masks = read_masks(
            record.masks, threshold=self.mask_threshold, if_empty="Unpack SCR's file again, or take the film away."
        )
        for name, mask in masks.items():
            if mask.shape[0] != mask.shape[1]:
                raise DataError(
                    f"{record.masks[name]}: the mask is {size_of(mask)} pixels; SCR's are 1024 × 1024.",
                    "Use the masks as they come.",
                )
        masks = {name: to_side(mask, image.shape[0]) for name, mask in masks.items()}
        if not raw and not entry.fault:
            _need_bright_bone(record.film, image, masks, self.inverted)
        spacing = SPACING * SIDE / image.shape[0]
        return Sample(entry.id, image, masks, (spacing, spacing))


def to_side(mask: np.ndarray, side: int) -> np.ndarray:
    """A square bool mask at another size, by nearest neighbour."""
    if mask.shape[0] == side:
        return mask
    resized = cv2.resize(mask.astype(np.uint8), (side, side), interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(resized > 0)


# --- finding ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Record:
    entry: Entry
    film: Path
    masks: Mapping[str, Path]


@dataclass(frozen=True, slots=True)
class _Found:
    """Films by id, and masks by structure and id."""

    films: dict[str, Path] = field(default_factory=dict)
    masks: dict[str, dict[str, Path]] = field(default_factory=lambda: {name: {} for name in CHANNEL_ORDER})


def _find(root: Path) -> _Found:
    """Everything below the root that is called as a JSRT film or an SCR mask.

    Raises:
        DataError: the root is missing, or there are two conversions of a film or two masks of one structure.
    """
    if not root.is_dir():
        fault = "is not a folder; unpack archives first" if root.exists() else "there is no such folder"
        raise DataError(f"{root}: {fault}.", _GET)
    found = _Found()
    converted: list[tuple[str, Path]] = []
    for path in _files(root, _DEPTH, set()):
        name = path.stem.upper()
        if not _ID.fullmatch(name):
            continue
        structure = structure_name(path.parent.name)
        if path.suffix.lower() == _RAW:
            # JSRT delivers every film twice: among all 247, and among those with or without a nodule.
            found.films.setdefault(name, path)
        elif structure in found.masks and path.suffix.lower() in FILM_SUFFIXES:
            _put(found.masks[structure], name, path)
        elif path.suffix.lower() in FILM_SUFFIXES:
            converted.append((name, path))
    originals = set(found.films)
    for name, path in converted:
        if name not in originals:
            _put(found.films, name, path)
    return found


def _put(into: dict[str, Path], name: str, path: Path) -> None:
    if name in into:
        raise DataError(
            f"{name} is there twice: {into[name]} and {path}.", "Move one of them away, or name a folder with one."
        )
    into[name] = path


def _files(folder: Path, depth: int, visited: set[Path]) -> Iterator[Path]:
    """The files below a folder, in order; links are followed, each folder is seen once."""
    place = folder.resolve()
    if place in visited:
        return
    visited.add(place)
    for path in contents(folder):
        if path.is_dir():
            if depth > 0:
                yield from _files(path, depth - 1, visited)
        else:
            yield path


def _levels(folder: Path, depth: int) -> Iterator[Path]:
    """What a folder and those below it hold, the upper levels first; one that can't be listed holds nothing."""
    level = [folder]
    for _ in range(depth):
        found: list[Path] = []
        for place in level:
            with suppress(DataError):
                found += contents(place)
        yield from found
        level = [path for path in found if path.is_dir()]


def _fold_of(path: Path, root: Path) -> str | None:
    parts = path.relative_to(root).parts[:-1]
    return next((part.lower() for part in reversed(parts) if _FOLD.fullmatch(part)), None)


def _need(found: _Found, structures: Sequence[str], root: Path) -> None:
    if not found.films:
        raise DataError(f"{root}: no JSRT film was found in it or in the folders below.", _GET)
    without = [name.replace("_", " ") for name in structures if not found.masks[name]]
    if without:
        raise DataError(
            f"{root}: found {len(found.films)} films, but no masks in folders called "
            f"{', '.join(repr(name) for name in without)}.",
            _GET,
        )


# --- converted films -------------------------------------------------------------------------------------


def _read_converted(path: Path, *, inverted: bool) -> np.ndarray:
    """A picture made from a raw film, bright where it shows bone."""
    image = read_film(path).pixels
    if image.shape[0] != image.shape[1]:
        raise DataError(
            f"{path}: is {size_of(image)} pixels; JSRT films are square.", "Convert the film without cropping it."
        )
    if not inverted:
        return image
    if image.dtype == np.float32:
        return np.asarray(image.max() + image.min() - image)
    # 12 bits are often kept in 16.
    white = 255 if image.dtype == np.uint8 else WHITE if image.max() <= WHITE else 65535
    return np.asarray(white - image, dtype=image.dtype)


def _need_bright_bone(path: Path, image: np.ndarray, masks: Mapping[str, np.ndarray], inverted: bool) -> None:
    """Converters differ in whether they invert; the lungs tell: they are darker than the heart."""
    lungs = np.median(image[masks["left_lung"] | masks["right_lung"]])
    heart = np.median(image[masks["heart"]])
    if lungs > heart:
        raise DataError(
            f"{path}: the lungs are brighter ({lungs:g}) than the heart ({heart:g}): bone is dark on this film.",
            f"Set data.inverted the other way: --set data.inverted={'false' if inverted else 'true'}.",
        )
