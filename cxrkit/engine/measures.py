"""What is measured on each film: the one list that scores, tables, files and reports are made from.

A new measure is an entry here and the function that computes it. Finished runs that were scored without it stay as they
are: it is absent from their tables until `cxrkit evaluate` scores them again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, Literal, TypeVar

import numpy as np

from cxrkit.interfaces import BACKGROUND
from cxrkit.metrics.cardiothoracic import cardiothoracic_ratio
from cxrkit.metrics.overlap import dice, intersection_over_union, soft_dice_pooled, soft_iou_per_channel
from cxrkit.metrics.surface import SurfaceDistances, surface_distances

Protocol = Literal["honest", "paper"]
LUNGS = "lungs"
_PAIR = ("left_lung", "right_lung")


@dataclass(frozen=True)
class StructurePair:
    """A structure's predicted and true mask, bool `(H, W)`; spacing (row, column) in mm, if known."""

    predicted: np.ndarray
    truth: np.ndarray
    spacing: tuple[float, float] | None

    @cached_property
    def distances(self) -> SurfaceDistances:
        """Between the outlines, in mm, or pixels without a spacing."""
        return surface_distances(self.predicted, self.truth, self.spacing)


@dataclass(frozen=True)
class FilmPair:
    """A whole film: probabilities and targets, float `(C, H, W)` in [0, 1], and its structures by name.

    `ratio` and `true_ratio` are the cardiothoracic ratios of the masks; None where one is absent or empty.
    """

    predicted: np.ndarray
    truth: np.ndarray
    structures: Mapping[str, StructurePair]
    ratio: float | None
    true_ratio: float | None


Pair = TypeVar("Pair", StructurePair, FilmPair)


@dataclass(frozen=True)
class Measure(Generic[Pair]):
    """Something that is measured on a structure of a film, or on the whole film.

    Attributes:
        key: its name in files.
        label: its name in tables, without the unit.
        unit: `%` of values in [0, 1], `length` for mm or pixels, or none.
        digits: decimal places in tables.
        higher_is_better: which direction is better.
        description: how to read it, in a sentence without its end.
        compute: the value; None where there is none though there should be: it is counted as lost.
        applies: whether there should be one.
        protocol: whether it follows the honest protocol or the paper's.
        main: whether an ablation's main table shows it, and a figure its distribution.
        primary: whether verdicts on arms and main effects are about it.
    """

    key: str
    label: str
    unit: Literal["%", "length", ""]
    digits: int
    higher_is_better: bool
    description: str
    compute: Callable[[Pair], float | None]
    applies: Callable[[Pair], bool] = lambda _: True
    protocol: Protocol = "honest"
    main: bool = False
    primary: bool = False

    @property
    def scale(self) -> float:
        """What a value is multiplied by for tables."""
        return 100.0 if self.unit == "%" else 1.0

    def text(self, value: float, std: float | None = None) -> str:
        """A value as tables show it, with its standard deviation: `96.3 ± 1.2`."""
        mean = f"{self.scale * value:.{self.digits}f}"
        return mean if std is None else f"{mean} ± {self.scale * std:.{self.digits}f}"

    def units(self, lengths: tuple[str, ...]) -> tuple[str, ...]:
        """A column for each, of films whose distances are in `lengths`; empty where the unit is always the same."""
        return lengths if self.unit == "length" else ("",)

    def heading(self, unit: str = "") -> str:
        """Its label with the unit: `HD95 mm`."""
        return f"{self.label} {unit or self.unit}".strip()


def _ratio_error(film: FilmPair) -> float | None:
    return None if film.ratio is None or film.true_ratio is None else abs(film.ratio - film.true_ratio)


STRUCTURE_MEASURES: tuple[Measure[StructurePair], ...] = (
    Measure(
        *("dice", "Dice", "%", 1, True, "twice the shared area over the sum of both areas"),
        compute=lambda s: float(dice(s.predicted, s.truth)),
        main=True,
        primary=True,
    ),
    Measure(
        *("iou", "IoU", "%", 1, True, "the shared area over that of the union"),
        compute=lambda s: float(intersection_over_union(s.predicted, s.truth)),
    ),
    Measure(
        *("hd95", "HD95", "length", 2, False, "95th percentile of the distances between the outlines"),
        compute=lambda s: s.distances.hausdorff_95,
        main=True,
    ),
    Measure(
        *("assd", "ASSD", "length", 2, False, "mean distance between the outlines"),
        compute=lambda s: s.distances.average,
    ),
)

FILM_MEASURES: tuple[Measure[FilmPair], ...] = (
    Measure(
        *("ctr_error", "CTR error", "", 4, False, "absolute error of the cardiothoracic ratio"),
        compute=_ratio_error,
        applies=lambda film: film.true_ratio is not None,
        main=True,
    ),
    Measure(
        *("dsc", "DSC", "%", 1, True, "soft Dice coefficient of all channels together, background included"),
        compute=lambda film: float(soft_dice_pooled(film.predicted, film.truth)),
        protocol="paper",
        main=True,
        primary=True,
    ),
    Measure(
        *("iou", "IoU", "%", 1, True, "soft IoU, averaged over the channels, background included"),
        compute=lambda film: float(soft_iou_per_channel(film.predicted, film.truth).mean()),
        protocol="paper",
        main=True,
    ),
)


def measured(measures: tuple[Measure[Pair], ...], pair: Pair) -> dict[str, Any]:
    """The values of measures that apply, by key."""
    return {measure.key: measure.compute(pair) for measure in measures if measure.applies(pair)}


def film_pair(
    predicted: np.ndarray,
    truth: np.ndarray,
    channels: Sequence[str],
    spacing: tuple[float, float] | None,
    known: Sequence[int] | None = None,
) -> FilmPair:
    """A film's masks above 0.5 by structure, `lungs`, the union of both, among them; spacing (row, column) in mm.

    Only the `known` channels are paired; by default all.
    """
    names = {name: index for index, name in enumerate(channels) if name != BACKGROUND}
    masks = {name: predicted[index] > 0.5 for name, index in names.items()}
    true_masks = {name: truth[index] > 0.5 for name, index in names.items() if known is None or index in known}
    for both in (masks, true_masks):
        if all(side in both for side in _PAIR):
            both[LUNGS] = both[_PAIR[0]] | both[_PAIR[1]]
    structures = {name: StructurePair(masks[name], true, spacing) for name, true in true_masks.items()}
    if known is not None:
        predicted, truth = predicted[list(known)], truth[list(known)]
    return FilmPair(predicted, truth, structures, _ratio_of(masks), _ratio_of(true_masks))


def _ratio_of(masks: dict[str, np.ndarray]) -> float | None:
    if not all(name in masks for name in ("heart", *_PAIR)):
        return None
    ratio = cardiothoracic_ratio(masks["heart"], masks["left_lung"], masks["right_lung"])
    return None if ratio is None else float(ratio.value)
