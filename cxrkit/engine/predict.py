"""From a film to masks at its own size, probabilities, and the cardiothoracic ratio."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cxrkit.data.images import check_shows_something, read_film
from cxrkit.data.preprocess import Placement, preprocess_film, to_input
from cxrkit.engine.card import NetworkCard
from cxrkit.engine.ensemble import TestTime, members_of, places_of
from cxrkit.engine.measures import ratio_of
from cxrkit.engine.postprocessing import Choice, find_postprocess, postprocessed
from cxrkit.engine.predictor import Predictor, finite_probabilities
from cxrkit.engine.views import FOR_QUALITY, VIEWS, view_probabilities
from cxrkit.errors import DataError
from cxrkit.metrics.plausibility import Findings, warnings_of
from cxrkit.metrics.quality import Calibration, agreement
from cxrkit.plugins import registry
from cxrkit.segmentation import BACKGROUND, Film, Segmentation, WeightsSource


class Segmenter:
    """A predictor that is applied to films: `segmenter("film.png")`.

    Args:
        predictor: what turns preprocessed images into probabilities, such as a trained network.
        threshold: probability above which a pixel belongs to a structure.
        keep_spots: whether masks stay as the threshold makes them.
        postprocess: what is done to them otherwise: a `cxrkit.Postprocess`, a name, or a mapping of a `name` and
            parameters; None: what the weights' description says, or the default: each lung and the heart is its
            largest part, without small holes, and other structures lose parts smaller than a tenth of their largest.
        keep_borders: whether a black or white border around the film is kept, so that the network sees it too.
        window: which window of DICOM files, see `cxrkit.read_film`.
        quality: whether each mask's Dice coefficient is estimated, for structures that the weights are calibrated for.
            It takes the passes of three further views of the film, which `TestTime` makes in any case.
    """

    def __init__(
        self,
        predictor: Predictor,
        *,
        threshold: float = 0.5,
        keep_spots: bool = False,
        postprocess: Choice = None,
        keep_borders: bool = False,
        window: int | None = 1,
        quality: bool = True,
    ) -> None:
        self.quality = quality
        self.predictor = predictor
        self.threshold = threshold
        self.keep_spots = keep_spots
        self.postprocess = find_postprocess(postprocess, predictor, registry())[1]
        self.keep_borders = keep_borders
        self.window = window

    @property
    def structures(self) -> tuple[str, ...]:
        """The names of the masks."""
        return tuple(name for name in self.predictor.channels if name != BACKGROUND)

    @property
    def weights(self) -> WeightsSource | None:
        """Which weights it uses, if known."""
        return self.predictor.weights

    @property
    def card(self) -> NetworkCard | None:
        """What the weights file says of the network, if it is one of cxrkit's."""
        return getattr(self.predictor, "card", None)

    @property
    def settings(self) -> dict[str, Any]:
        """What decides its masks beside weights and film."""
        kept = {"keep_spots": self.keep_spots, "keep_borders": self.keep_borders}
        usual, own = (
            (type(one).__qualname__, vars(one))
            for one in (find_postprocess(None, None, registry())[1], self.postprocess)
        )
        other: dict[str, Any] = {} if own == usual else {"postprocess": own}  # earlier results are of the usual one
        if any(isinstance(one, TestTime) for one in members_of(self.predictor)):
            other["tta"] = True
        if not self.quality:
            other["quality"] = False
        return {"threshold": self.threshold, **kept, "window": self.window, **other}

    def __call__(self, film: Path | str | np.ndarray | Film) -> Segmentation:
        """Segment one film.

        Args:
            film: a file (PNG, TIFF, JPEG, DICOM, JSRT's .IMG), or its grey values `(H, W)` uint8, uint16 or float32,
                bright where it shows bone.

        Raises:
            DataError: the file can't be read, or the array isn't a grey film.
        """
        read = _as_film(film, self.window)
        found, placement, quality = self._look_at(read)
        masks = {name: probability > self.threshold for name, probability in found.items()}
        # A border isn't part of the film: what touches one is cut off.
        inner = placement.inner
        inside = Findings(
            {name: mask[inner] for name, mask in masks.items()},
            {name: probability[inner] for name, probability in found.items()},
            placement.inner_shape,
            quality,
        )
        warnings = (*read.remarks, *warnings_of(inside))
        if not self.keep_spots:
            masks = postprocessed(self.postprocess, masks)
        ratio = ratio_of(masks)
        return Segmentation(read, masks, found, ratio, warnings, self.weights, self.settings, quality)

    def _look_at(self, film: Film) -> tuple[dict[str, np.ndarray], Placement, dict[str, float]]:
        """Structure to probabilities, float32 `(H, W)` of the film's own size; its placement; and the masks' quality.

        Networks are averaged at the film's size, since each may see the film in another way. So is their quality, where
        all of them are calibrated: the estimates of some say nothing of masks that others have a part in.
        """
        members = members_of(self.predictor)
        calibrated = set(self.structures).intersection(*map(_calibrations, members)) if self.quality else set()
        found: dict[str, list[np.ndarray]] = {name: [] for name in self.structures}
        estimates: dict[str, list[float]] = {}
        for member in members:
            config = member.preprocess.model_copy(update={"remove_borders": not self.keep_borders})
            stored, placement = preprocess_film(film.pixels, config, spacing=film.spacing, aspect=film.aspect)
            images = to_input(stored, placement, standardise=config.standardise)[None]
            views, predicted = self._views(member, images, compared=bool(calibrated))
            for name, index in zip(self.structures, places_of(member, self.structures), strict=True):
                found[name].append(placement.restore(predicted[index]))
                if views is not None and name in calibrated:
                    agreed = agreement(views[:, index][:, *placement.region])
                    estimates.setdefault(name, []).append(_calibrations(member)[name].estimate(agreed))
        maps = {
            n: of[0] if len(of) == 1 else np.asarray(np.mean(of, axis=0, dtype=np.float32)) for n, of in found.items()
        }
        return maps, placement, {name: round(float(np.mean(of)), 4) for name, of in estimates.items()}

    def _views(self, member: Predictor, images: np.ndarray, *, compared: bool) -> tuple[np.ndarray | None, np.ndarray]:
        """A network's probabilities for the views of a film, if compared, and those that count: `(C, S, S)`."""
        averaged = isinstance(member, TestTime)
        plain = member.plain if isinstance(member, TestTime) else member
        if not averaged and not compared:
            return None, finite_probabilities(plain, images)[0]
        views = view_probabilities(plain, images, VIEWS if averaged else VIEWS[:FOR_QUALITY])[:, 0]
        return views[:FOR_QUALITY] if compared else None, views.mean(axis=0) if averaged else views[0]


def _calibrations(predictor: Predictor) -> Mapping[str, Calibration]:
    card: NetworkCard | None = getattr(predictor, "card", None)
    return (card.quality if card is not None else None) or {}


def _as_film(film: Path | str | np.ndarray | Film, window: int | None) -> Film:
    if isinstance(film, Film):
        return film
    if isinstance(film, str | Path):
        return read_film(Path(film), window=window)
    if not isinstance(film, np.ndarray):
        raise DataError(
            f"A film is a path or a NumPy array, not a {type(film).__name__}.", "Convert it: numpy.asarray(film)."
        )
    if film.ndim != 2 or film.size == 0 or film.dtype not in (np.uint8, np.uint16, np.float32):
        raise DataError(
            f"The array has shape {film.shape} and type {film.dtype}; a film is (H, W) of uint8, uint16 or float32.",
            "Take one grey channel and convert it, for example film[..., 0].astype('float32').",
        )
    if not np.isfinite(film).all():
        raise DataError("The array holds values that are not finite.", "Replace NaN and infinities.")
    check_shows_something(film, "The array")
    return Film(film, None)
