"""`cxrkit predict`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cxrkit.cli.helping import told

if TYPE_CHECKING:
    from rich.table import Table

    from cxrkit.report.predictions import Predictions

_SOME_FAILED = 3


def predict(
    films: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILM...",
            help="Films (PNG, TIFF, JPEG, DICOM, JSRT's .IMG), or folders of them.",
            show_default=False,
        ),
    ],
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="RUN|FILE|NAME",
            help=told(
                "A trained run's folder, a weights file, or weights that a package brings: cxrkit list weights.",
                "those that come with cxrkit: both lungs and the heart",
            ),
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where masks, overlays and the table go.")] = Path(
        "predictions"
    ),
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also write probabilities, as 16-bit PNG.")
    ] = False,
    keep_spots: Annotated[
        bool, typer.Option("--keep-spots", help="Keep small parts of a mask that lie apart from the structure.")
    ] = False,
    device: Annotated[Literal["auto", "cpu", "cuda", "mps"], typer.Option(help="What computes.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no messages.")] = False,
) -> None:
    """Segment films: masks at the film's own size, overlays, the cardiothoracic ratio.

    A film that can't be used is told and left out; the exit code is then 3. For research, not for diagnosis.
    """
    from cxrkit.cli.loading import load_plugins
    from cxrkit.cli.progress import progress

    plugins = load_plugins()
    from cxrkit import api
    from cxrkit.cli.console import say

    name = api.find_weights(weights, plugins.registry)[1]
    if name is not None and not quiet:
        component = plugins.registry.get("weights", name)
        say(
            f"Weights: {name} of {component.distribution} {component.version}, {component.summary}. For research, not "
            f"for diagnosis; what they were trained on and how good they are: cxrkit show weights {name}"
        )

    with progress(quiet=quiet) as observer:
        predictions = api.predict(
            films, weights, out, probabilities=probabilities, keep_spots=keep_spots, device=device, observer=observer
        )
    _tell(predictions, out, as_json=as_json, quiet=quiet)
    if predictions.failures:
        raise typer.Exit(_SOME_FAILED)


def _tell(predictions: Predictions, out: Path, *, as_json: bool, quiet: bool) -> None:
    from dataclasses import asdict

    from cxrkit.cli.console import print_error, say, show, show_json
    from cxrkit.errors import DataError

    if as_json:
        show_json(
            {"films": [asdict(row) for row in predictions.rows], "failures": [asdict(f) for f in predictions.failures]}
        )
    elif predictions.rows:
        show(_table(predictions))
    for failure in predictions.failures:
        print_error(DataError(failure.what, failure.remedy))
    if not quiet:
        done, failed = len(predictions.rows), len(predictions.failures)
        left_out = f"; {failed} could not be used" if failed else ""
        say(f"{done} film{'' if done == 1 else 's'} segmented{left_out}. Table: {out / 'predictions.csv'}")


def _table(predictions: Predictions) -> Table:
    from cxrkit.cli.console import table

    rows = [
        (row.film, "–" if row.cardiothoracic_ratio is None else f"{row.cardiothoracic_ratio:.3f}", row.folder)
        for row in predictions.rows
    ]
    return table(("film", "cardiothoracic ratio", "written to"), rows, right="cardiothoracic ratio")
