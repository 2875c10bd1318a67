"""Writing what was found on films: masks, overlays, and a table of all."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cxrkit.data.film_files import PREDICTIONS_LIST, films_below
from cxrkit.data.images import FILM_SUFFIXES
from cxrkit.engine.observer import Observer
from cxrkit.engine.predict import Segmentation, Segmenter
from cxrkit.engine.weights import WeightsSource
from cxrkit.errors import ConfigError, CxrkitError, DataError
from cxrkit.files import csv_text, write_bytes, write_text
from cxrkit.interfaces import STRUCTURE_NAME
from cxrkit.metrics.cardiothoracic import CardiothoracicRatio
from cxrkit.report.overlay import draw_overlay

_TABLE, _OVERLAY = "predictions.csv", "overlay.png"


@dataclass(frozen=True)
class PredictionRow:
    """What was found on one film.

    Attributes:
        film: its file.
        folder: where its pictures lie.
        cardiothoracic_ratio: rounded to four places, or None.
        extents: the columns and rows, in pixels of the film, that the ratio was measured between.
        areas: structure to pixels.
        warnings: signs that all this can't be trusted.
    """

    film: str
    folder: str
    cardiothoracic_ratio: float | None
    extents: CardiothoracicRatio | None
    areas: dict[str, int]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Failure:
    """A film that couldn't be segmented, why, and what to do."""

    film: str
    what: str
    remedy: str


@dataclass(frozen=True)
class Predictions:
    """The films that were segmented and those that couldn't be, and by which weights."""

    rows: tuple[PredictionRow, ...]
    failures: tuple[Failure, ...]
    weights: WeightsSource | None = None

    def as_json(self) -> dict[str, Any]:
        """`{"weights": …, "films": […], "failures": […]}`: what `predictions.json` and `--json` hold."""
        return {
            "weights": None if self.weights is None else asdict(self.weights),
            "films": [asdict(row) for row in self.rows],
            "failures": [asdict(failure) for failure in self.failures],
        }


def predict_films(
    chosen: Sequence[tuple[str, Path]],
    segmenter: Segmenter,
    out: Path,
    *,
    probabilities: bool,
    observer: Observer,
    missing: Sequence[Failure] = (),
) -> Predictions:
    """Segment named films and write their masks and overlays below `out`, and the table of all.

    What an earlier call wrote of a film is removed first, also where it now fails: old masks would pass for new ones.

    Args:
        chosen: names for `out` and files.
        segmenter: the network.
        out: where to write.
        probabilities: also write probabilities.
        observer: hears of the progress.
        missing: what was named but isn't there, for the table.

    Raises:
        StorageError: `out` can't be written to; the table of what was done before is kept if it can be.
    """
    observer.stage("Segmenting", len(chosen))
    former = _former_structures(out / PREDICTIONS_LIST) | set(segmenter.structures)
    done: list[PredictionRow | Failure] = list(missing)
    try:
        for number, (name, path) in enumerate(chosen, start=1):
            try:
                result = segmenter(path)
            except CxrkitError as error:
                _clear(out / name, former)
                done.append(Failure(str(path), error.what, error.remedy))
            else:
                _clear(out / name, former)
                try:
                    done.append(_write(result, path, out / name, probabilities))
                except BaseException:  # Ctrl-C too: half of a film's results would pass for all of them
                    _clear(out / name, former)
                    raise
            observer.advance(number, path.name)
    finally:
        # Nothing that was done shall go untold, by Ctrl-C in the middle of a thousand films say.
        predictions = _collect(done, segmenter.source)
        if done:
            write_text(out / PREDICTIONS_LIST, json.dumps(predictions.as_json(), indent=1) + "\n")
            write_text(out / _TABLE, _csv(done, segmenter))
    return predictions


def _collect(done: Iterable[PredictionRow | Failure], weights: WeightsSource | None) -> Predictions:
    done = list(done)
    rows = tuple(item for item in done if isinstance(item, PredictionRow))
    return Predictions(rows, tuple(item for item in done if isinstance(item, Failure)), weights)


