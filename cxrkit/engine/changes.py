"""Films made worse at random, so that masks of all qualities come about where good films alone would give good ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import cv2
import numpy as np

from cxrkit.data.preprocess import film_levels, resize_film, resize_mask

#: Pixels of the longer side: more than networks see, and far quicker to change than a film of twenty megapixels.
LARGEST = 768


@dataclass(frozen=True)
class Annotated:
    """A film and its masks.

    Attributes:
        levels: float32 `(H, W)` in [0, 1].
        masks: structure to bool `(H, W)`.
    """

    levels: np.ndarray
    masks: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, pixels: np.ndarray, masks: Mapping[str, np.ndarray]) -> Annotated:
        """A film as read, uint8, uint16 or finite float32; a larger one than `LARGEST` is made smaller."""
        scale = min(1.0, LARGEST / max(pixels.shape))
        shape = (max(1, round(scale * pixels.shape[0])), max(1, round(scale * pixels.shape[1])))
        levels = resize_film(film_levels(pixels), shape)
        return cls(levels, {name: resize_mask(mask, shape) for name, mask in masks.items()})

    def shown(self, levels: np.ndarray) -> Annotated:
        """The same with other grey values, which are cut off outside [0, 1]."""
        return replace(self, levels=np.clip(levels, 0, 1).astype(np.float32))


def noisy(film: Annotated, random: np.random.Generator) -> Annotated:
    """Gaussian noise of up to a fifth of the range."""
    return film.shown(film.levels + random.normal(0, random.uniform(0.03, 0.2), film.levels.shape))


def blurred(film: Annotated, random: np.random.Generator) -> Annotated:
    """Out of focus by up to a fiftieth of the longer side."""
    return film.shown(cv2.GaussianBlur(film.levels, (0, 0), random.uniform(0.004, 0.02) * max(film.levels.shape)))


def compressed(film: Annotated, random: np.random.Generator) -> Annotated:
    """After JPEG of a quality of 2 to 12."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(2, 13))]
    _, stream = cv2.imencode(".jpg", np.rint(film.levels * 255).astype(np.uint8), quality)
    return film.shown(np.asarray(cv2.imdecode(stream, cv2.IMREAD_GRAYSCALE), dtype=np.float32) / 255)


def exposed(film: Annotated, random: np.random.Generator) -> Annotated:
    """Too bright, too dark, or with little contrast."""
    levels = film.levels ** (4 ** random.uniform(-1, 1))
    return film.shown(0.5 + random.uniform(0.03, 1) * (levels - 0.5))


def labelled(film: Annotated, random: np.random.Generator) -> Annotated:
    """A label brighter than the film, anywhere in its upper third."""
    height, width = film.levels.shape
    rows, columns = int(random.uniform(0.04, 0.15) * height), int(random.uniform(0.1, 0.3) * width)
    top, left = int(random.uniform(0, 0.2) * height), int(random.uniform(0, 0.7) * width)
    levels = film.levels * random.uniform(0.5, 1)
    levels[top : top + rows, left : left + columns] = 1
    return film.shown(levels)


def turned(film: Annotated, random: np.random.Generator) -> Annotated:
    """Turned by up to 45° to either side; black comes in at the corners."""
    height, width = film.levels.shape
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), random.uniform(-45, 45), 1)

    def turn(plane: np.ndarray) -> np.ndarray:
        return np.asarray(cv2.warpAffine(plane, matrix, (width, height), flags=cv2.INTER_NEAREST))

    masks = {name: turn(mask.astype(np.uint8)) > 0 for name, mask in film.masks.items()}
    return Annotated(turn(film.levels), masks)


def cropped(film: Annotated, random: np.random.Generator) -> Annotated:
    """Without up to 30 % of it at each side."""
    height, width = film.levels.shape
    top, bottom, left, right = random.uniform(0, 0.3, 4)
    part = np.s_[int(top * height) : height - int(bottom * height), int(left * width) : width - int(right * width)]
    return Annotated(film.levels[part], {name: mask[part] for name, mask in film.masks.items()})


def covered(film: Annotated, random: np.random.Generator) -> Annotated:
    """A structure whose lower part is as bright as the tissue around it, as an effusion makes a lung."""
    name = sorted(film.masks)[int(random.integers(len(film.masks)))]
    mask = film.masks[name]
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return film
    veil = cv2.dilate(mask.astype(np.float32), np.ones((5, 5)))
    veil[: rows[0] + int(random.uniform(0.3, 0.8) * len(rows))] = 0
    veil = random.uniform(0.5, 1) * cv2.GaussianBlur(veil, (0, 0), max(mask.shape) / 100)
    return film.shown(film.levels * (1 - veil) + np.quantile(film.levels, random.uniform(0.6, 0.95)) * veil)


CHANGES: tuple[Callable[[Annotated, np.random.Generator], Annotated], ...] = (
    noisy,
    blurred,
    compressed,
    exposed,
    labelled,
    turned,
    cropped,
    covered,
)
