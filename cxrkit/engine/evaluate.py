"""Scoring a network on films: briefly while it trains, and in full afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np

from cxrkit.component_config import DataConfigs
from cxrkit.config import ComponentConfig, RunConfig
from cxrkit.data.store import Store
from cxrkit.engine.checkpoint import amend_card
from cxrkit.engine.comparable import common_structures, comparable, name_of, structures_by_place, to_read
from cxrkit.engine.films import prepare_films, prepare_store
from cxrkit.engine.forward import probabilities
from cxrkit.engine.measures import film_pair
from cxrkit.engine.observer import Observer, Silent
from cxrkit.engine.postprocessing import Choice, find_postprocess
from cxrkit.engine.predictor import Predictor, finite_probabilities, load_predictor
from cxrkit.engine.provenance import check_fingerprint, check_plugins
from cxrkit.engine.run import RunDirectory
from cxrkit.engine.scores import Evaluation, FilmScores, score_film
from cxrkit.errors import ConfigError, CxrkitError, DataError, NotFiniteError, PluginError, located
from cxrkit.interfaces import BACKGROUND, Batch, Model
from cxrkit.metrics.overlap import dice, soft_dice_pooled, soft_iou_per_channel
from cxrkit.registry import Registry
from cxrkit.services import Postprocess

Part = Literal["test", "validation", "train"]


def quick_scores(model: Model, batches: Iterable[Batch]) -> dict[str, float]:
    """Means over films of the scores of their known channels, in [0, 1].

    `dsc` and `iou` are the paper's, `dice` is the honest Dice coefficient, averaged over structures without background.

    Raises:
        NotFiniteError: the network gives values that aren't finite.
    """
    found: list[tuple[float, float, float]] = []
    for batch in batches:
        predicted = probabilities(model, batch.images, len(batch)).numpy()
        if not np.isfinite(predicted).all():
            raise NotFiniteError("The network gives values that are not finite.")
        for p, t, known in zip(predicted, batch.targets.cpu().numpy(), _known(batch), strict=True):
            compared = range(len(p)) if known is None else known
            overlaps = [dice(p[c] > 0.5, t[c] > 0.5) for c in compared if model.channels[c] != BACKGROUND]
            if known is not None:
                p, t = p[known], t[known]
            iou = float(soft_iou_per_channel(p, t).mean())
            found.append((soft_dice_pooled(p, t), iou, float(np.mean(overlaps))))
    return dict(zip(("dsc", "iou", "dice"), np.mean(found, axis=0).tolist(), strict=True))


def _known(batch: Batch) -> Sequence[list[int] | None]:
    """The known channels of each film, of which a store's films have at least one; None where all are known."""
    if batch.known is None:
        return [None] * len(batch)
    return [row.nonzero().flatten().tolist() for row in batch.known]


def score_films(
    predictor: Predictor,
    store: Store,
    indices: Sequence[int],
    *,
    batch_size: int,
    postprocess: Postprocess | None = None,
    observer: Observer | None = None,
) -> tuple[FilmScores, ...]:
    """All scores of some films of a store, which was made with the predictor's preprocessing, a batch at a time.

    Raises:
        NotFiniteError: the predictor gives values that aren't finite.
    """
    true, films = _true_channels(predictor, store), []
    for index, p, t, known in _predictions(predictor, store, indices, batch_size, observer or Silent()):
        film, patient = store.ids[index], store.groups[index]
        shared = None if patient == film else patient
        place, dataset = store.spacing(index), store.entries[index].dataset or None
        films.append(score_film(film, predictor.channels, p, t, place, shared, known, postprocess, dataset, true))
    return tuple(films)


def _true_channels(predictor: Predictor, store: Store) -> tuple[str, ...]:
    """The channels of a store's targets: the background is comparable if the store has all structures beside it."""
    structures = {name for name in predictor.channels if name != BACKGROUND}
    comparable = predictor.channels[-1] == BACKGROUND and structures <= set(store.structures)
    return store.channels(background=comparable)


def _predictions(
    predictor: Predictor, store: Store, indices: Sequence[int], batch_size: int, observer: Observer
) -> Iterator[tuple[int, np.ndarray, np.ndarray, list[int] | None]]:
    """Of each film its place, probabilities `(C, S, S)`, targets of `_true_channels`, and which of those are known."""
    observer.stage("Evaluating", len(indices))
    background = BACKGROUND in _true_channels(predictor, store)
    for start in range(0, len(indices), batch_size):
        chunk = list(indices[start : start + batch_size])
        batch = store.batch(chunk, background=background, standardise=predictor.preprocess.standardise)
        predicted = finite_probabilities(predictor, batch.images.numpy())
        for done, item in enumerate(zip(chunk, predicted, batch.targets.numpy(), _known(batch), strict=True)):
            yield item
            observer.advance(start + done + 1)


