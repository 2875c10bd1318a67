"""`cxrkit suggest`: which films of a folder to draw first.

By difference, the first film is the one in the middle of all, and each further one is the film that is farthest from
those chosen (Gonzalez 1985; for learning, Sener and Savarese 2018, arXiv:1708.00489). Films are compared by what the
network itself sees in them, its features where they are coarsest. By quality, the films are those on which the
network's masks are worst, as far as it can tell. The same films give the same suggestion.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from cxrkit.commands import (
    ANY_WEIGHTS,
    ConfigError,
    DataError,
    DeviceFlag,
    Json,
    Quiet,
    csv_text,
    films_below,
    option,
    progress,
    say,
    show,
    show_json,
    storage_error,
    table,
    warn,
    write_bytes,
)
from cxrkit_clinic.looks import Choice, Look, look_at
from cxrkit_clinic.same_files import same_content

if TYPE_CHECKING:
    from cxrkit import Segmentation, Segmenter

#: Some films could not be used; the others are considered.
_SOME_FAILED = 3
_SHEET, _PER_ROW = 300, 5


@dataclass(frozen=True)
class Suggestion:
    """A film to draw.

    Attributes:
        rank: from 1, the first to draw.
        film: its file.
        distance: to the nearest film that is chosen or labelled already, in standard deviations of the features; None
            for the first film, and where films are chosen by quality.
        quality: as in a `Look`.
        warnings: as in a `Look`.
    """

    rank: int
    film: str
    distance: float | None
    quality: float | None
    warnings: tuple[str, ...]


def suggest(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Films; subfolders count.", show_default=False)],
    count: Annotated[int, typer.Option(min=1, metavar="N", help="How many films to suggest.")] = 10,
    by: Annotated[
        Choice,
        typer.Option(help="What differs most from each other, or what the network segments worst."),
    ] = "difference",
    labelled: Annotated[
        Path | None,
        option(
            "--labelled",
            "Films that have masks already, such as DATASET/images: they aren't suggested again, and others should "
            "differ from them too.",
            metavar="FOLDER",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        option("--weights", ANY_WEIGHTS, metavar="RUN|FILE|NAME", default="those that come with cxrkit"),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Folder for the contact sheet, and the list as CSV and JSON."),
    ] = Path("suggestions"),
    copy: Annotated[bool, typer.Option("--copy", help="Also copy the suggested films, to DIR/images.")] = False,
    device: DeviceFlag = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Suggest which films of a folder to label first.

    By difference the first film is the most typical one, and each further one the film that differs most from those
    before. A film that can't be read is reported and left out; the exit code is then 3.
    """
    import cxrkit

    drawn = [] if labelled is None else _films(labelled, out)
    films = _films(folder, out)
    if drawn:
        films = _without(films, drawn)
    if not films:
        raise DataError(f"{folder}: all films are labelled already.", "Name a folder with others.")
    with progress(quiet=quiet) as observer:
        segmenter = cxrkit.load(weights, device=device)
        looks, failures = look_at(films, segmenter, by, observer)
        known = look_at(drawn, segmenter, by, observer)[0] if drawn and by == "difference" else []
        if not looks:
            raise DataError(f"{folder}: none of the {len(films)} films can be used. {failures[0][1]}")
        chosen = choose(looks, count, by, known)
        _write(out, chosen, segmenter, copy=copy)
    if count > len(looks):
        warn(f"There are only {len(looks)} films: all are suggested.")
    if as_json:
        show_json(
            {
                "films": [asdict(one) for one in chosen],
                "failures": [dict(zip(("film", "what"), one, strict=True)) for one in failures],
            }
        )
    else:
        show(_table(chosen))
    for film, what in failures:
        warn(f"{film}: left out: {what}")
    if not quiet:
        say(f"Contact sheet: {out / 'contact-sheet.png'}; list: {out / 'suggestions.csv'}")
    if failures:
        raise typer.Exit(_SOME_FAILED)


def choose(looks: Sequence[Look], count: int, by: Choice, labelled: Sequence[Look] = ()) -> list[Suggestion]:
    """The films to draw first, in their order; at most as many as there are.

    Args:
        looks: at the films; what is equal is taken in the order of names.
        count: how many to choose.
        by: `difference` from each other and from the `labelled`, or lowest `quality`.
    """
    ordered = sorted(looks, key=lambda look: str(look.film))
    if by == "quality":
        worst = sorted(ordered, key=lambda look: math.inf if look.quality is None else look.quality)[:count]
        return [_suggestion(rank, look, None) for rank, look in enumerate(worst, 1)]
    features = np.stack([look.features for look in (*ordered, *labelled)])
    scale = features.std(axis=0)
    # Per feature, so that a distance means the same whatever the network's width is.
    features = (features - features.mean(axis=0)) / np.where(scale > 0, scale, 1) / math.sqrt(features.shape[1])
    own = features[: len(ordered)]
    nearest = np.full(len(own), np.inf)
    for feature in features[len(own) :]:
        nearest = np.minimum(nearest, np.linalg.norm(own - feature, axis=1))
    chosen: list[Suggestion] = []
    taken = np.zeros(len(own), dtype=bool)
    for rank in range(1, min(count, len(own)) + 1):
        first = not labelled and rank == 1
        middle = np.round(np.linalg.norm(own - own.mean(axis=0), axis=1), 9)  # so that names decide between equals
        place = int(np.argmin(middle)) if first else int(np.argmax(np.where(taken, -1, np.round(nearest, 9))))
        chosen.append(_suggestion(rank, ordered[place], None if first else round(float(nearest[place]), 4)))
        taken[place] = True
        nearest = np.minimum(nearest, np.linalg.norm(own - own[place], axis=1))
    return chosen


