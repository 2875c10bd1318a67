"""What `measure` finds in masks that exist: the ratio, areas and extents, without a network."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from cxrkit.data.mask_files import MaskFolder
from cxrkit.engine.measures import ratio_of
from cxrkit.engine.observer import Observer
from cxrkit.engine.outcomes import Failure
from cxrkit.errors import CxrkitError
from cxrkit.files import csv_text
from cxrkit.segmentation import CardiothoracicRatio

#: Of the table and the JSON; it grows when a field changes its meaning or is removed.
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Box:
    """The smallest rectangle around a mask; first and last column and row, which belong to the mask."""

    left: int
    top: int
    right: int
    bottom: int

    def sides_mm(self, spacing: tuple[float, float]) -> tuple[float, float]:
        """Width and height in mm; spacing (row, column) in mm per pixel."""
        columns, rows = self.right - self.left + 1, self.bottom - self.top + 1
        return round(columns * spacing[1], 2), round(rows * spacing[0], 2)


@dataclass(frozen=True)
class MeasuredFilm:
    """What the masks of a film say; in millimetres where the pixel spacing is known, else null."""

    film: Annotated[str, Field(description="its name in the folder")]
    size: Annotated[tuple[int, int], Field(description="width and height of the masks, in pixels")]
    spacing: Annotated[tuple[float, float] | None, Field(description="(row, column) millimetres per pixel")]
    cardiothoracic_ratio: Annotated[float | None, Field(description="rounded to four places")]
    extents: Annotated[
        CardiothoracicRatio | None, Field(description="the columns and rows that the ratio was measured between")
    ]
    heart_width_mm: Annotated[float | None, Field(description="the heart's horizontal extent")]
    thorax_width_mm: Annotated[float | None, Field(description="the horizontal extent of both lungs")]
    areas: Annotated[dict[str, int], Field(description="structure to pixels")]
    areas_mm2: Annotated[dict[str, float] | None, Field(description="structure to square millimetres")]
    boxes: Annotated[
        dict[str, Box | None], Field(description="structure to the rectangle around it; null where it is empty")
    ]
    extents_mm: Annotated[
        dict[str, tuple[float, float] | None] | None, Field(description="structure to width and height")
    ]


@dataclass(frozen=True)
class Measurements:
    """All films of a folder, and those that can't be measured."""

    folder: str
    structures: tuple[str, ...]
    films: tuple[MeasuredFilm, ...]
    failures: tuple[Failure, ...]

    def as_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}

    def to_csv(self) -> str:
        """A line for each film; failed ones have an error and nothing else."""
        box = [f"box_{side}" for side in ("left", "top", "right", "bottom", "width_mm", "height_mm")]
        ratio = ["cardiothoracic_ratio", "heart_width_px", "thorax_width_px", "heart_width_mm", "thorax_width_mm"]
        own = [f"{name}_{what}" for name in self.structures for what in ("pixels", "mm2", *box)]
        headings = ["film", "width", "height", *ratio, *own, "error"]
        rows = [[film.film, *film.size, *_ratio_cells(film), *self._cells(film), None] for film in self.films]
        rows += [[one.film, *[None] * (len(headings) - 2), one.what] for one in self.failures]
        return csv_text(headings, [["" if cell is None else cell for cell in row] for row in rows])

    def _cells(self, film: MeasuredFilm) -> list[Any]:
        cells: list[Any] = []
        for name in self.structures:
            box = film.boxes.get(name)
            cells += [film.areas.get(name), (film.areas_mm2 or {}).get(name)]
            cells += [None] * 4 if box is None else [box.left, box.top, box.right, box.bottom]
            cells += (film.extents_mm or {}).get(name) or (None, None)
        return cells


def _ratio_cells(film: MeasuredFilm) -> list[Any]:
    widths = [None, None] if film.extents is None else [film.extents.heart.width, film.extents.thorax.width]
    return [film.cardiothoracic_ratio, *widths, film.heart_width_mm, film.thorax_width_mm]


def measure_folder(folder: MaskFolder, spacing: float | None, observer: Observer) -> Measurements:
    """Measure the masks of every film in a folder; what can't be used is reported and left out.

    Args:
        folder: the masks.
        spacing: millimetres per pixel of all films; None: as `cxrkit predict` has stored it, if it has.
    """
    measured: list[MeasuredFilm] = []
    failures: list[Failure] = []
    observer.stage("Measuring", len(folder.films))
    for done, film in enumerate(folder.films):
        try:
            known = folder.spacing(film) if spacing is None else (spacing, spacing)
            measured.append(measure_masks(film, folder.read(film), known))
        except CxrkitError as error:
            failures.append(Failure(film, error.what, error.remedy))
        observer.advance(done + 1, film)
    return Measurements(str(folder.root), folder.structures, tuple(measured), tuple(failures))


def measure_masks(film: str, masks: dict[str, np.ndarray], spacing: tuple[float, float] | None) -> MeasuredFilm:
    """What masks, bool `(H, W)` of one shape by structure, say of a film; spacing (row, column) in mm, if known."""
    ratio, areas = ratio_of(masks), {name: int(mask.sum()) for name, mask in masks.items()}
    boxes = {name: _box(mask) for name, mask in masks.items()}
    height, width = next(iter(masks.values())).shape
    lengths: tuple[float | None, float | None] = (None, None)
    squares = sides = None
    if spacing is not None:
        row, column = spacing
        if ratio is not None:
            lengths = (round(ratio.heart.width * column, 2), round(ratio.thorax.width * column, 2))
        squares = {name: round(area * row * column, 1) for name, area in areas.items()}
        sides = {name: None if box is None else box.sides_mm(spacing) for name, box in boxes.items()}
    return MeasuredFilm(
        film=film,
        size=(width, height),
        spacing=spacing,
        cardiothoracic_ratio=None if ratio is None else round(ratio.value, 4),
        extents=ratio,
        heart_width_mm=lengths[0],
        thorax_width_mm=lengths[1],
        areas=areas,
        areas_mm2=squares,
        boxes=boxes,
        extents_mm=sides,
    )


def _box(mask: np.ndarray) -> Box | None:
    columns, rows = (np.flatnonzero(mask.any(axis=axis)) for axis in (0, 1))
    return Box(int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])) if len(rows) else None
