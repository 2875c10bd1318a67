"""The films that a report shows: the best, the median and the worst of an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cxrkit.data.preprocess import film_levels, resize_film, resize_mask
from cxrkit.data.store import Store
from cxrkit.engine.full_size import AnnotatedFilms, Candidate
from cxrkit.engine.predictor import Predictor
from cxrkit.engine.scores import Evaluation, FilmScores
from cxrkit.interfaces import BACKGROUND

Masks = Mapping[str, np.ndarray]
#: Films are enlarged or reduced to about this many pixels a side, so that outlines are smooth.
DRAWN_SIDE = 640


@dataclass(frozen=True)
class Panel:
    """One film of the picture: the film, the prediction and the truth.

    Attributes:
        label: why it is shown (`best`, `median`, `worst`).
        image: float32 `(H, W)` in [0, 1].
        predicted, truth: structure to bool `(H, W)`; the truth of those that the film has masks of.
        scores: the film's scores.
    """

    label: str
    image: np.ndarray
    predicted: Masks
    truth: Masks
    scores: FilmScores


#: What gives a film's image, predicted and true masks, as a `Panel` has them.
Show = Callable[[str], tuple[np.ndarray, Masks, Masks]]


def choose_panels(evaluation: Evaluation, show: Show) -> tuple[Panel, ...]:
    """Best, median and worst film by the mean Dice coefficient over structures; fewer where there are fewer films."""
    ranked = sorted(evaluation.films, key=_mean_dice, reverse=True)
    places = {"best": 0, "median": len(ranked) // 2, "worst": len(ranked) - 1}
    chosen: dict[str, FilmScores] = {}
    for label, place in places.items():
        if ranked[place] not in chosen.values():
            chosen[label] = ranked[place]
    return tuple(Panel(label, *show(film.id), film) for label, film in chosen.items())


def _mean_dice(film: FilmScores) -> float:
    """Over the structures that the film has; 0 if it has none."""
    found = [scores.dice for scores in film.structures.values() if scores.dice is not None]
    return float(np.mean(found)) if found else 0.0


def of_store(store: Store, predictor: Predictor) -> Show:
    """Films as the network's preprocessing leaves them, with the masks as thresholded."""

    def show(film: str) -> tuple[np.ndarray, Masks, Masks]:
        index = store.ids.index(film)
        batch = store.batch([index], background=False, standardise=predictor.preprocess.standardise)
        known = store.entries[index].known(store.structures)
        found = predictor(batch.images.numpy())[0] > 0.5
        shown = batch.images[0, 0].numpy()
        low, high = float(shown.min()), float(shown.max())
        return (
            ((shown - low) / max(high - low, float(np.finfo(np.float32).tiny))).astype(np.float32),
            {name: found[channel] for channel, name in enumerate(predictor.channels) if name != BACKGROUND},
            {n: batch.targets[0, k].numpy() > 0.5 for k, n in enumerate(store.structures) if n in known},
        )

    return show


def at_full_size(films: AnnotatedFilms, candidate: Candidate, structures: Sequence[str]) -> Show:
    """Films with a candidate's masks, reduced to what a picture can show."""

    def show(film: str) -> tuple[np.ndarray, Masks, Masks]:
        read, truth = films.read(film, structures)
        masks, after = candidate(film, read, [name for name in candidate.structures if name in truth])
        height, width = read.pixels.shape
        scale = min(1.0, DRAWN_SIDE / max(height, width))
        shape = (max(1, round(height * scale)), max(1, round(width * scale)))
        shown, true = (
            {name: resize_mask(mask, shape) for name, mask in some.items()} for some in (after or masks, truth)
        )
        return resize_film(film_levels(read.pixels), shape), shown, true

    return show
