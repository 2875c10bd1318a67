"""Reading the raw films of JSRT: Shiraishi et al., AJR 174 (2000), as its owners deliver them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cxrkit.errors import DataError
from cxrkit.segmentation import Film

#: Side of a film as it was scanned, pixels, and millimetres of one of them.
SIDE, SPACING = 2048, 0.175
#: The largest value of a film's 12 bits.
WHITE = 4095
_BYTES = SIDE * SIDE * 2


def read_img(path: Path) -> Film:
    """A raw JSRT film: uint16 `(2048, 2048)` in [0, 4095], bright where it shows bone, of 0.175 mm per pixel.

    The file holds big-endian uint16 in rows, without a header, and high values are dark.

    Raises:
        DataError: the file can't be read, is of another length, or has values of more than 12 bits.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror}.", "Check the path and its permissions.") from error
    if len(data) != _BYTES:
        state = "truncated" if len(data) < _BYTES else "not a raw JSRT film"
        raise DataError(
            f"{path}: is {state}: expected {_BYTES:,} bytes (2048 × 2048, two each), found {len(data):,}.",
            "Copy or unpack the file again; .img files of other kinds aren't read: export those as PNG or TIFF.",
        )
    stored = np.frombuffer(data, dtype=">u2").reshape(SIDE, SIDE)
    highest = int(stored.max())
    if highest > WHITE:
        swapped = int(stored.byteswap().max()) <= WHITE
        raise DataError(
            f"{path}: holds values up to {highest}, but a JSRT film has 12 bits (0 to {WHITE})"
            + ("; its bytes are swapped (little-endian)." if swapped else "."),
            "Use the original file, which is big-endian." if swapped else "Copy or unpack the original file again.",
        )
    return Film(WHITE - stored.astype(np.uint16), (SPACING, SPACING))
