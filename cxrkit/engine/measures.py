"""What is measured on each film: the one list that scores, tables, files and reports are made from.

A new measure is an entry here and the function that computes it. Finished runs that were scored without it stay as they
are: it is absent from their tables until `cxrkit evaluate` scores them again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Generic, Literal, TypeVar

import numpy as np

from cxrkit.engine.postprocessing import postprocessed
from cxrkit.metrics.cardiothoracic import cardiothoracic_ratio
from cxrkit.metrics.masks import count_holes, count_parts
from cxrkit.metrics.overlap import dice, intersection_over_union, soft_dice_pooled, soft_iou_per_channel
from cxrkit.metrics.surface import SurfaceDistances, surface_distances
from cxrkit.segmentation import BACKGROUND, CardiothoracicRatio
from cxrkit.services import Postprocess

Protocol = Literal["honest", "paper"]
LUNGS = "lungs"
LUNG_PAIR = ("left_lung", "right_lung")
_OF_RATIO = ("heart", *LUNG_PAIR)
#: Millimetres within which outlines count as equal (NSD).
TOLERANCE = 2.0
#: The longer side of a film whose pixel spacing isn't known, in millimetres: that of the usual cassette, 35 cm × 43 cm.
CASSETTE = 430.0


@dataclass(frozen=True)
class StructurePair:
    """A structure's predicted and true mask, bool `(H, W)`; spacing (row, column) in mm, if known.

    `processed` is the predicted mask after post-processing, if there is one; `tolerance` is that of NSD, in mm.
    """

    predicted: np.ndarray
    truth: np.ndarray
    spacing: tuple[float, float] | None
    processed: np.ndarray | None = None
    tolerance: float = TOLERANCE

    @cached_property
    def distances(self) -> SurfaceDistances:
        """Between the outlines, in mm, or pixels without a spacing."""
        pixels = max(self.truth.shape) / CASSETTE if self.spacing is None else 1.0
        return surface_distances(self.predicted, self.truth, self.spacing, tolerance=self.tolerance * pixels)

    @cached_property
    def after(self) -> StructurePair:
        """The pair after post-processing."""
        if self.processed is None or np.array_equal(self.processed, self.predicted):
            return self
        return replace(self, predicted=self.processed)


@dataclass(frozen=True)
class FilmPair:
    """A whole film: probabilities and targets, float `(C, H, W)` in [0, 1], and its structures by name.

    Probabilities and targets are of the channels that both have; none where only masks are compared. `ratio` and
    `true_ratio` are the cardiothoracic ratios of the masks; None where one is absent or empty.
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
        unit: `%` of values in [0, 1], `length` for mm or pixels, `count`, or none.
        description: how to read it, in a sentence without its end.
        compute: the value; None where there is none though there should be: it is counted as lost.
        higher_is_better: which direction is better.
        applies: whether there should be a value.
        protocol: whether it follows the honest protocol or the paper's.
        main: whether an ablation's main table shows it, and a figure its distribution.
        primary: whether verdicts on arms and main effects are about it.
        after: whether it is of masks after post-processing.
    """

    key: str
    label: str
    unit: Literal["%", "length", "count", ""]
    description: str
    compute: Callable[[Pair], float | None]
    higher_is_better: bool = True
    applies: Callable[[Pair], bool] = lambda _: True
    protocol: Protocol = "honest"
    main: bool = False
    primary: bool = False
    after: bool = False

    @property
    def digits(self) -> int:
        """Decimal places in tables."""
        return {"%": 1, "length": 2, "count": 2, "": 4}[self.unit]

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
        return f"{self.label} {unit or self.unit.removeprefix('count')}".strip()


def _dice(pair: StructurePair) -> float:
    return dice(pair.predicted, pair.truth)


def _iou(pair: StructurePair) -> float:
    return intersection_over_union(pair.predicted, pair.truth)


def _hd95(pair: StructurePair) -> float | None:
    return pair.distances.hausdorff_95


def _assd(pair: StructurePair) -> float | None:
    return pair.distances.average


def _nsd(pair: StructurePair) -> float | None:
    return pair.distances.within


def _ratio_error(film: FilmPair) -> float | None:
    return None if film.ratio is None or film.true_ratio is None else abs(film.ratio - film.true_ratio)


def _has_channels(film: FilmPair) -> bool:
    return film.predicted.shape[0] > 0


def _soft_dice(film: FilmPair) -> float:
    return soft_dice_pooled(film.predicted, film.truth)


def _soft_iou(film: FilmPair) -> float:
    return float(soft_iou_per_channel(film.predicted, film.truth).mean())


def _parts(pair: StructurePair) -> float | None:
    return None if _missed(pair) else float(count_parts(pair.predicted))


def _holes(pair: StructurePair) -> float | None:
    return None if _missed(pair) else float(count_holes(pair.predicted))


def _missed(pair: StructurePair) -> bool:
    """Whether a structure wasn't found at all, which must not count as one that is less scattered."""
    return bool(pair.truth.any()) and not pair.predicted.any()


def _after(measure: Measure[StructurePair]) -> Measure[StructurePair]:
    """The same measure of masks after post-processing."""
    return replace(
        measure,
        key=f"{measure.key}_after",
        label=f"{measure.label} after",
        description=f"{measure.description.removesuffix(', as thresholded')}, after post-processing",
        compute=lambda pair: measure.compute(pair.after),
        applies=lambda pair: pair.processed is not None,
        main=False,
        primary=False,
        after=True,
    )


