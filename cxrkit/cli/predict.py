"""`cxrkit predict`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxrkit.cli.flags import ANY_WEIGHTS, DeviceFlag, NoQuality, Quiet, json_flag, option

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from cxrkit.engine.outcomes import Predictions

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
        list[str] | None,
        option(
            "--weights",
            f"{ANY_WEIGHTS} May be repeated: the mean of several.",
            metavar="RUN|FILE|NAME",
            default="those that come with cxrkit: both lungs and the heart",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the results of each film, and a table.")] = Path(
        "predictions"
    ),
    write: Annotated[
        list[str] | None,
        option(
            "--write",
            "What to write for each film; may be repeated. See: cxrkit list writer.",
            metavar="NAME",
            default="masks and overlay",
        ),
    ] = None,
    runtime: Annotated[
        str,
        option(
            "--runtime",
            "What computes an exported network (.onnx, .xml, .pt2): auto takes the fastest installed one; see: cxrkit "
            "list runtime.",
            metavar="auto|NAME",
            default="auto",
        ),
    ] = "auto",
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also write probabilities, as 16-bit PNG.")
    ] = False,
    assignments: Annotated[
        list[str] | None,
        option(
            "--set",
            "A parameter of a writer or of the post-processing.",
            metavar="writer.NAME.KEY=VALUE|postprocess.KEY=VALUE",
        ),
    ] = None,
    postprocess: Annotated[
        str | None,
        option(
            "--postprocess",
            "What is done to masks after the threshold. See: cxrkit list postprocess.",
            metavar="NAME",
            default="as stored with the weights, or one-piece",
        ),
    ] = None,
    keep_spots: Annotated[
        bool, typer.Option("--keep-spots", help="Keep holes in masks, and parts that are separate from the structure.")
    ] = False,
    keep_borders: Annotated[
        bool,
        typer.Option(
            "--keep-borders", help="Keep a black or white border around the film, so that the network sees it too."
        ),
    ] = False,
    window: Annotated[
        str,
        typer.Option(metavar="N|none", help="Which of a DICOM file's look-up tables and windows to use, from 1."),
    ] = "1",
    tta: Annotated[
        bool,
        typer.Option(
            "--tta",
            help="Test-time augmentation: average over eight views of each film (small shifts, scales, turns, another "
            "contrast), which takes eight passes of the network instead of one.",
        ),
    ] = False,
    no_quality: NoQuality = False,
    workers: Annotated[
        int | None,
        option(
            "--workers",
            "Films that are segmented side by side; exported networks still compute one at a time.",
            metavar="N",
            default="one per core, at most 8",
            min=1,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Leave films alone that are done with the same weights and haven't changed."),
    ] = False,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict", help="Exit with 3 where a film has warnings, or a writer declines it, as where one fails."
        ),
    ] = False,
    device: DeviceFlag = "auto",
    as_json: Annotated[bool, json_flag("the table")] = False,
    quiet: Quiet = False,
) -> None:
    """Segment films: masks at the film's own size, overlays, and the cardiothoracic ratio.

    A film that can't be used is reported and left out; the exit code is then 3. It is also 3 if nothing is written of a
    film because the writers decline it, as those of DICOM objects do if it isn't DICOM. Films whose masks don't look
    like those of an upright frontal chest film get warnings. For research, not for diagnosis.

    The results lie as the films do below the folder that is given. The table grows film by film, and --resume continues
    where an earlier call stopped.
    """
    from cxrkit.cli.loading import load_plugins
    from cxrkit.cli.progress import progress

    components = load_plugins().registry
    from cxrkit import inference

    if keep_spots and postprocess:
        raise typer.BadParameter("leaves masks as they are; leave out --postprocess", param_hint="--keep-spots")
    writers, applied = _components(write or components.defaults("writer"), postprocess, assignments or ())

    with progress(quiet=quiet) as observer:
        predictions = inference.predict(
            films,
            weights or None,
            out,
            writers=writers,
            probabilities=probabilities,
            keep_spots=keep_spots,
            postprocess=applied,
            keep_borders=keep_borders,
            window=_window(window),
            runtime=runtime,
            tta=tta,
            quality=not no_quality,
            device=device,
            workers=workers,
            resume=resume,
            observer=observer,
        )
    _report(predictions, out, as_json=as_json, quiet=quiet)
    incomplete = any(row.declined and (strict or not row.files) for row in predictions.rows)
    if predictions.failures or incomplete or (strict and any(row.warnings for row in predictions.rows)):
        raise typer.Exit(_SOME_FAILED)


def _window(text: str) -> int | None:
    """`--window` as a number; None for "none"."""
    if text == "none":
        return None
    if not (text.isdecimal() and text.isascii() and 1 <= len(text) <= 3 and int(text)):
        raise typer.BadParameter("write a number from 1, or none", param_hint="--window")
    return int(text)


def _components(
    names: Sequence[str], postprocess: str | None, assignments: Sequence[str]
) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """Writers and a post-processing by name, with the parameters that `--set` gives them.

    Raises:
        ConfigError: an assignment sets something else.
    """
    from cxrkit.errors import ConfigError
    from cxrkit.overrides import parse_set

    chosen: dict[str, dict[str, Any]] = {name: {"name": name} for name in names}
    applied = {"name": postprocess} if postprocess else None
    for path, value in parse_set(assignments).items():
        kind, _, rest = path.partition(".")
        name, _, key = rest.partition(".")
        if kind == "postprocess" and rest and applied is None:
            raise ConfigError(f"--set {path}: no post-processing was chosen.", "Choose one: --postprocess NAME.")
        if kind == "postprocess" and rest and applied is not None:
            applied[rest] = value
            continue
        if kind != "writer" or name not in chosen or not key:
            raise ConfigError(
                f"--set {path}: only parameters of the chosen writers can be set here ({', '.join(chosen)}).",
                "Write --set writer.NAME.KEY=VALUE, or --set postprocess.KEY=VALUE with --postprocess.",
            )
        chosen[name][key] = value
    return [*chosen.values()], applied


def chosen_writers(names: Sequence[str], assignments: Sequence[str]) -> list[dict[str, Any]]:
    """Writers by name, with the parameters that `--set writer.NAME.KEY=VALUE` gives them.

    Raises:
        ConfigError: an assignment sets something else.
    """
    return _components(names, None, assignments)[0]


def _report(predictions: Predictions, out: Path, *, as_json: bool, quiet: bool) -> None:
    from cxrkit.cli.console import print_error, say, show, show_json, warn
    from cxrkit.errors import DataError

    if as_json:
        show_json(predictions.as_json())
    elif predictions.rows:
        show(_table(predictions))
    for failure in predictions.failures:
        print_error(DataError(failure.what, failure.remedy))
    for reason, films in _declined(predictions).items():
        more = f" and {len(films) - 1} more" if len(films) > 1 else ""
        warn(f"{films[0]}{more}: {reason}")
    if not quiet:
        say(f"{_count(predictions)}. Table: {out / 'predictions.csv'}")


def _declined(predictions: Predictions) -> dict[str, list[str]]:
    """Why writers declined films, and which."""
    films: dict[str, list[str]] = {}
    for row in predictions.rows:
        for reason in row.declined:
            films.setdefault(reason, []).append(row.film)
    return films


def _count(predictions: Predictions) -> str:
    done, failed = len(predictions.rows), len(predictions.failures)
    doubtful = sum(bool(row.warnings) for row in predictions.rows)
    earlier = f", {predictions.kept} of them earlier" if predictions.kept else ""
    parts = [f"{done} film{'' if done == 1 else 's'} segmented{earlier}"]
    if doubtful:
        parts.append(f"{doubtful} with warnings: check them before trusting them")
    if failed:
        parts.append(f"{failed} could not be used")
    return "; ".join(parts)


def _table(predictions: Predictions) -> Table:
    from cxrkit.cli.console import one_line, styled, table

    doubtful = any(row.warnings for row in predictions.rows)
    estimated = any(row.quality for row in predictions.rows)
    rows: list[list[str | Text]] = []
    for row in predictions.rows:
        ratio = "–" if row.cardiothoracic_ratio is None else f"{row.cardiothoracic_ratio:.3f}"
        quality = [f"{min(row.quality.values()):.2f}" if row.quality else "–"] if estimated else []
        warnings = [styled("\n".join(row.warnings), "yellow")] if doubtful else []
        rows.append([one_line(row.film), ratio, *quality, *warnings, one_line(row.folder if row.files else "–")])
    lowest = ["lowest estimated Dice"] if estimated else []
    headings = ("film", "cardiothoracic ratio", *lowest, *(["warnings"] if doubtful else []), "written to")
    return table(headings, rows, right=("cardiothoracic ratio", *lowest))
