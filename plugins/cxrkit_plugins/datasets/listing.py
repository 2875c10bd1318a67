"""What the datasets on disk share: names, listings, paths that stay inside a folder, and masks that fit films."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path, PureWindowsPath

import numpy as np

from cxrkit import DataError, read_mask
from cxrkit.data.dicom_file import is_dicom
from cxrkit.data.images import FILM_SUFFIXES, warn_of_left_out
from cxrkit.interfaces import BACKGROUND

#: Structures that come first, in this order; others follow by name.
CHANNEL_ORDER = ("left_lung", "right_lung", "heart", "left_clavicle", "right_clavicle")

_CLUTTER = frozenset({"__macosx", "thumbs.db", "desktop.ini"})
_SHOWN = 5


def structure_name(text: str) -> str:
    """The snake_case name of a structure: `"Left Lung"`, `"left-lung"` and `"LeftLung"` are `"left_lung"`.

    Accents are dropped. Empty if nothing is left.
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", plain).lower()
    return re.sub(r"[^a-z0-9]+", "_", words).strip("_")


def name_structures(sources: Iterable[str], where: str) -> dict[str, str]:
    """Structure names, in channel order, to the folders or columns that they come from.

    Args:
        sources: names of mask folders or manifest columns.
        where: what holds them, for errors.

    Raises:
        DataError: a name has no letters, is the background's, or two become equal.
    """
    named: dict[str, str] = {}
    for source in sources:
        name = structure_name(source)
        if not name or name == BACKGROUND:
            reason = "is the name of the channel that cxrkit adds itself" if name else "has no plain letters in it"
            raise DataError(f"{where}: '{source}' can't name a structure: it {reason}.", "Rename it.")
        if name in named:
            raise DataError(f"{where}: '{named[name]}' and '{source}' both mean '{name}'.", "Rename or remove one.")
        named[name] = source
    rank = {name: place for place, name in enumerate(CHANNEL_ORDER)}
    return {name: named[name] for name in sorted(named, key=lambda name: (rank.get(name, len(rank)), name))}


def shown(names: Collection[str]) -> str:
    """The first five names, and how many more there are."""
    first = ", ".join(list(names)[:_SHOWN])
    return first + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def contents(folder: Path) -> list[Path]:
    """What is in a folder, sorted by name, without hidden files and what systems leave behind.

    Raises:
        DataError: the folder can't be listed.
    """
    try:
        found = sorted(folder.iterdir(), key=lambda path: path.name)
    except OSError as error:
        raise DataError(
            f"{folder}: can't be listed: {error.strerror}.", "Check the folder and its permissions."
        ) from error
    return [path for path in found if not path.name.startswith(".") and path.name.lower() not in _CLUTTER]


def pictures(folder: Path, faults: dict[str, str]) -> dict[str, Path]:
    """Name without suffix to file, of the films or masks directly in a folder; a warning says what else there is.

    Args:
        folder: the folder.
        faults: where a name's fault goes, a sentence: two files that differ only in their suffixes.

    Raises:
        DataError: the folder can't be listed.
    """
    found: dict[str, Path] = {}
    others: list[Path] = []
    for path in contents(folder):
        if not path.is_file():
            continue
        # The last number of a DICOM file's UID is no suffix.
        name = path.name if path.suffix[1:].isdigit() else path.stem
        if path.suffix.lower() not in FILM_SUFFIXES and not is_dicom(path):
            others.append(path)
        elif name in found:
            faults[name] = f"{folder}: {found[name].name} and {path.name} are two pictures of the same name."
        else:
            found[name] = path
    warn_of_left_out(folder, others)
    return found


def is_file(path: Path) -> bool:
    """Whether there is such a file; a name that is too long for one, or a folder that may not be read, has none."""
    try:
        return path.is_file()
    except OSError:
        return False


def inside(folder: Path, text: str, where: str) -> Path:
    """The path that `text` names, relative to `folder` and not outside it; `/` and `\\` both separate.

    An absolute path is taken if it lies inside the folder. Links are followed wherever they lead: they are the
    user's own.

    Args:
        folder: the folder that the paths are relative to.
        text: the path.
        where: what names it, for the error.

    Raises:
        DataError: it leads outside.
    """
    base = os.path.normpath(folder.absolute())
    target = os.path.normpath(Path(base) / text.replace("\\", "/"))
    # On other systems than Windows, C:\films would pass for a folder called "C:".
    drive = PureWindowsPath(text).drive and os.name != "nt"
    if drive or "\0" in text or not Path(target).is_relative_to(base):
        raise DataError(
            f"{where}: the path {text!r} leads out of {folder}.",
            "Name files inside that folder; to use others, link them into it.",
        )
    return folder / os.path.relpath(target, base)


def read_masks(files: Mapping[str, Path], *, threshold: int | None, if_empty: str | None) -> dict[str, np.ndarray]:
    """Structure to bool mask `(H, W)`, of one film.

    Args:
        files: structure to mask file.
        threshold: see `cxrkit.data.images.read_mask`.
        if_empty: what to do about an empty mask; None where one is allowed.

    Raises:
        DataError: a mask can't be read, or is empty where that isn't allowed.
    """
    masks: dict[str, np.ndarray] = {}
    for name, path in files.items():
        mask = read_mask(path, threshold=threshold)
        if if_empty is not None and not mask.any():
            raise DataError(f"{path}: the mask is empty.", if_empty)
        masks[name] = mask
    return masks


def size_of(array: np.ndarray) -> str:
    """Width × height, as people write it."""
    return f"{array.shape[1]} × {array.shape[0]}"
