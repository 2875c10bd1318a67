"""What `predict` reports of films: the rows of its table, and the same as JSON.

The schema of `predictions.json` and `--json`: docs/generate.py writes a page of the reference from these types.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from cxrkit.files import csv_text
from cxrkit.segmentation import CardiothoracicRatio, FilmSource, Segmentation, WeightsSource

#: Of the table and the JSON; it grows when a field changes its meaning or is removed.
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class PredictionRow:
    """What was found on one film; in millimetres where the film's file gives the pixel spacing, else null."""

    film: Annotated[str, Field(description="its file, as it was given")]
    folder: Annotated[str, Field(description="where its results are")]
    cardiothoracic_ratio: Annotated[float | None, Field(description="rounded to four places")]
    extents: Annotated[
        CardiothoracicRatio | None,
        Field(description="the columns and rows, in pixels of the film, that the ratio was measured between"),
    ]
    areas: Annotated[dict[str, int], Field(description="structure to pixels")]
    warnings: Annotated[tuple[str, ...], Field(description="signs that all this can't be trusted")]
    files: Annotated[tuple[str, ...], Field(description="the names of what was written into its folder")] = ()
    name: Annotated[str, Field(description="its folder below the folder of all results")] = ""
    path: Annotated[str, Field(description="its file, absolute: what makes it the same film again")] = ""
    areas_mm2: Annotated[dict[str, float] | None, Field(description="structure to square millimetres")] = None
    heart_width_mm: Annotated[float | None, Field(description="the heart's horizontal extent")] = None
    thorax_width_mm: Annotated[float | None, Field(description="the horizontal extent of both lungs")] = None
    spacing: Annotated[tuple[float, float] | None, Field(description="(row, column) millimetres per pixel")] = None
    study_uid: Annotated[str | None, Field(description="StudyInstanceUID of a DICOM film")] = None
    series_uid: Annotated[str | None, Field(description="SeriesInstanceUID of a DICOM film")] = None
    sop_uid: Annotated[str | None, Field(description="SOPInstanceUID of a DICOM film")] = None
    sha256: Annotated[str, Field(description="of the content of its file")] = ""
    made_with: Annotated[
        str, Field(description="hash of weights, version, settings and writers: what --resume compares beside sha256")
    ] = ""
    declined: Annotated[tuple[str, ...], Field(description="what writers didn't write of this film, and why")] = ()
    quality: Annotated[
        dict[str, float] | None,
        Field(
            description="structure to an estimate of its mask's Dice coefficient; null where weights aren't calibrated"
        ),
    ] = None


@dataclass(frozen=True)
class Failure:
    """A film that couldn't be segmented or written."""

    film: Annotated[str, Field(description="its file, as it was given")]
    what: Annotated[str, Field(description="what is wrong")]
    remedy: Annotated[str, Field(description="what to do about it")]


@dataclass(frozen=True)
class Predictions:
    """The films that were segmented and those that couldn't be, and by which weights; `kept` were done earlier."""

    rows: tuple[PredictionRow, ...]
    failures: tuple[Failure, ...]
    weights: WeightsSource | None = None
    kept: int = field(default=0, compare=False)

    def as_json(self, earlier: Sequence[PredictionRow] = ()) -> dict[str, Any]:
        """A `Listing` as plain values, as `--json` prints it; `predictions.json` has `earlier` too."""
        return asdict(Listing(SCHEMA_VERSION, self.weights, self.rows, self.failures, tuple(earlier)))


@dataclass(frozen=True)
class Listing:
    """What `--json` prints, and `predictions.json` holds."""

    schema_version: Annotated[int, Field(description="grows when a field changes its meaning or is removed")]
    weights: Annotated[WeightsSource | None, Field(description="which weights were used")]
    films: Annotated[tuple[PredictionRow, ...], Field(description="those that were segmented, in the order given")]
    failures: Annotated[tuple[Failure, ...], Field(description="those that couldn't be")]
    earlier: Annotated[
        tuple[PredictionRow, ...], Field(description="films of earlier calls whose results are still in the folder")
    ] = ()


