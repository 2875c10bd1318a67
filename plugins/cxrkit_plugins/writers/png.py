"""Pictures as the bytes of a PNG file."""

from __future__ import annotations

import cv2
import numpy as np


def encode_png(pixels: np.ndarray) -> bytes:
    """Grey `(H, W)` uint8 or uint16, or RGB `(H, W, 3)` uint8, as PNG."""
    return bytes(cv2.imencode(".png", pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1])
