"""A film seen in several slightly different ways: test-time augmentation, and how well the views agree.

No view is a flip: a mirrored chest has its heart on the other side, and isn't a film of the kind that networks know.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from cxrkit.engine.predictor import Predictor, finite_probabilities


@dataclass(frozen=True)
class View:
    """A small change of the network's input.

    Attributes:
        right, down: shift, in sides of the square.
        scale: of the film about the centre; above 1 it is larger.
        degrees: turn about the centre, clockwise.
        contrast: factor of the grey values.
    """

    right: float = 0.0
    down: float = 0.0
    scale: float = 1.0
    degrees: float = 0.0
    contrast: float = 1.0

    def look(self, images: np.ndarray) -> np.ndarray:
        """Images `(B, 1, H, W)` as this view has them."""
        return _moved(images, np.linalg.inv(self._matrix)) * np.float32(self.contrast)

    def back(self, probabilities: np.ndarray) -> np.ndarray:
        """What was predicted of them, `(B, C, H, W)`, at the places of the images as they were."""
        return _moved(probabilities, self._matrix)

    @property
    def _matrix(self) -> np.ndarray:
        """Where a point of the images goes, in coordinates from −1 to 1; `(3, 3)`."""
        angle = math.radians(self.degrees)
        cos, sin = self.scale * math.cos(angle), self.scale * math.sin(angle)
        return np.array([[cos, -sin, 2 * self.right], [sin, cos, 2 * self.down], [0, 0, 1]])


#: The film as it is, and others: each costs as much as the first.
VIEWS = (
    View(),
    View(scale=0.93),
    View(degrees=-5),
    View(contrast=0.85),
    View(right=0.03, down=0.02),
    View(right=-0.03, down=-0.02),
    View(scale=1.07),
    View(degrees=5),
)
#: How many of them, from the first, quality is estimated from. More tell bad masks from good ones no better.
FOR_QUALITY = 4


def _moved(planes: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Planes `(B, C, H, W)` float32, each pixel taken from where `matrix` sends it, linearly; edges are continued."""
    if np.array_equal(matrix, np.eye(3)):
        return planes
    height, width = planes.shape[-2:]
    to_pixels = np.array([[width / 2, 0, (width - 1) / 2], [0, height / 2, (height - 1) / 2], [0, 0, 1]])
    transform = (to_pixels @ matrix @ np.linalg.inv(to_pixels))[:2]
    moved = [
        cv2.warpAffine(
            plane,
            transform,
            (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        for plane in planes.reshape(-1, height, width)
    ]
    return np.stack(moved).reshape(planes.shape)


def view_probabilities(predictor: Predictor, images: np.ndarray, views: Sequence[View] = VIEWS) -> np.ndarray:
    """What a predictor makes of views of images `(B, 1, H, W)`: float32 `(V, B, C, H, W)`.

    Raises:
        NotFiniteError: values that aren't finite.
    """
    return np.stack([view.back(finite_probabilities(predictor, view.look(images))) for view in views])
