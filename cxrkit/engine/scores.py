"""Scores of films under both protocols (reference: docs/explanation/protocols).

`paper`: soft probabilities, per film, mean over films. DSC flattens all channels together, background
included; IoU is the mean of the channels' soft IoU.

`honest`: probabilities thresholded at 0.5, per film and structure, mean over films.

Distances are measured at the network's resolution, in millimetres where the film's pixel spacing is known
(scaled along with the resize), else in pixels of the network's input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from cxrkit.files import csv_text
from cxrkit.interfaces import BACKGROUND
from cxrkit.metrics.cardiothoracic import cardiothoracic_ratio
from cxrkit.metrics.overlap import dice, intersection_over_union, soft_dice_pooled, soft_iou_per_channel
from cxrkit.metrics.surface import surface_distances

LUNGS = "lungs"
_PAIR = ("left_lung", "right_lung")


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class QuickScores(_Record):
    """What validation during training measures; means over films.

    Attributes:
        dsc, iou: the paper's, in [0, 1].
        dice: the honest Dice coefficient, mean over structures (background excluded) and films.
    """

    dsc: float
    iou: float
    dice: float


class StructureScores(_Record):
    """Honest scores of one structure on one film; distances in the film's `unit`."""

    dice: float
    iou: float
    hd95: float
    assd: float


class FilmScores(_Record):
    """All scores of one film.

    Attributes:
        id: the film; `patient` whose it is, where films can share one.
        dsc, iou: the paper's, in [0, 1].
        structures: honest scores by structure; `lungs` is the union of both.
        unit: of the distances, `mm` or `px`.
        ctr, true_ctr: cardiothoracic ratio from the predicted and the true masks; None where one is empty.
    """

    id: str
    patient: str | None = None
    dsc: float
    iou: float
    structures: dict[str, StructureScores]
    unit: Literal["mm", "px"]
    ctr: float | None = None
    true_ctr: float | None = None


class Evaluation(_Record):
    """Scores of every film of one part of a split.

    Attributes:
        part: `test`, `validation` or `train`, or what other data is called.
        data: of other data, the beginning of its fingerprint: two folders can have one name.
        weights: which weights were judged, and the step they are of.
        selected_on: where the choice of weights looked: `validation`, `test` (the paper's way: optimistic), or
            `nothing` (the last step).
        films: per film; at least one.
    """

    part: str
    data: str | None = None
    weights: str
    step: int
    selected_on: Literal["validation", "test", "nothing"]
    films: Annotated[tuple[FilmScores, ...], Field(min_length=1)]

    @property
    def stem(self) -> str:
        """What its files' names begin with."""
        return self.part if self.data is None else f"{self.part}-{self.data}"

    @property
    def structures(self) -> tuple[str, ...]:
        """Names of the structures, in the order of the tables."""
        return tuple(self.films[0].structures)

    def values(self, structure: str, measure: str) -> np.ndarray:
        """One honest measure of a structure, float64 `(films,)`."""
        return np.array([getattr(film.structures[structure], measure) for film in self.films])

    def missed(self, structure: str) -> int:
        """Films on which the mask has no pixel in common with the true one, though one of both isn't empty."""
        return int((self.values(structure, "dice") == 0).sum())

    def paper(self, measure: Literal["dsc", "iou"]) -> np.ndarray:
        """One of the paper's measures, float64 `(films,)`."""
        return np.array([getattr(film, measure) for film in self.films])

    def ctr_errors(self) -> np.ndarray:
        """Absolute errors of the cardiothoracic ratio, of the films where both masks give one."""
        pairs = [(f.ctr, f.true_ctr) for f in self.films]
        return np.array([abs(a - b) for a, b in pairs if a is not None and b is not None])

    def ctr_missing(self) -> int:
        """Films where the prediction gives no ratio though the true masks do."""
        return sum(f.ctr is None and f.true_ctr is not None for f in self.films)

    def to_csv(self) -> str:
        """A line a film and structure; the paper's scores stand under the structure `all`."""
        rows: list[Sequence[object]] = []
        for film in self.films:
            rows.append([film.id, "paper", "all", film.dsc, film.iou, "", "", "", "", ""])
            for name, s in film.structures.items():
                row = [film.id, "honest", name, s.dice, s.iou, s.hd95, s.assd, film.unit]
                rows.append([*row, *(("" if c is None else c) for c in (film.ctr, film.true_ctr))])
        headings = ["id", "protocol", "structure", "dice", "iou", "hd95", "assd", "unit", "ctr", "true_ctr"]
        return csv_text(headings, rows)


def score_film(
    film: str,
    channels: Sequence[str],
    predicted: np.ndarray,
    truth: np.ndarray,
    spacing: tuple[float, float] | None,
    patient: str | None = None,
) -> FilmScores:
    """All scores of one film: probabilities and targets `(C, H, W)`, spacing (row, column) in mm if known."""
    masks = with_lungs({n: predicted[i] > 0.5 for i, n in enumerate(channels) if n != BACKGROUND})
    true_masks = with_lungs({n: truth[i] > 0.5 for i, n in enumerate(channels) if n != BACKGROUND})
    return FilmScores(
        id=film,
        patient=patient,
        dsc=float(soft_dice_pooled(predicted, truth)),
        iou=float(soft_iou_per_channel(predicted, truth).mean()),
        structures={name: _score_structure(mask, true_masks[name], spacing) for name, mask in masks.items()},
        unit="px" if spacing is None else "mm",
        ctr=ratio_of(masks),
        true_ctr=ratio_of(true_masks),
    )


def _score_structure(mask: np.ndarray, truth: np.ndarray, spacing: tuple[float, float] | None) -> StructureScores:
    distances = surface_distances(mask, truth, spacing)
    return StructureScores(
        dice=float(dice(mask, truth)),
        iou=float(intersection_over_union(mask, truth)),
        hd95=distances.hausdorff_95,
        assd=distances.average,
    )


def with_lungs(masks: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The masks, and `lungs`, the union of both lungs, where both are there."""
    if all(side in masks for side in _PAIR):
        return masks | {LUNGS: masks[_PAIR[0]] | masks[_PAIR[1]]}
    return masks


def ratio_of(masks: dict[str, np.ndarray]) -> float | None:
    """The cardiothoracic ratio of masks by name; None where a mask is missing or empty."""
    if not all(name in masks for name in ("heart", *_PAIR)):
        return None
    found = cardiothoracic_ratio(masks["heart"], masks["left_lung"], masks["right_lung"])
    return None if found is None else float(found.value)
