"""The films that a report shows: the best, the median and the worst of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cxrkit.data.store import Store
from cxrkit.engine.predictor import Predictor
from cxrkit.engine.scores import Evaluation, FilmScores
from cxrkit.interfaces import BACKGROUND


@dataclass(frozen=True)
class Panel:
    """One film of the picture: the film, the prediction and the truth.

    Attributes:
        label: why it is shown (`best`, `median`, `worst`).
        image: float32 `(S, S)` in [0, 1], as the network's preprocessing leaves it.
        predicted, truth: structure to bool `(S, S)`; the truth of those that the film has masks of.
        scores: the film's scores.
    """

    label: str
    image: np.ndarray
    predicted: dict[str, np.ndarray]
    truth: dict[str, np.ndarray]
    scores: FilmScores


def choose_panels(evaluation: Evaluation, store: Store, predictor: Predictor) -> tuple[Panel, ...]:
    """Best, median and worst film by the mean Dice coefficient over structures; fewer where there are fewer films."""
    ranked = sorted(evaluation.films, key=_mean_dice, reverse=True)
    places = {"best": 0, "median": len(ranked) // 2, "worst": len(ranked) - 1}
    chosen: dict[str, FilmScores] = {}
    for label, place in places.items():
        if ranked[place] not in chosen.values():
            chosen[label] = ranked[place]
    return tuple(_panel(label, film, store, predictor) for label, film in chosen.items())


def _mean_dice(film: FilmScores) -> float:
    """Over the structures that the film has; 0 if it has none."""
    found = [scores.dice for scores in film.structures.values() if scores.dice is not None]
    return float(np.mean(found)) if found else 0.0


def _panel(label: str, film: FilmScores, store: Store, predictor: Predictor) -> Panel:
    index = store.ids.index(film.id)
    batch = store.batch([index], background=False, standardise=predictor.preprocess.standardise)
    known = store.entries[index].known(store.structures)
    found = predictor(batch.images.numpy())[0] > 0.5
    shown = batch.images[0, 0].numpy()
    low, high = float(shown.min()), float(shown.max())
    return Panel(
        label=label,
        image=((shown - low) / max(high - low, float(np.finfo(np.float32).tiny))).astype(np.float32),
        predicted={name: found[channel] for channel, name in enumerate(predictor.channels) if name != BACKGROUND},
        truth={n: batch.targets[0, k].numpy() > 0.5 for k, n in enumerate(store.structures) if n in known},
        scores=film,
    )
