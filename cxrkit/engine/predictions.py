"""Segmenting many films: which they are, what writers make of each, and a table of all."""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from cxrkit.data.film_files import films_below
from cxrkit.data.images import FILM_SUFFIXES
from cxrkit.engine.ensemble import networks_of, with_each
from cxrkit.engine.observer import Observer
from cxrkit.engine.outcomes import Failure, PredictionRow, Predictions, Table, identity, row_of
from cxrkit.engine.predict import Segmenter
from cxrkit.engine.predictor import Predictor
from cxrkit.engine.results_folder import ResultsFolder, mirrored, other_name
from cxrkit.engine.workers import OneAtATime, Workers, sensible_workers
from cxrkit.engine.writing import make_files
from cxrkit.errors import ConfigError, CxrkitError, DataError
from cxrkit.files import checksum, is_folder, remedy_of_missing
from cxrkit.services import Writer


@dataclass(frozen=True)
class _Task:
    """A film to segment: its file, the name of its results, and what an earlier call found in the same way."""

    path: Path
    name: str
    earlier: PredictionRow | None = None


#: What comes of a task: a row with the files to write, a failure, or None, where what was found earlier still holds.
_Outcome = tuple[PredictionRow, dict[str, bytes]] | Failure | None


def predict_films(
    chosen: Sequence[tuple[str, Path]],
    segmenter: Segmenter,
    writers: Sequence[Writer],
    out: Path,
    *,
    observer: Observer,
    missing: Sequence[Failure] = (),
    workers: int | None = 1,
    resume: bool = False,
) -> Predictions:
    """Segment films, and write what writers make of each into its folder below `out`, and the table of all.

    What an earlier call wrote of a film is removed first, also where it now fails: old masks would pass for new ones.
    The table grows film by film.

    Args:
        chosen, missing: what `find_films` returns.
        workers: how many films are segmented side by side; None: as many as make sense. Results don't depend on it.
        resume: leave films alone whose content hasn't changed since the same weights, settings, writers and version
            segmented them, and whose files are still there.

    Raises:
        ConfigError: another call writes to `out`.
        StorageError: `out` can't be written to; the table of what was done before is kept if it can be.
    """
    made_with = _hash_of_settings(segmenter, writers)
    folder = ResultsFolder(out, Table(segmenter.structures, segmenter.weights))
    workers = max(1, min(sensible_workers(len(chosen)) if workers is None else workers, len(chosen)))
    segmenter, fork = side_by_side(segmenter, workers)

    def work(task: _Task) -> _Outcome:
        return _segment(task, segmenter, writers, out, made_with)

    with folder.opened():
        tasks = [_Task(path, folder.name_for(name, path)) for name, path in chosen]
        _say_renamed(chosen, tasks, observer)
        if resume and made_with:
            tasks = [replace(task, earlier=folder.earlier(task.name, made_with)) for task in tasks]
        done: dict[int, PredictionRow | Failure] = {
            number: replace(task.earlier, film=str(task.path)) for number, task in enumerate(tasks) if task.earlier
        }

        kept = 0

        def so_far() -> list[PredictionRow | Failure]:
            return [*missing, *(done[number] for number in sorted(done))]

        try:
            with Workers(work, workers, _crashed, fork=fork) as pool:
                observer.stage("Segmenting", len(tasks))
                for number, outcome in enumerate(pool.map(tasks)):
                    task = tasks[number]
                    kept += outcome is None
                    if outcome is not None:
                        if isinstance(outcome, Failure):
                            done[number] = folder.fail(task.name, outcome)
                        else:
                            done[number] = folder.write(*outcome)
                        folder.add(done[number], so_far, rewrite=task.earlier is not None)
                    observer.advance(number + 1, task.path.name)
        finally:
            # Ctrl-C in the middle of a thousand films must not lose the list of those that are done.
            outcomes = so_far()
            rows = tuple(item for item in outcomes if isinstance(item, PredictionRow))
            failures = tuple(item for item in outcomes if isinstance(item, Failure))
            predictions = Predictions(rows, failures, segmenter.weights, kept)
            if outcomes:
                folder.finish(predictions, outcomes)
    return predictions