def find_films(paths: Sequence[Path | str], out: Path) -> tuple[list[tuple[str, Path]], list[Failure]]:
    """The films among files and folders, each with a name of its own for what is written of it below `out`.

    The name is that of the film's file without its suffix, with a number where two share one.

    Returns:
        Names and files, and what of `paths` isn't there or is a folder without films.

    Raises:
        DataError: there are no films at all. ConfigError: `out` is a folder of films.
    """
    if not paths:
        raise DataError("No films were given.", "Name files or folders: cxrkit predict FILM.png.")
    found: list[Path] = []
    missing: list[Failure] = []
    for given in map(Path, paths):
        inside = _films_below(given, out) if given.is_dir() else [given]
        if not inside:
            remedy = f"Films end in {', '.join(FILM_SUFFIXES)}, or are DICOM files without a suffix."
            missing.append(Failure(str(given), f"{given}: no films in this folder.", remedy))
        elif not _exists(given):
            remedy = "Check the path; names are case-sensitive."
            missing.append(Failure(str(given), f"{given}: there is no such file.", remedy))
        else:
            found += inside
    if not found:
        raise DataError("\n".join(failure.what for failure in missing), missing[-1].remedy)
    named: dict[str, Path] = {}
    for path in dict.fromkeys(found):
        name, number = film_name(path), 2
        while name in named:
            name, number = f"{film_name(path)}-{number}", number + 1
        named[name] = path
    return list(named.items()), missing


def _exists(path: Path) -> bool:
    try:
        path.stat()
    except FileNotFoundError:
        return False
    except OSError:
        return True  # reading it will tell what is wrong
    return True


def film_name(path: Path) -> str:
    """A film's name: its file's without the suffix of a film. The last number of a DICOM UID is no suffix.

    A name of dots alone, which would be a folder above, becomes `film`.

    >>> film_name(Path("a/scan.PNG")), film_name(Path("a/1.2.840.5")), film_name(Path("1.2.840.5.dcm"))
    ('scan', '1.2.840.5', '1.2.840.5')
    """
    name = path.stem if path.suffix.lower() in FILM_SUFFIXES else path.name
    return name if name.strip(".") else "film"


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


def _former_structures(listing: Path) -> set[str]:
    """The structures that an earlier call wrote masks of; none where there was none, or its list can't be read."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        found = {name for row in json.loads(listing.read_text(encoding="utf-8"))["films"] for name in row["areas"]}
        # The list may be anybody's, and what it names is removed.
        return {name for name in found if re.fullmatch(STRUCTURE_NAME, name)}
    return set()


def _clear(folder: Path, structures: Iterable[str]) -> None:
    """Remove what an earlier call wrote of a film, and its folder unless there is something else in it."""
    with suppress(OSError):
        for name in structures:
            (folder / f"{name}.png").unlink(missing_ok=True)
            (folder / f"{name}-probability.png").unlink(missing_ok=True)
        (folder / _OVERLAY).unlink(missing_ok=True)
        folder.rmdir()


def _write(result: Segmentation, path: Path, folder: Path, probabilities: bool) -> PredictionRow:
    ratio = result.cardiothoracic_ratio
    for name, mask in result.masks.items():
        _write_png(folder / f"{name}.png", mask.astype(np.uint8) * 255)
        if probabilities:
            values = np.rint(result.probabilities[name] * 65535).astype(np.uint16)
            _write_png(folder / f"{name}-probability.png", values)
    drawn = draw_overlay(result.film.pixels, result.masks, ratio=ratio, warnings=result.warnings)
    _write_png(folder / _OVERLAY, cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))
    areas = {name: int(mask.sum()) for name, mask in result.masks.items()}
    value = None if ratio is None else round(ratio.value, 4)
    return PredictionRow(str(path), str(folder), value, ratio, areas, result.warnings)


def _write_png(path: Path, pixels: np.ndarray) -> None:
    # cv2.imwrite kills the process where a path isn't valid Unicode.
    write_bytes(path, cv2.imencode(".png", pixels)[1].tobytes())


def _csv(done: Sequence[PredictionRow | Failure], segmenter: Segmenter) -> str:
    """A line a film in the order of the work; failed ones have an error and nothing else."""
    areas = [f"{name}_pixels" for name in segmenter.structures]
    rows: list[Sequence[object]] = []
    weights = "" if segmenter.source is None else segmenter.source.name or segmenter.source.file
    for item in done:
        if isinstance(item, Failure):
            rows.append([item.film, "", "", *([""] * len(areas)), "", item.what, weights])
            continue
        values: list[Any] = [item.areas[name] for name in segmenter.structures]
        ratio = "" if item.cardiothoracic_ratio is None else item.cardiothoracic_ratio
        rows.append([item.film, item.folder, ratio, *values, "; ".join(item.warnings), "", weights])
    return csv_text(["film", "folder", "cardiothoracic_ratio", *areas, "warnings", "error", "weights"], rows)
