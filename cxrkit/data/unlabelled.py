"""Films without masks, as they lie in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cxrkit.data.images import FILM_SUFFIXES, is_dicom, read_film
from cxrkit.errors import DataError
from cxrkit.interfaces import Dataset, Entry, Sample

#: The table of contents of a disk of DICOM files, which is one itself.
_DICOM_INDEX = "DICOMDIR"


#: What `cxrkit predict` writes beside its results.
PREDICTIONS_LIST = "predictions.json"


def films_below(folder: Path) -> list[Path]:
    """The films in a folder and its subfolders, sorted: files that are called so, and DICOM files without a suffix.

    Masks that lie in a folder `masks` beside the films' `images` are none, nor is what `cxrkit predict` has written.
    """
    other: dict[Path, bool] = {}

    def holds_other_things(inside: Path) -> bool:
        if inside not in other:
            is_masks = inside.name == "masks" and (inside.parent / "images").is_dir()
            own = is_masks or (inside / PREDICTIONS_LIST).is_file()
            other[inside] = own or (inside != folder and holds_other_things(inside.parent))
        return other[inside]

    return sorted(
        path
        for path in folder.rglob("*")
        if not path.name.startswith(".")
        and not holds_other_things(path.parent)
        and (
            # A link to nowhere is told as a film that can't be read.
            (path.suffix.lower() in FILM_SUFFIXES and (path.is_file() or path.is_symlink())) or _is_nameless_dicom(path)
        )
    )


def _is_nameless_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its content and its name has no suffix; the last number of a UID is none."""
    if not (path.suffix == "" or path.suffix[1:].isdigit()) or path.name.upper() == _DICOM_INDEX:
        return False
    try:
        return path.is_file() and is_dicom(path)
    except OSError:
        return False


class UnlabelledFolder(Dataset):
    """All films in a folder and its subfolders; there are no masks, and so no structures.

    It is no plugin: whoever wants other formats of films without masks teaches `read_film` to read them, which all
    commands share.
    """

    structures = ()

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.folder = root

    def entries(self) -> Sequence[Entry]:
        """Every film, named after its path below the folder.

        Raises:
            DataError: there is no such folder, or no film in it.
        """
        if not self.folder.is_dir():
            raise DataError(
                f"{self.folder}: there is no such folder of films without masks.",
                "Check --unlabelled, or leave it out.",
            )
        files = films_below(self.folder)
        if not files:
            raise DataError(
                f"{self.folder}: no films in this folder (--unlabelled).", f"Films end in {', '.join(FILM_SUFFIXES)}."
            )
        names = ["+".join(file.relative_to(self.folder).parts) for file in files]
        return [Entry(name, name, (file,)) for name, file in zip(names, files, strict=True)]

    def read(self, entry: Entry) -> Sample:
        """One film; see `read_film` for what is refused."""
        film = read_film(entry.files[0])
        return Sample(entry.id, film.pixels, {}, film.spacing)