def _suggestion(rank: int, look: Look, distance: float | None) -> Suggestion:
    quality = None if look.quality is None else round(look.quality, 4)
    return Suggestion(rank, str(look.film), distance, quality, look.warnings)


def _films(folder: Path, out: Path) -> list[Path]:
    """The films of a folder, without what was written to `out`."""
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder.", "Check the path.")
    if folder.resolve() == out.resolve():
        raise ConfigError(
            f"--out {out}: is the folder of the films.", f"Choose another, such as --out {out / 'suggestions'}."
        )
    films = [film for film in films_below(folder) if not film.resolve().is_relative_to(out.resolve())]
    if not films:
        raise DataError(f"{folder}: there are no films in this folder.", "Name a folder of films.")
    return films


def _without(films: Sequence[Path], others: Sequence[Path]) -> list[Path]:
    """The films that aren't among others, whatever those are called."""
    sizes: dict[int, list[Path]] = {}
    for other in others:
        sizes.setdefault(_size(other), []).append(other)
    return [film for film in films if not any(same_content(film, other) for other in sizes.get(_size(film), []))]


def _size(file: Path) -> int:
    """Bytes; -1 of a file that can't be looked at."""
    with suppress(OSError):
        return file.stat().st_size
    return -1


def _write(out: Path, chosen: Sequence[Suggestion], segmenter: Segmenter, *, copy: bool) -> None:
    """The list as CSV and JSON, the contact sheet, and perhaps copies of the films."""
    headings = ("rank", "film", "distance", "quality", "warnings")
    rows = [
        [
            "" if cell is None else cell
            for cell in (one.rank, one.film, one.distance, one.quality, "; ".join(one.warnings))
        ]
        for one in chosen
    ]
    copies = _copy(chosen, out) if copy else []
    write_bytes(out / "suggestions.csv", csv_text(headings, rows).encode("utf-8", "surrogateescape"))
    content = json.dumps({"films": [asdict(one) for one in chosen], "copies": copies}, indent=1)
    write_bytes(out / "suggestions.json", f"{content}\n".encode())
    write_bytes(out / "contact-sheet.png", contact_sheet([(one, segmenter(Path(one.film))) for one in chosen]))


def _copy(chosen: Sequence[Suggestion], out: Path) -> list[str]:
    """Copy the films to `out/images`, in place of those that an earlier call copied there; the copies' names."""
    folder, names = out / "images", list[str]()
    for one in chosen:
        name = Path(one.film).name
        names.append(name if name not in names else f"{one.rank}-{name}")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(one.film, folder / names[-1])
        except OSError as error:
            raise storage_error(folder / names[-1], error) from error
    with suppress(OSError, ValueError, TypeError, AttributeError):
        earlier = json.loads((out / "suggestions.json").read_text(encoding="utf-8")).get("copies", [])
        for name in {Path(name).name for name in earlier} - {*names}:
            (folder / name).unlink(missing_ok=True)
    return names


def contact_sheet(films: Sequence[tuple[Suggestion, Segmentation]]) -> bytes:
    """A PNG with a small picture of each film and its masks, its rank and name, in rows."""
    import io

    import cv2
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from cxrkit import draw_overlay
    from cxrkit_clinic.server.work import aspect_of

    rows = -(-len(films) // _PER_ROW)
    columns = min(_PER_ROW, len(films))
    figure = Figure(figsize=(columns * 2.2, rows * 2.5), dpi=150, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    for axes in (grid := figure.subplots(rows, columns, squeeze=False)).flat:
        axes.set_axis_off()
    for axes, (one, result) in zip(grid.flat, films, strict=False):
        height, width = result.film.pixels.shape
        scale = min(1.0, _SHEET / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        pixels = cv2.resize(result.film.pixels, size, interpolation=cv2.INTER_AREA)
        masks = {
            name: cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
            for name, mask in result.masks.items()
        }
        axes.imshow(draw_overlay(pixels, masks, legend=False), aspect=aspect_of(result.film))
        name = Path(one.film).name.encode("utf-8", "replace").decode()
        axes.set_title(f"{one.rank}  {name if len(name) <= 26 else name[:25] + '…'}", fontsize=7, parse_math=False)
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()


def _table(chosen: Sequence[Suggestion]) -> Any:
    by_quality = any(one.quality is not None for one in chosen)
    rows = []
    for one in chosen:
        number = one.quality if by_quality else one.distance
        rows.append([str(one.rank), one.film, "–" if number is None else f"{number:.3f}", "\n".join(one.warnings)])
    return table(("rank", "film", "quality" if by_quality else "difference", "warnings"), rows)
