"""`cxrkit measure`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxrkit.cli.flags import Json, Labels, MaskThreshold, Quiet, option, parse_labels

if TYPE_CHECKING:
    from rich.table import Table

    from cxrkit.engine.measuring import Measurements

#: Some films could not be used; the others are measured.
_SOME_FAILED = 3


def measure(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER",
            help="Masks: FILM/STRUCTURE.png, as predict writes them, STRUCTURE/FILM.png, a dataset's folder, or with "
            "--labels FILM.png.",
            show_default=False,
        ),
    ],
    labels: Labels = None,
    mask_threshold: MaskThreshold = None,
    spacing: Annotated[
        float | None,
        option(
            "--spacing",
            "Millimetres per pixel of all films.",
            metavar="MM",
            default="as predict has stored it in the folder, or unknown",
        ),
    ] = None,
    out: Annotated[Path | None, option("--out", "Also write the table, as CSV.", metavar="FILE.csv")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure masks that exist: cardiothoracic ratio, areas and extents, without a network.

    A film that can't be used is reported and left out; the exit code is then 3.
    """
    from cxrkit.cli.console import print_error, say, show, show_json
    from cxrkit.cli.progress import progress
    from cxrkit.errors import DataError
    from cxrkit.files import write_text
    from cxrkit.scoring import measure as measure_masks

    with progress(quiet=quiet) as observer:
        found = measure_masks(
            folder,
            labels=parse_labels(labels),
            mask_threshold=mask_threshold,
            spacing=spacing,
            observer=observer,
        )
    if out is not None:
        write_text(out, found.to_csv())
    if as_json:
        show_json(found.as_json())
    elif found.films:
        show(_table(found))
    for failure in found.failures:
        print_error(DataError(failure.what, failure.remedy))
    if not quiet:
        failed = f"; {len(found.failures)} could not be used" if found.failures else ""
        written = f". Table: {out}" if out is not None else ""
        say(f"{len(found.films)} film{'' if len(found.films) == 1 else 's'} measured{failed}{written}")
    if found.failures:
        raise typer.Exit(_SOME_FAILED)


def _table(found: Measurements) -> Table:
    from cxrkit.cli.console import one_line, table

    headings = [
        "film",
        "cardiothoracic ratio",
        "heart",
        "thorax",
        *(name.replace("_", " ") for name in found.structures),
    ]
    rows = []
    for film in found.films:
        ratio = "–" if film.cardiothoracic_ratio is None else f"{film.cardiothoracic_ratio:.3f}"
        widths = ["–", "–"]
        if film.extents is not None:
            widths = [f"{film.extents.heart.width} px", f"{film.extents.thorax.width} px"]
        if film.heart_width_mm is not None and film.thorax_width_mm is not None:
            widths = [f"{film.heart_width_mm:.1f} mm", f"{film.thorax_width_mm:.1f} mm"]
        areas = [
            "–"
            if name not in film.areas
            else f"{film.areas[name]} px"
            if film.areas_mm2 is None
            else f"{film.areas_mm2[name] / 100:.1f} cm²"
            for name in found.structures
        ]
        rows.append([one_line(film.film), ratio, *widths, *areas])
    return table(headings, rows, right="cardiothoracic ratio")
