"""Scoring a network on films: briefly while it trains, and in full afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from cxrkit.config import DataConfig, RunConfig, SplitConfig
from cxrkit.data.store import Store
from cxrkit.engine.films import prepare_films, prepare_store
from cxrkit.engine.forward import probabilities
from cxrkit.engine.observer import Observer, Silent
from cxrkit.engine.predictor import Predictor, load_predictor
from cxrkit.engine.provenance import check_fingerprint, check_plugins
from cxrkit.engine.run import RunDirectory
from cxrkit.engine.scores import Evaluation, FilmScores, QuickScores, score_film
from cxrkit.errors import CxrkitError, DataError
from cxrkit.interfaces import BACKGROUND, Batch, Model
from cxrkit.metrics.overlap import dice, soft_dice_pooled, soft_iou_per_channel
from cxrkit.registry import Registry

Part = Literal["test", "validation", "train"]


def quick_scores(model: Model, batches: Iterable[Batch]) -> QuickScores:
    """Overlap scores, batch by batch, of the channels of each film that are known; means over films."""
    found: list[tuple[float, float, float]] = []
    for batch in batches:
        predicted = probabilities(model, batch.images, len(batch)).numpy()
        for p, t, known in zip(predicted, batch.targets.cpu().numpy(), _known(batch), strict=True):
            compared = range(len(p)) if known is None else known
            overlaps = [float(dice(p[c] > 0.5, t[c] > 0.5)) for c in compared if model.channels[c] != BACKGROUND]
            if known is not None:
                p, t = p[known], t[known]
            iou = float(soft_iou_per_channel(p, t).mean())
            found.append((float(soft_dice_pooled(p, t)), iou, float(np.mean(overlaps))))
    dsc, iou, overlap = np.mean(found, axis=0)
    return QuickScores(dsc=float(dsc), iou=float(iou), dice=float(overlap))


def _known(batch: Batch) -> Sequence[list[int] | None]:
    """The known channels of each film, of which a store's films have at least one; None where all are known."""
    if batch.known is None:
        return [None] * len(batch)
    return [row.nonzero().flatten().tolist() for row in batch.known]


def score_films(
    predictor: Predictor, store: Store, indices: Sequence[int], *, batch_size: int, observer: Observer | None = None
) -> tuple[FilmScores, ...]:
    """All scores of some films of a store, which was made with the predictor's preprocessing, a batch at a time."""
    observer = observer or Silent()
    observer.stage("Evaluating", len(indices))
    channels = predictor.channels
    films: list[FilmScores] = []
    for start in range(0, len(indices), batch_size):
        chunk = list(indices[start : start + batch_size])
        batch = store.batch(chunk, background=channels[-1] == BACKGROUND, standardise=predictor.preprocess.standardise)
        predicted = predictor(batch.images.numpy())
        for index, p, t, known in zip(chunk, predicted, batch.targets.numpy(), _known(batch), strict=True):
            film, patient = store.ids[index], store.groups[index]
            shared = None if patient == film else patient
            films.append(score_film(film, channels, p, t, store.spacing(index), shared, known))
            observer.advance(len(films))
    return tuple(films)


def evaluate_run(
    run: RunDirectory,
    registry: Registry,
    *,
    part: Part = "test",
    checkpoint: Literal["auto", "best", "last"] = "auto",
    data: DataConfig | None = None,
    device: str = "auto",
    observer: Observer | None = None,
) -> tuple[Evaluation, Store, Predictor]:
    """Scores of a run's network on a part of its own split, or on those films of other data that are new to it.

    Returns the scores, the store that the films are in, and what predicted them.

    Raises:
        DataError: no such weights, an empty part, or another dataset that lacks a structure.
    """
    observer = observer or Silent()
    check_plugins(run, run.config(), registry, ("model",) if data is not None else ("model", "dataset"))
    weights = run.weights(checkpoint)
    predictor = load_predictor(weights, registry, device=device)
    assert predictor.weights is not None, "a file was loaded"
    store, ids, name = _films(run, registry, predictor.channels, part, data, observer)
    config = run.config()
    films = score_films(
        predictor,
        store,
        [store.ids.index(film) for film in ids],
        batch_size=max(4, config.train.batch_size),
        observer=observer,
    )
    evaluation = Evaluation(
        part=name,
        data=None if data is None else store.content_hash[:8],
        weights=weights.stem,
        step=predictor.weights.step,
        selected_on=_selected_on(weights, config),
        films=films,
    )
    return evaluation, store, predictor


def _films(
    run: RunDirectory,
    registry: Registry,
    channels: Sequence[str],
    part: Part,
    data: DataConfig | None,
    observer: Observer,
) -> tuple[Store, tuple[str, ...], str]:
    """The store, the ids to score and the name of the part."""
    config = run.config()
    if data is not None:
        structures = [name for name in channels if name != BACKGROUND]
        other = config.model_copy(update={"data": data, "structures": structures})
        store = prepare_store(other, registry, observer)
        label = data.name if data.root is None else f"{data.name}-{Path(data.root).name}"
        return store, _unseen(run, registry, store, observer), label
    split = SplitConfig(file=run.split_file) if run.split_file.is_file() else config.split
    films = prepare_films(config.model_copy(update={"split": split}), registry, observer)
    check_fingerprint(run, films)
    ids = {"test": films.split.test, "validation": films.split.validation, "train": films.split.train}[part]
    if not ids:
        raise DataError(f"{run.path}: this run's {part} part has no films.", "Evaluate another --part.")
    return films.store, ids, part


def _unseen(run: RunDirectory, registry: Registry, store: Store, observer: Observer) -> tuple[str, ...]:
    """The films of other data that neither trained nor validated a run's network, whatever their files' names."""
    config = run.config()
    split = SplitConfig(file=run.split_file) if run.split_file.is_file() else config.split
    try:
        own = prepare_films(config.model_copy(update={"split": split}), registry, observer)
    except CxrkitError as error:
        observer.say(f"It cannot be determined whether some of these films trained this network: {error.what}")
        return tuple(store.ids)
    seen = set(own.store.image_hashes(own.indices((*own.split.train, *own.split.validation))))
    hashes = store.image_hashes(range(len(store)))
    kept = tuple(film for film, found in zip(store.ids, hashes, strict=True) if found not in seen)
    if left_out := len(store) - len(kept):
        if not kept:
            raise DataError(
                f"{run.path}: all {left_out} films trained or validated this network.", "Give films that are new to it."
            )
        observer.say(f"{left_out} of the {len(store)} films trained or validated this network: they are left out.")
    return kept


def _selected_on(weights: Path, config: RunConfig) -> Literal["validation", "test", "nothing"]:
    if weights.stem != "best":
        return "nothing"
    return "test" if config.train.protocol == "paper" else "validation"
