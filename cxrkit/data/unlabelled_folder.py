"""The dataset behind `--unlabelled FOLDER`: films without masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cxrkit.data.film_files import films_below
from cxrkit.data.images import FILM_SUFFIXES, read_film
from cxrkit.errors import DataError
from cxrkit.interfaces import Dataset, Entry, Sample


class UnlabelledFolder(Dataset):
    """All films in a folder and its subfolders; there are no masks, and so no structures.

    It isn't a plugin: other formats of films without masks belong into `read_film`, which all commands share.
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
        return Sample(entry.id, film.pixels, {}, film.spacing, film.remarks, film.aspect)
