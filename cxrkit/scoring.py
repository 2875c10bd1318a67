"""Scores of any weights and of masks that exist, and measurements of such masks, for Python."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from cxrkit import inference
from cxrkit.config import DataConfig, RunConfig, make_config
from cxrkit.data.mask_files import MaskFolder
from cxrkit.data.sources import parse_data
from cxrkit.data.splits import Split
from cxrkit.engine.comparable import common_structures, to_read
from cxrkit.engine.evaluate import Part, selected_on, unseen_films
from cxrkit.engine.films import prepare_store
from cxrkit.engine.full_size import (
    AnnotatedFilms,
    Candidate,
    Comparison,
    MasksCandidate,
    NetworkCandidate,
    score_candidates,
)
from cxrkit.engine.measures import TOLERANCE
from cxrkit.engine.measuring import Measurements, measure_folder
from cxrkit.engine.observer import Observer, Silent
from cxrkit.engine.postprocessing import Choice
from cxrkit.engine.run import RunDirectory
from cxrkit.engine.weights import find_weights
from cxrkit.errors import ConfigError, DataError
from cxrkit.plugins import registry
from cxrkit.report.panels import at_full_size, choose_panels
from cxrkit.report.write import write_comparison


def score(
    weights: Sequence[Path | str | Sequence[Path | str]] = (),
    *,
    data: DataConfig | Path | str | Sequence[DataConfig | Path | str],
    masks: Sequence[Path | str] = (),
    labels: Mapping[str, int] | None = None,
    mask_threshold: int | None = None,
    structures: Sequence[str] | None = None,
    split: Path | str | None = None,
    part: Part = "test",
    checkpoint: Literal["auto", "best", "last"] = "auto",
    tolerance: float | None = None,
    postprocess: Choice = None,
    tta: bool = False,
    device: str = "auto",
    out: Path | str | None = None,
    observer: Observer | None = None,
) -> Comparison:
    """Score networks, and masks that another tool or a person drew, on the same films at the films' own size.

    Args:
        weights: runs' folders, files of weights, exported networks, or names of weights that packages provide; several
            in a list are scored as one, by the mean of their probabilities. Films that a run's network was trained or
            validated on are left out for all.
        data: as in `train`: the films, with the true masks.
        masks: folders of masks, each as `predict` writes them (`FILM/STRUCTURE.png`), as datasets have them
            (`STRUCTURE/FILM.png`), or with `labels` as pictures of class numbers (`FILM.png`).
        labels: structures and their class numbers in such pictures.
        mask_threshold: masks are what is brighter; None: they have no greys.
        structures: only these; by default all that the data have in common with each.
        split: a run's `split.json`: only the films of its `part`.
        checkpoint: of runs, as in `evaluate`.
        tolerance: of NSD, in millimetres; by default 2.
        postprocess: of the scores "after", as in `load`.
        tta: as in `load`.
        device: as in training.
        out: a folder for tables, pictures, and the scores film by film.
        observer: is informed of the progress, and of what is left out.

    Returns:
        Scores of each, weights first, and the films that were left out because they or masks of them can't be used.

    Raises:
        CxrkitError: there is nothing to score, no such weights, masks or data, or none of their structures or films.
    """
    observer, components = observer or Silent(), registry()
    if not weights and not masks:
        raise ConfigError("There is nothing to score.", "Name a run, weights, or a folder of masks.")
    config = make_config(
        {"data": [one.model_dump() for one in _listed(parse_data(data, components.components("dataset")))]}
    )
    films = AnnotatedFilms(config, components)
    ids = films.ids if split is None else _of_split(films, Path(split), part)
    expected = [name for names in films.places.values() for name in names]
    folders = [MaskFolder(Path(folder), labels=labels, threshold=mask_threshold, expected=expected) for folder in masks]
    candidates: list[Candidate] = []
    for group in weights:
        names = [str(group)] if isinstance(group, Path | str) else [str(one) for one in group]
        members = [_weights_of(name, checkpoint) for name in names]
        segmenter = inference.load(
            [file for file, _ in members], device=device, postprocess=postprocess, tta=tta, quality=False
        )
        (file, run), *others = members
        chosen = "unknown" if run is None or others else selected_on(Path(file), run.config())
        called = " + ".join(names) + " with --tta" * tta
        candidates.append(NetworkCandidate(called, segmenter, postprocess, components, chosen))
        for name, (_, run) in zip(names, members, strict=True):
            if run is None:
                observer.say(f"{name}: whether the network was trained on some of these films isn't stored with it.")
                continue
            new = _new_to(run, candidates[-1].structures, config, structures, observer)
            ids = [film for film in ids if film in new]
    if not ids:
        raise DataError("No film is left to score.", "Name data that is new to all of the networks.")
    candidates += map(MasksCandidate, folders)
    found = score_candidates(
        candidates,
        films,
        ids,
        structures=structures,
        tolerance=TOLERANCE if tolerance is None else tolerance,
        observer=observer,
    )
    if out is not None:
        names = _file_names([one.name for one in candidates])
        needed = to_read([name for one in found.evaluations for name in one.structures], expected)
        panels = {
            name: choose_panels(evaluation, at_full_size(films, one, needed))
            for name, one, evaluation in zip(names, candidates, found.evaluations, strict=True)
        }
        write_comparison(Path(out), dict(zip(names, found.evaluations, strict=True)), panels, found.failures)
    return found


def _listed(data: DataConfig | list[DataConfig]) -> list[DataConfig]:
    return data if isinstance(data, list) else [data]


def _weights_of(name: str, checkpoint: Literal["auto", "best", "last"]) -> tuple[Path | str, RunDirectory | None]:
    """What `load` takes, and the run that it belongs to, if it does: its training films are known."""
    file, provided = find_weights(name, registry())
    if provided is not None:
        return name, None
    if file.is_dir():
        run = RunDirectory.open(file)
        return run.weights(checkpoint), run
    within = file.parent.parent
    is_checkpoint = file.parent.name == "checkpoints" and (within / "config.yaml").is_file()
    return file, RunDirectory.open(within) if is_checkpoint else None


def _new_to(
    run: RunDirectory,
    channels: Sequence[str],
    config: RunConfig,
    structures: Sequence[str] | None,
    observer: Observer,
) -> set[str]:
    """The films that a run's network was neither trained nor validated on."""
    places = AnnotatedFilms(config, registry()).places
    chosen = common_structures(str(run.path), channels, places, structures, Silent())
    read = to_read(chosen, [name for names in places.values() for name in names])
    other = run.config().model_copy(update={"data": config.data, "structures": list(read)})
    store = prepare_store(other, registry(), observer)
    return {store.ids[index] for index in unseen_films(run, registry(), store, observer)}


