"""Pictures as the bytes of a PNG file."""

from __future__ import annotations

import imagecodecs
import numpy as np


def encode_png(pixels: np.ndarray) -> bytes:
    """Grey `(H, W)` uint8 or uint16, or RGB `(H, W, 3)` uint8, as PNG, without loss."""
    # libpng's quickest ways for films and masks: differences from the row above, of which equal ones are counted.
    how = {"level": 1, "filter": imagecodecs.PNG.FILTER.UP, "strategy": imagecodecs.PNG.STRATEGY.RLE}
    return bytes(imagecodecs.png_encode(np.ascontiguousarray(pixels), **how))
