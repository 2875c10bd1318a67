"""The drawing board of the synthetic radiographs: from outlines in millimetres to pixels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.random import Generator

#: Side of the square film in millimetres: that of a JSRT film, 2048 pixels of 0.175 mm.
FILM_WIDTH = 358.4
_SUBPIXEL_BITS = 6


@dataclass(frozen=True, slots=True)
class Pose:
    """How the patient stands before the film: turn in degrees, shift in millimetres, and magnification."""

    turn: float
    shift: tuple[float, float]
    scale: float


def draw_pose(rng: Generator) -> Pose:
    """A patient who stands roughly straight and in the middle."""
    shift = (float(rng.normal(0, 6)), float(rng.normal(8, 8)))
    return Pose(turn=float(rng.normal(0, 2.2)), shift=shift, scale=float(rng.uniform(0.94, 1.04)))


@dataclass(frozen=True)
class Canvas:
    """Draws outlines in millimetres on a square of `size` pixels."""

    size: int
    pose: Pose

    @cached_property
    def pixels_per_mm(self) -> float:
        """Of the magnified patient."""
        return self.size / FILM_WIDTH * self.pose.scale

    @cached_property
    def _matrix(self) -> tuple[np.ndarray, np.ndarray]:
        angle = np.deg2rad(self.pose.turn)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * self.pixels_per_mm
        offset = (0.5 + np.array(self.pose.shift) / FILM_WIDTH) * self.size - 0.5
        return turn.T, offset

    def points(self, outline: np.ndarray) -> np.ndarray:
        """Millimetres `(..., 2)` to OpenCV's fixed-point pixels."""
        matrix, offset = self._matrix
        return np.round((outline @ matrix + offset) * (1 << _SUBPIXEL_BITS)).astype(np.int32)

    def mask(self, outline: np.ndarray) -> np.ndarray:
        """Bool `(size, size)`: the pixels inside."""
        field = np.zeros((self.size, self.size), np.uint8)
        cv2.fillPoly(field, [self.points(outline)], 1, cv2.LINE_8, _SUBPIXEL_BITS)
        return field.view(bool)

    def shade(self, *layers: tuple[np.ndarray, float], blur: float = 0.0) -> np.ndarray:
        """Float32 `(size, size)`: outlines `(..., N, 2)` painted over each other with values in [0, 1].

        `blur` is a standard deviation in millimetres.
        """
        field = np.zeros((self.size, self.size), np.uint8)
        for outlines, value in layers:
            for outline in self.points(outlines).reshape(-1, outlines.shape[-2], 2):
                cv2.fillPoly(field, [outline], round(255 * value), cv2.LINE_AA, _SUBPIXEL_BITS)
        return self.blur(field.astype(np.float32) / 255.0, blur)

    def strokes(self, field: np.ndarray, lines: np.ndarray, width: float, strength: float = 1.0) -> None:
        """Draw lines `(..., N, 2)`, `width` millimetres wide, into a uint8 field.

        Lines thinner than a pixel are drawn fainter instead.
        """
        width *= self.pixels_per_mm
        value = round(255 * strength * min(1.0, width))
        chunks = list(self.points(lines).reshape(-1, lines.shape[-2], 2))
        cv2.polylines(field, chunks, False, value, max(1, round(width)), cv2.LINE_AA, _SUBPIXEL_BITS)

    def blur(self, field: np.ndarray, deviation: float) -> np.ndarray:
        """Gaussian blur by millimetres."""
        deviation *= self.pixels_per_mm
        return cv2.GaussianBlur(field, (0, 0), deviation) if deviation > 0.25 else field

    def profile(self, mask: np.ndarray, radius: float) -> np.ndarray:
        """Thickness, in parts of the full one, of a body whose rim is round over `radius` millimetres."""
        depth = cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, 3) / (radius * self.pixels_per_mm)
        return np.asarray(np.sqrt(1.0 - (1.0 - np.minimum(depth, 1.0)) ** 2))


def texture(rng: Generator, size: int, *, coarsest: int, finest: int) -> np.ndarray:
    """Noise `(size, size)` of about unit variance with as much of each scale between two grids."""
    total = np.zeros((size, size), np.float32)
    octaves = 0
    grid = coarsest
    while grid <= finest:
        patch = rng.standard_normal((grid, grid), dtype=np.float32)
        total += cv2.resize(patch, (size, size), interpolation=cv2.INTER_CUBIC)
        grid *= 2
        octaves += 1
    return total / np.sqrt(octaves) / 0.8


def largest_part(mask: np.ndarray) -> np.ndarray:
    """The largest 8-connected part of a mask; slivers that the heart cuts off the lung are no lung."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8))
    if count <= 2:
        return mask
    return np.asarray(labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])))
