"""A film in memory, whatever file it came from, and how large one may be."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from cxrkit.errors import DataError

#: Pictures with a side of this many pixels or more are refused: a detector has some 4,000.
SIDE_LIMIT = 20_000


@dataclass(frozen=True)
class FilmSource:
    """The file that a film was read from.

    Attributes:
        path: the file.
        dicom: whether it is DICOM.
    """

    path: Path
    dicom: bool = False

    @cached_property
    def header(self) -> Any:
        """The DICOM header, a `pydicom.Dataset` without pixels, read when it is first used; None for other files.

        It holds patient data: what is written of it is the writer's responsibility.

        Raises:
            DataError: the file can no longer be read.
        """
        if not self.dicom:
            return None
        from cxrkit.data.dicom import read_header

        return read_header(self.path, pixels=False)


@dataclass(frozen=True)
class Film:
    """A film as it was read.

    Attributes:
        pixels: `(H, W)` uint8, uint16 or finite float32, bright where the film shows bone.
        spacing: (row, column) millimetres per pixel, or None where the file doesn't say.
        remarks: what the file says that an upright frontal chest film's wouldn't, one short sentence each.
        source: the file, or None for an array.
    """

    pixels: np.ndarray
    spacing: tuple[float, float] | None
    remarks: tuple[str, ...] = ()
    source: FilmSource | None = None


def refuse_huge(path: Path, height: int, width: int) -> None:
    """Raise DataError for a picture that is too large to be a film, before it is decoded."""
    if max(height, width) >= SIDE_LIMIT:
        raise DataError(
            f"{path}: is {width} × {height} pixels; sides of {SIDE_LIMIT:,} or more are refused.",
            "Scale the film down, or check that this is the right file.",
        )
