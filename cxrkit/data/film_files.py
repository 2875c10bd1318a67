"""Which files below a folder are films."""

from __future__ import annotations

from pathlib import Path

from cxrkit.data.dicom_file import is_dicom
from cxrkit.data.images import FILM_SUFFIXES, warn_of_left_out

#: The table of contents of a disk of DICOM files, which is one itself.
_DICOM_INDEX = "DICOMDIR"

#: What `cxrkit predict` writes beside its results.
PREDICTIONS_LIST = "predictions.json"

#: What stands for that list until it is written.
UNFINISHED_LIST = "predictions-unfinished.jsonl"


def films_below(folder: Path) -> list[Path]:
    """The films in a folder and its subfolders, sorted: files with a film's suffix, and DICOM files with any or none.

    Masks in a folder `masks` beside the films' `images` are left out, and so is what `cxrkit predict` has written. A
    warning says how many other files there are.
    """
    other: dict[Path, bool] = {}

    def holds_other_things(inside: Path) -> bool:
        if inside not in other:
            is_masks = inside.name == "masks" and (inside.parent / "images").is_dir()
            own = is_masks or any((inside / name).is_file() for name in (PREDICTIONS_LIST, UNFINISHED_LIST))
            other[inside] = own or (inside != folder and holds_other_things(inside.parent))
        return other[inside]

    films: list[Path] = []
    others: list[Path] = []
    for path in sorted(folder.rglob("*")):
        if path.name.startswith(".") or holds_other_things(path.parent):
            continue
        # A broken link is reported as a film that can't be read.
        named = path.suffix.lower() in FILM_SUFFIXES and (path.is_file() or path.is_symlink())
        if named or _is_nameless_dicom(path):
            films.append(path)
        elif path.is_file() and path.name.upper() != _DICOM_INDEX:
            others.append(path)
    warn_of_left_out(folder, others)
    return films


def _is_nameless_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its content, whatever its suffix says."""
    if path.name.upper() == _DICOM_INDEX:
        return False
    try:
        return path.is_file() and is_dicom(path)
    except OSError:
        return False
