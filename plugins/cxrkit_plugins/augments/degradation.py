"""Faults of films: low contrast, noise, dead pixels, burnt-in labels, collimation borders, JPEG."""

from __future__ import annotations

from typing import Annotated

import cv2
import numpy as np
import torch
from pydantic import Field

from cxrkit import Augment, Batch
from cxrkit.errors import ContractError

#: What films are labelled with; some are markers of the side, others say how the film was taken.
TEXTS = ("L", "R", "PA", "AP", "ERECT", "SUPINE", "PORTABLE", "1024", "12:30")


class Degradation(Augment):
    """Make films worse, as other machines and viewers leave them; targets aren't changed, whatever is hidden.

    It acts on films as they were taken, before levels and CLAHE, which then amplify what it did as they would amplify
    a film's own faults. All strengths are shares of the film's range, from its darkest to its brightest pixel. In this
    order, each with its own probability: low contrast, noise, saturated pixels, burnt-in labels and markers,
    collimation borders, and the 8 bits and blocks of JPEG. Text, borders and JPEG are OpenCV's.
    """

    stage = "film"

    def __init__(
        self,
        *,
        contrast: Annotated[
            float, Field(gt=0, le=1, description="least share of the range that a film of low contrast fills")
        ] = 0.3,
        noise: Annotated[
            float, Field(ge=0, le=0.5, description="largest standard deviation of the noise, share of range")
        ] = 0.08,
        saturated: Annotated[int, Field(ge=1, le=10_000, description="most pixels at either end of the range")] = 20,
        labels: Annotated[int, Field(ge=1, le=20, description="most burnt-in labels")] = 2,
        label_size: Annotated[
            float, Field(gt=0, le=0.5, description="largest height of a label, as a share of the film's")
        ] = 0.12,
        border: Annotated[
            float, Field(ge=0, le=0.3, description="widest border at each side, as a share of the film's")
        ] = 0.08,
        quality: Annotated[int, Field(ge=1, le=100, description="lowest quality of the JPEG; drawn from it to 90")] = 8,
        probability: Annotated[float, Field(ge=0, le=1, description="probability of each fault on a film")] = 0.2,
    ) -> None:
        self.contrast = contrast
        self.noise = noise
        self.saturated = saturated
        self.labels = labels
        self.label_size = label_size
        self.border = border
        self.quality = quality
        self.probability = probability

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Change the grey values of every film.

        Raises:
            ContractError: the batch holds the network's input.
        """
        if batch.regions is None:
            raise ContractError(
                "Degradation acts on films as they were taken, and got the network's input.",
                "Give batches with `regions`, see `cxrkit.Batch`.",
            )
        random = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        images = batch.images.clone()
        for square, (top, left, height, width) in zip(images[:, 0].numpy(), batch.regions.tolist(), strict=True):
            film = square[top : top + height, left : left + width]
            film[:] = self._degraded(film.copy(), random).clip(0, 1)
        return batch.with_(images=images)

    def _degraded(self, film: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """A film, float32 `(H, W)` in [0, 1], with some of the faults; it is changed in place."""

        def happens() -> bool:
            return random.random() < self.probability

        if happens():
            share = random.uniform(self.contrast, 1)
            film = film * np.float32(share) + np.float32(random.uniform(0, 1 - share))
        if happens():
            deviation = np.float32(random.uniform(0, self.noise))
            film = film + deviation * random.standard_normal(film.shape, dtype=np.float32)
        if happens():
            pixels = random.integers(film.size, size=random.integers(1, self.saturated, endpoint=True))
            film.flat[pixels] = random.integers(2, size=len(pixels))
        if happens():
            for _ in range(random.integers(1, self.labels, endpoint=True)):
                self._label(film, random)
        if happens():
            film[self._collimated(film.shape, random)] = random.choice([0, 0, random.random(), 1])
        if happens():
            film = _compressed(film, int(random.integers(self.quality, max(self.quality, 90), endpoint=True)))
        return film

    def _label(self, film: np.ndarray, random: np.random.Generator) -> None:
        """Text somewhere on a film, mostly of full brightness; alone, or cut out of a plate."""
        height, width = film.shape
        rows = max(3, round(random.uniform(0.25, 1) * self.label_size * height))
        text, margin = TEXTS[random.integers(len(TEXTS))], rows // 4
        size = (rows - 2 * margin) / cv2.getTextSize("R", cv2.FONT_HERSHEY_SIMPLEX, 1, 1)[0][1]
        columns = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)[0][0] + 2 * margin
        ink = np.zeros((rows, columns), np.uint8)
        cv2.putText(ink, text, (margin, rows - margin), cv2.FONT_HERSHEY_SIMPLEX, size, 255, 1 + rows // 16)
        top, left = (random.integers(max(1, room)) for room in (height - rows, width - columns))
        place = film[top : top + rows, left : left + columns]
        bright = (ink > 0)[: place.shape[0], : place.shape[1]]
        if random.random() < 0.5:
            bright = ~bright
            place[:] = 0
        place[bright] = 1 if random.random() < 0.7 else random.uniform(0.5, 1)

    def _collimated(self, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
        """What lies outside a slanted rectangle: bool `(H, W)`."""
        height, width = shape
        insets = self.border * random.random((4, 2)) * (width, height)
        edges = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]])
        inwards = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])
        outside = np.ones(shape, np.uint8)
        cv2.fillConvexPoly(outside, np.rint(edges + inwards * insets).astype(np.int32), 0)
        return outside.astype(bool)


def _compressed(film: np.ndarray, quality: int) -> np.ndarray:
    """A film after JPEG, which cuts off what is beyond [0, 1]."""
    grey = np.rint(film.clip(0, 1) * 255).astype(np.uint8)
    _, stream = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(stream, cv2.IMREAD_GRAYSCALE))
    return decoded.astype(np.float32) / np.float32(255)