def _of_split(films: AnnotatedFilms, file: Path, part: Part) -> list[str]:
    ids: tuple[str, ...] = getattr(Split.load(file), part)
    known = set(films.ids)
    kept = [film for film in ids if film in known]
    if len(kept) < len(ids) or not ids:
        missing = next((film for film in ids if film not in known), None)
        fault = f"{len(ids) - len(kept)} of them aren't in the data, such as '{missing}'" if ids else "it has none"
        raise DataError(f"{file}: {len(ids)} {part} films; {fault}.", "Give the split of this data, or another --part.")
    return kept


def _file_names(names: Sequence[str]) -> list[str]:
    """Stems of files for candidates: the last part of a path, numbered where it isn't the only one of its kind."""
    found: list[str] = []
    for name in names:
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(name).name).strip(".-") or "scores"
        same = sum(re.fullmatch(rf"{re.escape(stem)}(-\d+)?", other) is not None for other in found)
        found.append(f"{stem}-{same + 1}" if same else stem)
    return found


def measure(
    folder: Path | str,
    *,
    labels: Mapping[str, int] | None = None,
    mask_threshold: int | None = None,
    spacing: float | None = None,
    observer: Observer | None = None,
) -> Measurements:
    """Cardiothoracic ratio, areas and extents of masks that exist, without a network.

    Args:
        folder, labels, mask_threshold: the masks, as in `score`.
        spacing: millimetres per pixel of all films; None: as `predict` has stored it in the folder, if it has.
        observer: is informed of the progress.

    Returns:
        What was measured on each film, and the films that can't be used.

    Raises:
        CxrkitError: there is no such folder, or it has no masks.
    """
    if spacing is not None and not 0 < spacing < 1000:
        raise ConfigError(f"A spacing of {spacing} mm per pixel can't be used.", "Give a positive number, such as 0.2.")
    read = MaskFolder(Path(folder), labels=labels, threshold=mask_threshold)
    return measure_folder(read, spacing, observer or Silent())
