"""From a film to masks at its own size, probabilities, and the cardiothoracic ratio."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cxrkit.data.borders import Region, film_region
from cxrkit.data.images import Film, check_shows_something, read_film
from cxrkit.data.preprocess import preprocess_film, to_input
from cxrkit.engine.checkpoint import NetworkCard, load_network
from cxrkit.engine.forward import probabilities
from cxrkit.engine.hardware import autocast, choose_device, choose_precision
from cxrkit.engine.run import RunDirectory
from cxrkit.engine.weights import WeightsSource, weights_source
from cxrkit.errors import DataError
from cxrkit.interfaces import BACKGROUND, Model
from cxrkit.metrics.cardiothoracic import CardiothoracicRatio, cardiothoracic_ratio
from cxrkit.metrics.masks import one_piece, without_spots
from cxrkit.metrics.plausibility import ONE_PIECE, Findings, warnings_of
from cxrkit.registry import Registry


@dataclass(frozen=True)
class Segmentation:
    """What a network says of one film.

    Attributes:
        film: the film as it was read.
        masks: structure to bool `(H, W)`, at the film's own size; without the parts that lie apart from the structure
            and without holes, unless the segmenter keeps them.
        probabilities: structure to float32 `(H, W)` in [0, 1]; 0 in a frame around the film.
        cardiothoracic_ratio: with the extents it was measured between; None where the network doesn't know
            heart and lungs, or found one of them nowhere.
        warnings: signs that the masks can't be trusted, a short sentence each: the film's remarks, and what
            `cxrkit.metrics.plausibility` finds.
    """

    film: Film
    masks: dict[str, np.ndarray]
    probabilities: dict[str, np.ndarray]
    cardiothoracic_ratio: CardiothoracicRatio | None
    warnings: tuple[str, ...] = ()


class Segmenter:
    """A trained network that is applied to films: `segmenter("film.png")`.

    Args:
        model: the network.
        card: what its weights file says of it.
        device: `auto`, `cpu`, `cuda` or `mps`.
        threshold: probability above which a pixel belongs to a structure.
        keep_spots: whether masks stay as the threshold makes them. Otherwise each lung and the heart is its largest
            part, without small holes, and other structures lose parts smaller than a tenth of their largest. Scores
            of `cxrkit evaluate` are always of whole masks.
        keep_borders: whether a black or white frame around the film is shown to the network too.
        source: where the weights come from, where known.
    """

    def __init__(
        self,
        model: Model,
        card: NetworkCard,
        *,
        device: str = "auto",
        threshold: float = 0.5,
        keep_spots: bool = False,
        keep_borders: bool = False,
        source: WeightsSource | None = None,
    ) -> None:
        self.device = choose_device(device)
        self.model: Model = model.eval().to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.card = card
        self.threshold = threshold
        self.keep_spots = keep_spots
        self.keep_borders = keep_borders
        self.source = source

    @property
    def structures(self) -> tuple[str, ...]:
        """The names of the masks."""
        return tuple(name for name in self.card.channels if name != BACKGROUND)

    def arithmetic(self) -> Any:
        """A context in which the network computes with the precision that it was trained and judged with."""
        return autocast(self.device, choose_precision(self.card.precision, self.device))

    def __call__(self, film: Path | str | np.ndarray | Film) -> Segmentation:
        """Segment one film.

        Args:
            film: a file (PNG, TIFF, JPEG, DICOM, JSRT's .IMG), or its grey values `(H, W)` uint8, uint16 or float32,
                bright where it shows bone.

        Raises:
            DataError: the file can't be read, or the array isn't a grey film.
        """
        read = _as_film(film)
        height, width = read.pixels.shape
        region = (slice(0, height), slice(0, width)) if self.keep_borders else film_region(read.pixels)
        inside = self._probabilities(read, region)
        masks = {name: probability > self.threshold for name, probability in inside.items()}
        warnings = (*read.remarks, *warnings_of(Findings(masks, inside, read.pixels[region].shape)))
        if not self.keep_spots:
            masks = {
                name: one_piece(mask) if name in ONE_PIECE else without_spots(mask) for name, mask in masks.items()
            }
        masks, found = (
            {name: _paste(values, region, (height, width)) for name, values in maps.items()} for maps in (masks, inside)
        )
        return Segmentation(read, masks, found, _ratio(masks), warnings)

    def _probabilities(self, film: Film, region: Region) -> dict[str, np.ndarray]:
        """Structure to probabilities, float32 of the region's size, of the film within a region."""
        stored, placement = preprocess_film(film.pixels[region], self.card.preprocess, spacing=film.spacing)
        inputs = to_input(stored, standardise=self.card.preprocess.standardise, placement=placement)
        images = torch.from_numpy(inputs)[None].to(self.device)
        with self.arithmetic():
            predicted = probabilities(self.model, images, batch_size=1)[0].numpy()
        if not np.isfinite(predicted).all():
            raise DataError(
                f"The weights of step {self.card.step} give values that are not finite on this film.",
                "They may come from a training that diverged: use others, such as last or best.safetensors of its run.",
            )
        restored = placement.restore(predicted)
        return {name: restored[index] for index, name in enumerate(self.card.channels) if name != BACKGROUND}


def load_segmenter(
    path: Path,
    registry: Registry,
    *,
    device: str = "auto",
    keep_spots: bool = False,
    keep_borders: bool = False,
    name: str | None = None,
) -> Segmenter:
    """The network of a run's folder (its best weights, else its last), or of a weights file.

    Args:
        path: the folder or file.
        registry: the components.
        device, keep_spots, keep_borders: as in `Segmenter`.
        name: of the weights, where a package brings them.

    Raises:
        DataError: there are no usable weights. PluginError: the network's package isn't installed.
    """
    file = RunDirectory.open(path).weights() if path.is_dir() else path
    model, card = load_network(file, registry)
    source = weights_source(file, card, registry, name)
    return Segmenter(model, card, device=device, keep_spots=keep_spots, keep_borders=keep_borders, source=source)


def _paste(values: np.ndarray, region: Region, shape: tuple[int, int]) -> np.ndarray:
    """A map of a region in one of the whole film's size, 0 or False around it."""
    if values.shape == shape:
        return values
    whole = np.zeros(shape, dtype=values.dtype)
    whole[region] = values
    return whole


def _as_film(film: Path | str | np.ndarray | Film) -> Film:
    if isinstance(film, Film):
        return film
    if isinstance(film, str | Path):
        return read_film(Path(film))
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


def _ratio(masks: dict[str, np.ndarray]) -> CardiothoracicRatio | None:
    if not all(name in masks for name in ("heart", "left_lung", "right_lung")):
        return None
    return cardiothoracic_ratio(masks["heart"], masks["left_lung"], masks["right_lung"])
