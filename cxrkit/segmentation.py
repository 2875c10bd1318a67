"""What was found on a film: the small types that predictors make and writers receive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

BACKGROUND = "background"

#: What structures may be called: the names become channels, settings and file names.
STRUCTURE_NAME = r"[a-z0-9][a-z0-9_]*"


@dataclass(frozen=True)
class FilmSource:
    """The file that a film was read from.

    Attributes:
        path: the file.
        dicom: whether it is DICOM.
    """

    path: Path
    dicom: ClassVar[bool] = False

    @property
    def header(self) -> Any:
        """The DICOM header, a `pydicom.Dataset` without pixels, read when it is first used; None for other files.

        It contains patient data: what a writer makes public of it is the writer's responsibility.

        Raises:
            DataError: the file can no longer be read.
        """
        return None

    @property
    def another_subject(self) -> tuple[str, ...]:
        """What of the header says that this isn't a frontal film of the chest, a short sentence each.

        It looks at modality, body part, view and side; measurements of such a film mean nothing.

        Raises:
            DataError: the file can no longer be read.
        """
        return ()


@dataclass(frozen=True)
class Film:
    """A film as it was read.

    Attributes:
        pixels: `(H, W)` uint8, uint16 or finite float32, bright where the film shows bone.
        spacing: (row, column) millimetres per pixel, or None if the file doesn't contain it.
        remarks: signs in the file that it isn't an upright frontal chest film, one short sentence each.
        source: the file, or None for an array.
        aspect: height of a pixel over its width, where that is known and the spacing isn't.
    """

    pixels: np.ndarray
    spacing: tuple[float, float] | None
    remarks: tuple[str, ...] = ()
    source: FilmSource | None = None
    aspect: float | None = None


@dataclass(frozen=True, slots=True)
class Extent:
    """From the leftmost to the rightmost column of a mask, as seen on the film.

    Attributes:
        left: first column, `right`: last column; both belong to the mask.
        left_row: a row in which the mask reaches `left`, `right_row`: one in which it reaches `right`.
    """

    left: int
    right: int
    left_row: int
    right_row: int

    @property
    def width(self) -> int:
        """Columns from left to right, both counted."""
        return self.right - self.left + 1


@dataclass(frozen=True, slots=True)
class CardiothoracicRatio:
    """The ratio, and the lines that it was measured along.

    Attributes:
        heart: the heart's widest extent.
        thorax: from the outer border of one lung to that of the other.
    """

    heart: Extent
    thorax: Extent

    @property
    def value(self) -> float:
        """Width of the heart over width of the thorax; above 0.5 in a PA film the heart counts as enlarged."""
        return self.heart.width / self.thorax.width


@dataclass(frozen=True)
class WeightsSource:
    """The weights that a prediction was made with, so that it can be reproduced.

    Attributes:
        name: of weights that a package provides, or None.
        package: that package and its version, or None.
        file: the weights file.
        sha256: its checksum.
        step: updates that the network was trained for.
        cxrkit: version of the cxrkit that applied it.
        members: of a mean of several weights, each of them; `sha256` is then that of their checksums.
    """

    name: str | None
    package: str | None
    file: str
    sha256: str
    step: int
    cxrkit: str
    members: tuple[WeightsSource, ...] = ()


@dataclass(frozen=True)
class Segmentation:
    """The result of segmenting one film.

    Attributes:
        film: the film as it was read; `film.source` is its file.
        masks: structure to bool `(H, W)`, at the film's own size; without holes and parts that are separate from the
            structure, unless the segmenter keeps them.
        probabilities: structure to float32 `(H, W)` in [0, 1]; 0 in a border around the film.
        cardiothoracic_ratio: with the extents that it was measured between; None if the network doesn't segment the
            heart and both lungs, or didn't find one of them.
        warnings: signs that the masks can't be trusted, a short sentence each: the film's remarks, and what
            `cxrkit.metrics.plausibility` finds.
        weights: which weights were used, if known.
        quality: structure to an estimate of its mask's Dice coefficient, in [0, 1], for those structures that the
            weights are calibrated for (`cxrkit calibrate`).
        settings: what decided the masks beside film and weights, such as the threshold, by name; as JSON has it.
    """

    film: Film
    masks: dict[str, np.ndarray]
    probabilities: dict[str, np.ndarray]
    cardiothoracic_ratio: CardiothoracicRatio | None
    warnings: tuple[str, ...] = ()
    weights: WeightsSource | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    quality: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def areas(self) -> dict[str, int]:
        """Structure to the pixels of its mask."""
        return {name: int(np.count_nonzero(mask)) for name, mask in self.masks.items()}

    @property
    def areas_mm2(self) -> dict[str, float] | None:
        """Structure to the area of its mask in mm², rounded to a tenth; None where the film's spacing isn't known."""
        if self.film.spacing is None:
            return None
        row, column = self.film.spacing
        return {name: round(area * row * column, 1) for name, area in self.areas.items()}
