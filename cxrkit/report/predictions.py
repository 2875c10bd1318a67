"""Writing what was found on films: masks, overlays, and a table of all."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cxrkit.data.images import FILM_SUFFIXES
from cxrkit.data.unlabelled import films_below
from cxrkit.engine.observer import Observer
from cxrkit.engine.predict import Segmentation, Segmenter
from cxrkit.errors import ConfigError, CxrkitError, DataError
from cxrkit.files import write_bytes, write_text
from cxrkit.report.overlay import draw_overlay


@dataclass(frozen=True)
class PredictionRow:
    """What was found on one film: where its pictures lie, areas in pixels, and the cardiothoracic ratio."""

    film: str
    folder: str
    cardiothoracic_ratio: float | None
    areas: dict[str, int]


@dataclass(frozen=True)
class Failure:
    """A film that couldn't be segmented, why, and what to do."""

    film: str
    what: str
    remedy: str


@dataclass(frozen=True)
class Predictions:
    """The films that were segmented and those that couldn't be."""

    rows: tuple[PredictionRow, ...]
    failures: tuple[Failure, ...]


def predict_films(
    chosen: Sequence[tuple[str, Path]], segmenter: Segmenter, out: Path, *, probabilities: bool, observer: Observer
) -> Predictions:
    """Segment named films and write their masks and overlays below `out`, and the table of all.

    Raises:
        StorageError: `out` can't be written to; the table of what was done before is kept if it can be.
    """
    observer.stage("Segmenting", len(chosen))
    rows: list[PredictionRow] = []
    failures: list[Failure] = []
    try:
        for done, (name, path) in enumerate(chosen, start=1):
            try:
                result = segmenter(path)
            except CxrkitError as error:
                failures.append(Failure(str(path), error.what, error.remedy))
            else:
                rows.append(_write(result, path, out / name, probabilities))
            observer.advance(done, path.name)
    finally:
        # Nothing that was done shall go untold, by Ctrl-C in the middle of a thousand films say.
        if rows or failures:
            write_text(out / "predictions.json", json.dumps([asdict(row) for row in rows], indent=1) + "\n")
            write_text(out / "predictions.csv", _csv(rows, segmenter.structures))
    return Predictions(tuple(rows), tuple(failures))


def find_films(paths: Sequence[Path | str], out: Path) -> list[tuple[str, Path]]:
    """The films among files and folders, each with a name of its own for what is written of it below `out`.

    The name is the film's stem, with a number where two share one.

    Raises:
        DataError: there are none. ConfigError: `out` is a folder of films.
    """
    found: list[Path] = []
    for given in map(Path, paths):
        if given.is_dir():
            inside = _films_below(given, out)
            if not inside:
                raise DataError(f"{given}: no films in this folder.", f"Films end in {', '.join(FILM_SUFFIXES)}.")
            found += inside
        else:
            found.append(given)
    if not found:
        raise DataError("No films were given.", "Name files or folders: cxrkit predict FILM.png --weights runs/x.")
    named: dict[str, Path] = {}
    for path in dict.fromkeys(found):
        name, number = path.stem, 2
        while name in named:
            name, number = f"{path.stem}-{number}", number + 1
        named[name] = path
    return list(named.items())


def _films_below(folder: Path, out: Path) -> list[Path]:
    """The films in a folder and its subfolders, without those that predicting itself has written.

    Raises:
        ConfigError: the results are to lie among the films.
    """
    results = out.resolve()
    if folder.resolve() == results:
        raise ConfigError(
            f"--out {out}: is the folder of the films; masks would be taken for films the next time.",
            f"Choose another folder, such as --out {out / 'predictions'}.",
        )
    return [path for path in films_below(folder) if not path.parent.resolve().is_relative_to(results)]


def _write(result: Segmentation, path: Path, folder: Path, probabilities: bool) -> PredictionRow:
    ratio = result.cardiothoracic_ratio
    for name, mask in result.masks.items():
        _write_png(folder / f"{name}.png", mask.astype(np.uint8) * 255)
        if probabilities:
            values = np.rint(result.probabilities[name] * 65535).astype(np.uint16)
            _write_png(folder / f"{name}-probability.png", values)
    drawn = draw_overlay(result.film.pixels, result.masks, ratio=ratio)
    _write_png(folder / "overlay.png", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))
    areas = {name: int(mask.sum()) for name, mask in result.masks.items()}
    return PredictionRow(str(path), str(folder), None if ratio is None else round(ratio.value, 4), areas)


def _write_png(path: Path, pixels: np.ndarray) -> None:
    # cv2.imwrite kills the process where a path isn't valid Unicode.
    write_bytes(path, cv2.imencode(".png", pixels)[1].tobytes())


def _csv(rows: Sequence[PredictionRow], structures: Sequence[str]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["film", "folder", "cardiothoracic_ratio", *(f"{name}_pixels" for name in structures)])
    for row in rows:
        values: list[Any] = [row.areas[name] for name in structures]
        ratio = "" if row.cardiothoracic_ratio is None else row.cardiothoracic_ratio
        writer.writerow([row.film, row.folder, ratio, *values])
    return stream.getvalue()
