"""Pictures as the bytes of a PNG file."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import imagecodecs
import numpy as np

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_UP = 2  # the filter: what is stored of a row is the difference from the row above
_deflated: Any = imagecodecs.zlibng_encode if imagecodecs.ZLIBNG.available else zlib.compress


def encode_png(pixels: np.ndarray) -> bytes:
    """Grey `(H, W)` uint8 or uint16, or RGB `(H, W, 3)` uint8, as PNG.

    All rows have one filter, which takes less time than choosing one for each. They are compressed by zlib-ng, or by
    zlib, which is slower, where imagecodecs was built without it.
    """
    height, width = pixels.shape[:2]
    rows = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder(">")).view(np.uint8).reshape(height, -1)
    filtered = np.empty((height, rows.shape[1] + 1), dtype=np.uint8)
    filtered[:, 0], filtered[0, 1:] = _UP, rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    depth, colour = 8 * pixels.itemsize, 2 if pixels.ndim == 3 else 0
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", _deflated(filtered, level=2)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