def evaluate_run(
    run: RunDirectory,
    registry: Registry,
    *,
    part: Part = "test",
    checkpoint: Literal["auto", "best", "last"] = "auto",
    data: DataConfigs | None = None,
    structures: Sequence[str] | None = None,
    postprocess: Choice = None,
    device: str = "auto",
    observer: Observer | None = None,
) -> tuple[Evaluation, Store, Predictor]:
    """Scores of a run's network on a part of its own split, or on those films of other data that are new to it.

    On other data they are of the `structures` that both have, by default all of them. Scores after post-processing are
    of `postprocess`. "auto" tries all that are installed on the validation films, and stores the one with the best Dice
    in the description of the weights.

    Returns the scores, the store that the films are in, and what predicted them.

    Raises:
        DataError: no such weights, weights that give values that aren't finite, an empty part, or other data that has
            none of the structures, or not those asked for.
    """
    observer = observer or Silent()
    config = run.config()
    check_plugins(run, config, registry, ("model",) if data is not None else ("model", "dataset"))
    weights = run.weights(checkpoint)
    predictor = load_predictor(weights, registry, device=device)
    assert predictor.weights is not None, "a file was loaded"
    if postprocess == "auto":
        postprocess = _choose_postprocess(run, registry, weights, predictor, observer)
    called, applied = find_postprocess(postprocess, predictor, registry)
    if data is None:
        store, indices, name = _films(run, registry, part, observer)
    else:
        store, indices, name = _other_films(run, registry, predictor.channels, data, structures, observer)
    with located(weights):
        films = score_films(
            predictor,
            store,
            indices,
            batch_size=max(4, config.train.batch_size),
            postprocess=applied,
            observer=observer,
        )
    if structures is not None:
        films = tuple(film.only(comparable(structures)) for film in films)
    evaluation = Evaluation(
        part=name,
        data=None if data is None else store.content_hash[:8],
        weights=weights.stem,
        step=predictor.weights.step,
        selected_on=selected_on(weights, config),
        films=films,
        postprocess=called,
    )
    return evaluation, store, predictor


def _choose_postprocess(
    run: RunDirectory, registry: Registry, weights: Path, predictor: Predictor, observer: Observer
) -> str:
    """The post-processing with the best Dice on the run's validation films; of several, the one that is the default.

    It is written into the description of the weights.
    """
    remedy = "Choose a post-processing by its name, as in --postprocess fill-holes."
    store, indices, _ = _films(run, registry, "validation", observer, remedy)
    default = registry.default("postprocess")
    candidates: dict[str, Postprocess] = {}
    scores: dict[str, list[float]] = {}
    for name in sorted(registry.names("postprocess"), key=lambda name: name != default):
        with _left_out(name, candidates, observer):
            candidates[name] = find_postprocess(name, predictor, registry)[1]
    true = _true_channels(predictor, store)
    for _, p, t, known in _predictions(predictor, store, indices, 4, observer):
        for name, applied in list(candidates.items()):
            with _left_out(name, candidates, observer):
                pair = film_pair(p, t, predictor.channels, None, known, applied, true)
                judged = [one for structure, one in pair.structures.items() if structure in predictor.channels]
                scores.setdefault(name, []).extend(dice(one.after.predicted, one.truth) for one in judged)
    found = {name: float(np.mean(scores[name])) for name in candidates}
    best = max(found, key=lambda name: found[name])  # the first of equals
    amend_card(weights, postprocess=ComponentConfig(name=best))
    shown = ", ".join(f"{name} {100 * mean:.2f}" for name, mean in found.items())
    observer.say(
        f"Dice % on {len(indices)} validation films: {shown}. {best} is stored with {weights.name}: predict uses it."
    )
    return best


@contextmanager
def _left_out(name: str, candidates: dict[str, Postprocess], observer: Observer) -> Iterator[None]:
    """Leave out a post-processing that can't be used, such as that of a broken plugin, and choose among the others."""
    try:
        yield
    except (ConfigError, PluginError) as error:
        candidates.pop(name, None)
        observer.say(f"{name} is left out: {error.what}")


def _films(
    run: RunDirectory, registry: Registry, part: Part, observer: Observer, remedy: str = "Evaluate another --part."
) -> tuple[Store, Sequence[int], str]:
    """The store, the positions in it of the films of a part of the run's split, and the name of the part."""
    films = prepare_films(run.with_own_split(run.config()), registry, observer)
    check_fingerprint(run, films)
    ids: tuple[str, ...] = getattr(films.split, part)
    if not ids:
        raise DataError(f"{run.path}: this run's {part} part has no films.", remedy)
    return films.store, films.indices(ids), part


def _other_films(
    run: RunDirectory,
    registry: Registry,
    channels: Sequence[str],
    data: DataConfigs,
    structures: Sequence[str] | None,
    observer: Observer,
) -> tuple[Store, Sequence[int], str]:
    """The same of those films of other data that are new to the network, with the structures that both have."""
    other = run.config().model_copy(update={"data": data})
    places = structures_by_place(other, registry)
    chosen = common_structures(str(run.path), channels, places, structures, observer)
    read = to_read(chosen, [name for names in places.values() for name in names])
    store = prepare_store(other.model_copy(update={"structures": list(read)}), registry, observer)
    return store, unseen_films(run, registry, store, observer), name_of(other)


def unseen_films(run: RunDirectory, registry: Registry, store: Store, observer: Observer) -> Sequence[int]:
    """The films of other data that neither trained nor validated a run's network, whatever their files' names."""
    try:
        own = prepare_films(run.with_own_split(run.config()), registry, observer)
    except CxrkitError as error:
        observer.say(f"It cannot be determined whether the network was trained on some of these films: {error.what}")
        return range(len(store))
    kept = store.without(own.store, own.indices((*own.split.train, *own.split.validation)))
    if left_out := len(store) - len(kept):
        if not kept:
            raise DataError(
                f"{run.path}: the network was trained or validated on all {left_out} films.",
                "Name data that is new to it.",
            )
        observer.say(
            f"The network was trained or validated on {left_out} of the {len(store)} films: they are left out."
        )
    return kept


def selected_on(weights: Path, config: RunConfig) -> Literal["validation", "test", "nothing"]:
    """What a run's weights were chosen on."""
    if weights.stem != "best":
        return "nothing"
    return "test" if config.train.protocol == "paper" else "validation"