_AS_THRESHOLDED: tuple[Measure[StructurePair], ...] = (
    Measure("dice", "Dice", "%", "twice the shared area over the sum of both areas", _dice, main=True, primary=True),
    Measure("iou", "IoU", "%", "the shared area over that of the union", _iou),
    Measure(
        "hd95",
        "HD95",
        "length",
        "95th percentile of the distances between the outlines",
        _hd95,
        higher_is_better=False,
        main=True,
    ),
    Measure("assd", "ASSD", "length", "mean distance between the outlines", _assd, higher_is_better=False),
    Measure("nsd", "NSD", "%", "share of both outlines within the tolerance of the other", _nsd),
    Measure(
        "parts",
        "Parts",
        "count",
        "connected parts of the predicted mask, as thresholded",
        _parts,
        higher_is_better=False,
    ),
    Measure("holes", "Holes", "count", "holes in the predicted mask, as thresholded", _holes, higher_is_better=False),
)
STRUCTURE_MEASURES = (
    *_AS_THRESHOLDED,
    *(_after(measure) for measure in _AS_THRESHOLDED if measure.key in ("dice", "hd95", "parts", "holes")),
)

FILM_MEASURES: tuple[Measure[FilmPair], ...] = (
    Measure(
        "ctr_error",
        "CTR error",
        "",
        "absolute error of the cardiothoracic ratio",
        _ratio_error,
        higher_is_better=False,
        applies=lambda film: film.true_ratio is not None,
        main=True,
    ),
    Measure(
        "dsc",
        "DSC",
        "%",
        "soft Dice coefficient of all channels together, background included",
        _soft_dice,
        applies=_has_channels,
        protocol="paper",
        main=True,
        primary=True,
    ),
    Measure(
        "iou",
        "IoU",
        "%",
        "soft IoU, averaged over the channels, background included",
        _soft_iou,
        applies=_has_channels,
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
    postprocess: Postprocess | None = None,
    true_channels: Sequence[str] | None = None,
) -> FilmPair:
    """A film's masks above 0.5 by structure, `lungs`, the union of both, among them; spacing (row, column) in mm.

    Args:
        predicted, truth: float `(C, H, W)`, of `channels` and of `true_channels`, which by default are the same.
        known: which of the true channels are known; by default all.
        postprocess: what else is paired than the masks as thresholded.
    """
    true_channels = channels if true_channels is None else true_channels
    names = {name: index for index, name in enumerate(channels)}
    true_names = {name: k for k, name in enumerate(true_channels) if known is None or k in known}
    masks = {name: predicted[index] > 0.5 for name, index in names.items() if name != BACKGROUND}
    true_masks = {name: truth[index] > 0.5 for name, index in true_names.items() if name != BACKGROUND}
    processed = None if postprocess is None else postprocessed(postprocess, masks)
    shared = [name for name in channels if name in true_names]
    soft = (predicted[[names[name] for name in shared]], truth[[true_names[name] for name in shared]])
    return mask_pair(masks, true_masks, spacing, processed, soft=soft)


def mask_pair(
    masks: Mapping[str, np.ndarray],
    true_masks: Mapping[str, np.ndarray],
    spacing: tuple[float, float] | None,
    processed: Mapping[str, np.ndarray] | None = None,
    *,
    soft: tuple[np.ndarray, np.ndarray] | None = None,
    tolerance: float = TOLERANCE,
) -> FilmPair:
    """A film's masks, bool `(H, W)` by structure, and `lungs`, paired where both sides have them.

    Args:
        masks, true_masks: as predicted, and the truth.
        spacing: (row, column) in mm, if known.
        processed: the predicted masks after post-processing.
        soft: probabilities and targets, float `(C, H, W)`, of the channels that both have.
        tolerance: of NSD, in mm.
    """
    masks, true_masks, after = (with_lungs(some) for some in (masks, true_masks, processed or {}))
    structures = {
        name: StructurePair(masks[name], true, spacing, after.get(name), tolerance)
        for name, true in true_masks.items()
        if name in masks
    }
    # What doesn't segment the heart or a lung at all has missed no ratio.
    true_masks = true_masks if all(name in masks for name in _OF_RATIO) else {}
    ratio, true_ratio = (None if found is None else found.value for found in map(ratio_of, (masks, true_masks)))
    predicted, truth = soft or (np.empty((0, 0, 0)), np.empty((0, 0, 0)))
    return FilmPair(predicted, truth, structures, ratio, true_ratio)


def with_lungs(masks: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Masks by structure, with `lungs`, the union of both, where both are there."""
    if not all(side in masks for side in LUNG_PAIR):
        return dict(masks)
    return {**masks, LUNGS: masks[LUNG_PAIR[0]] | masks[LUNG_PAIR[1]]}


def ratio_of(masks: Mapping[str, np.ndarray]) -> CardiothoracicRatio | None:
    """The cardiothoracic ratio of masks by structure; None where the heart or a lung is absent or empty."""
    if not all(name in masks for name in _OF_RATIO):
        return None
    return cardiothoracic_ratio(masks["heart"], masks["left_lung"], masks["right_lung"])