def row_of(
    result: Segmentation, film: Path, folder: Path, name: str, files: Sequence[str], sha256: str, made_with: str
) -> PredictionRow:
    """The row of a film whose results, called `name`, go to `folder`."""
    ratio, spacing = result.cardiothoracic_ratio, result.film.spacing
    study, series, sop = uids(result.film.source)
    heart = thorax = None
    if ratio is not None and spacing is not None:
        heart, thorax = (round(extent.width * spacing[1], 2) for extent in (ratio.heart, ratio.thorax))
    return PredictionRow(
        film=str(film),
        folder=str(folder),
        cardiothoracic_ratio=None if ratio is None else round(ratio.value, 4),
        extents=ratio,
        areas=result.areas,
        warnings=result.warnings,
        files=tuple(files),
        name=name,
        path=identity(film),
        areas_mm2=result.areas_mm2,
        heart_width_mm=heart,
        thorax_width_mm=thorax,
        spacing=spacing,
        study_uid=study,
        series_uid=series,
        sop_uid=sop,
        sha256=sha256,
        made_with=made_with,
        quality=dict(result.quality) or None,
    )


def identity(film: Path) -> str:
    """What makes a film the same one again: its absolute path, through links of folders but not of the file."""
    return str(film.parent.resolve() / film.name)


def uids(source: FilmSource | None) -> tuple[str | None, str | None, str | None]:
    """A DICOM film's Study, Series and SOP Instance UIDs; None where its header lacks one or can't be read."""
    found: list[str | None] = []
    for level in ("Study", "Series", "SOP"):
        value = None
        with suppress(Exception):  # pydicom reads a value when it is asked for, and raises many kinds at odd ones
            value = None if source is None else source.header.get(f"{level}InstanceUID")
        found.append(str(value) if value else None)
    study, series, sop = found
    return study, series, sop


class Table:
    """`predictions.csv`: a line per film; failed ones have an error and nothing else.

    Args:
        structures: the names of the masks.
        weights: which weights are used, where known.
    """

    def __init__(self, structures: Sequence[str], weights: WeightsSource | None) -> None:
        self._structures = tuple(structures)
        self._weights = "" if weights is None else weights.name or weights.file

    @property
    def headings(self) -> list[str]:
        """The columns; new ones come last."""
        pixels = [f"{name}_pixels" for name in self._structures]
        first = ["film", "folder", "cardiothoracic_ratio", *pixels, "warnings", "error", "weights"]
        squares = [f"{name}_mm2" for name in self._structures]
        quality = [f"{name}_quality" for name in self._structures]
        more = ["heart_width_mm", "thorax_width_mm", "row_spacing_mm", "column_spacing_mm"]
        return [
            *first,
            *squares,
            *more,
            "study_uid",
            "series_uid",
            "sop_uid",
            "sha256",
            "schema_version",
            "declined",
            *quality,
        ]

    def text(self, outcomes: Sequence[PredictionRow | Failure]) -> str:
        """The whole table."""
        return csv_text(self.headings, [self._cells(item) for item in outcomes])

    def line(self, outcome: PredictionRow | Failure) -> str:
        """A line of it, without its end."""
        return csv_text(self._cells(outcome), []).removesuffix("\n")

    def _cells(self, item: PredictionRow | Failure) -> list[Any]:
        if isinstance(item, Failure):
            given: dict[str, object] = {"film": item.film, "error": item.what}
        else:
            row, column = item.spacing or (None, None)
            given = {
                **asdict(item),
                **{f"{name}_pixels": area for name, area in item.areas.items()},
                **{f"{name}_mm2": area for name, area in (item.areas_mm2 or {}).items()},
                **{f"{name}_quality": dice for name, dice in (item.quality or {}).items()},
                "warnings": "; ".join(item.warnings),
                "declined": "; ".join(item.declined),
                "row_spacing_mm": row,
                "column_spacing_mm": column,
            }
        given |= {"weights": self._weights, "schema_version": SCHEMA_VERSION}
        return ["" if given.get(heading) is None else given[heading] for heading in self.headings]
