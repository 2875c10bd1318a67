"""Segmenting many films: which they are, what writers make of each, and a table of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cxrkit.data.film_files import films_below
from cxrkit.data.images import FILM_SUFFIXES
from cxrkit.engine.observer import Observer
from cxrkit.engine.predict import Segmenter
from cxrkit.engine.writing import ResultsFolder, make_files
from cxrkit.errors import ConfigError, CxrkitError, DataError
from cxrkit.files import csv_text, remedy_of_missing, write_text
from cxrkit.interfaces import Writer
from cxrkit.segmentation import CardiothoracicRatio, Segmentation, WeightsSource


@dataclass(frozen=True)
class PredictionRow:
    """What was found on one film.

    Attributes:
        film: its file.
        folder: where its results are.
        cardiothoracic_ratio: rounded to four places, or None.
        extents: the columns and rows, in pixels of the film, that the ratio was measured between.
        areas: structure to pixels.
        warnings: signs that all this can't be trusted.
        files: the names of what was written into its folder.
    """

    film: str
    folder: str
    cardiothoracic_ratio: float | None
    extents: CardiothoracicRatio | None
    areas: dict[str, int]
    warnings: tuple[str, ...]
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failure:
    """A film that couldn't be segmented or written, why, and what to do."""

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
    writers: Sequence[Writer],
    out: Path,
    *,
    observer: Observer,
    missing: Sequence[Failure] = (),
) -> Predictions:
    """Segment films, and write what writers make of each into its folder below `out`, and the table of all.

    What an earlier call wrote of a film is removed first, also where it now fails: old masks would pass for new ones.
    `chosen` and `missing` are what `find_films` returns.

    Raises:
        StorageError: `out` can't be written to; the table of what was done before is kept if it can be.
    """
    observer.stage("Segmenting", len(chosen))
    folder = ResultsFolder(out)
    done: list[PredictionRow | Failure] = list(missing)
    written: list[str] = []
    try:
        for number, (name, path) in enumerate(chosen, start=1):
            try:
                result = segmenter(path)
                files = make_files(writers, result)
            except CxrkitError as error:
                folder.clear(name)
                done.append(Failure(str(path), error.what, error.remedy))
            else:
                done.append(_row(result, path, out / name, folder.write(name, files)))
                written.append(name)
            observer.advance(number, path.name)
    finally:
        # Ctrl-C in the middle of a thousand films must not lose the list of those that are done.
        rows = tuple(item for item in done if isinstance(item, PredictionRow))
        failures = tuple(item for item in done if isinstance(item, Failure))
        predictions = Predictions(rows, failures, segmenter.weights)
        if done:
            folder.save_list(predictions.as_json(), written)
            write_text(out / "predictions.csv", _csv(done, segmenter))
    return predictions


def _row(result: Segmentation, path: Path, folder: Path, files: tuple[str, ...]) -> PredictionRow:
    ratio = result.cardiothoracic_ratio
    areas = {name: int(mask.sum()) for name, mask in result.masks.items()}
    value = None if ratio is None else round(ratio.value, 4)
    return PredictionRow(str(path), str(folder), value, ratio, areas, result.warnings, files)


def find_films(paths: Sequence[Path | str], out: Path) -> tuple[list[tuple[str, Path]], list[Failure]]:
    """The films among files and folders, each with its own name for what is written of it below `out`.

    The name is that of the film's file without its suffix, with a number where two share one.

    Returns:
        Names and files, and what of `paths` doesn't exist or is a folder without films.

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
            missing.append(Failure(str(given), f"{given}: there is no such file.", remedy_of_missing(given)))
        else:
            found += inside
    if not found:
        raise DataError(" ".join(failure.what for failure in missing), missing[-1].remedy)
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
        return True  # reading it will show what is wrong
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


def _csv(done: Sequence[PredictionRow | Failure], segmenter: Segmenter) -> str:
    """A line per film in the order of the work; failed ones have an error and nothing else."""
    areas = [f"{name}_pixels" for name in segmenter.structures]
    rows: list[Sequence[object]] = []
    weights = "" if segmenter.weights is None else segmenter.weights.name or segmenter.weights.file
    for item in done:
        if isinstance(item, Failure):
            rows.append([item.film, "", "", *([""] * len(areas)), "", item.what, weights])
            continue
        values: list[Any] = [item.areas[name] for name in segmenter.structures]
        ratio = "" if item.cardiothoracic_ratio is None else item.cardiothoracic_ratio
        rows.append([item.film, item.folder, ratio, *values, "; ".join(item.warnings), "", weights])
    return csv_text(["film", "folder", "cardiothoracic_ratio", *areas, "warnings", "error", "weights"], rows)