def side_by_side(segmenter: Segmenter, workers: int) -> tuple[Segmenter, bool]:
    """A segmenter that several workers may use at a time, and whether they may be forked processes."""

    def shared(one: Predictor) -> Predictor:
        return one if getattr(one, "shared_by_threads", False) else OneAtATime(one)

    fork = all(getattr(one, "shared_by_forks", False) for one in networks_of(segmenter.predictor))
    if workers > 1:  # also where they may be forked: systems other than Linux have threads instead
        segmenter = copy.copy(segmenter)
        segmenter.predictor = with_each(segmenter.predictor, shared)
    return segmenter, fork


def _segment(task: _Task, segmenter: Segmenter, writers: Sequence[Writer], out: Path, made_with: str) -> _Outcome:
    """What comes of a film, in whichever process; whatever is raised is that film's failure."""
    try:
        sha256 = ""
        with suppress(OSError):  # reading it says better what is wrong
            sha256 = checksum(task.path)
        if task.earlier is not None and sha256 == task.earlier.sha256:
            return None
        result = segmenter(task.path)
        files, declined = make_files(writers, result)
        row = row_of(result, task.path, out / task.name, task.name, tuple(files), sha256, made_with)
        return replace(row, declined=declined), files
    except CxrkitError as error:
        return Failure(str(task.path), error.what, error.remedy)
    except MemoryError:
        return Failure(str(task.path), f"{task.path}: there is not enough memory for it.", "Use fewer --workers.")
    except Exception as error:  # the others must still be segmented
        what = f"{task.path}: a defect of cxrkit or a plugin: {type(error).__name__}: {' '.join(str(error).split())}"
        return Failure(str(task.path), what, "Please report it with this film, and leave the film out.")


def _crashed(task: _Task, how: str) -> Failure:
    return Failure(
        str(task.path),
        f"{task.path}: the process that segmented it ended unexpectedly ({how}).",
        "Leave the film out, or export it again: a decoder or plugin crashes on it. SIGKILL is often a lack of memory: "
        "use fewer --workers.",
    )


def _hash_of_settings(segmenter: Segmenter, writers: Sequence[Writer]) -> str:
    """What decides the results beside the film: weights, version, settings and writers; "" where it isn't known."""
    if segmenter.weights is None:
        return ""
    made = [f"{type(one).__module__}.{type(one).__qualname__} {getattr(one, '__dict__', '')}" for one in writers]
    kind = " ".join(type(one).__qualname__ for one in networks_of(segmenter.predictor))
    content = [segmenter.weights.sha256, segmenter.weights.cxrkit, kind, segmenter.settings, made]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _say_renamed(chosen: Sequence[tuple[str, Path]], tasks: Sequence[_Task], observer: Observer) -> None:
    """Say where the results of films go whose own name is another film's."""
    renamed = [
        (name, task) for (name, _), task in zip(chosen, tasks, strict=True) if task.name == other_name(name, task.path)
    ]
    if renamed:
        name, task = renamed[0]
        many = "the results of a film have" if len(renamed) == 1 else f"the results of {len(renamed)} films have"
        observer.say(
            f"Another film's results are not replaced: {many} another name. Those of {task.path} go to {task.name}, "
            f"because {name} is taken."
        )


def find_films(paths: Sequence[Path | str], out: Path) -> tuple[list[tuple[str, Path]], list[Failure]]:
    """The films among files and folders, each with a name for what is written of it below `out`.

    The name is the place of the film's file below the folder that was given, without its suffix. Where several folders
    or films of several folders are given, it is the place below the folder that they all lie in.

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
        inside = _films_below(given, out) if is_folder(given) else [given]
        if not inside:
            remedy = f"Films end in {', '.join(FILM_SUFFIXES)}, or are DICOM files without a suffix."
            missing.append(Failure(str(given), f"{given}: no films in this folder.", remedy))
        elif not _exists(given):
            missing.append(Failure(str(given), f"{given}: there is no such file.", remedy_of_missing(given)))
        else:
            found += inside
    if not found:
        raise DataError(" ".join(failure.what for failure in missing), missing[-1].remedy)
    films: dict[str, Path] = {}
    for path in found:
        films.setdefault(identity(path), path)
    root = _common_folder(map(Path, paths))
    return [(mirrored(Path(key), root, film_name(path)), path) for key, path in films.items()], missing


def _common_folder(given: Iterable[Path]) -> Path:
    """The folder that all given folders and the folders of all given files lie in, or are."""
    folders = {str((path if is_folder(path) else path.parent).resolve()) for path in given}
    try:
        return Path(os.path.commonpath(folders))
    except ValueError:  # several drives
        return Path()


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
