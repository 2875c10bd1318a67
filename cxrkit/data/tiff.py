"""Reading TIFF pictures, by tifffile: all kinds of numbers, strips and tiles, one plane or several.

Pillow reads some kinds wrongly (signed 8 bits, 16-bit planes) and libtiff prints to stderr.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cxrkit.data.limits import refuse_huge
from cxrkit.errors import DataError

#: The first bytes of TIFF and BigTIFF files, of either byte order.
BEGINNINGS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

#: Compressions that are read, by TIFF's number, and how many times smaller they can make data at most: none, CCITT (a
#: line of white takes a bit), LZW, JPEG, deflate, PackBits, LZMA and Zstandard.
_COMPRESSIONS = {
    1: 1,
    2: 1e5,
    3: 1e5,
    4: 1e5,
    5: 2800,
    7: 1600,
    8: 1032,
    32946: 1032,
    32773: 64,
    34925: 1e4,
    50000: 1e5,
}
_ORIENTATION = 274
_COLOURED = {5: "CMYK", 8: "Lab", 9: "Lab", 10: "Lab"}


def read_tiff(path: Path, *, numbers: bool = False) -> np.ndarray:
    """The pixels of a TIFF file of one page, `(H, W)` or `(H, W, channels)`, of the type that it holds.

    Where low means white they are inverted, palettes are looked up, and fewer than 8 bits are spread over 8; not so
    with `numbers`, for pixels that are class numbers.

    Raises:
        DataError: it has several pages, lies turned, is too large or cut off, or is of a kind that isn't read.
            Damaged files may raise anything.
    """
    from tifffile import TiffFile

    with TiffFile(path) as file:
        if (pages := len(file.pages)) > 1:
            raise DataError(f"{path}: holds {pages} pages or frames; a film is one.", "Save the right one by itself.")
        page: Any = file.pages.first
        refuse_huge(path, page.imagelength, page.imagewidth)
        refuse_turned(path, page.tags.valueof(_ORIENTATION))
        _must_be_readable(path, page)
        pixels: np.ndarray = page.asarray(maxworkers=1)
    if pixels.shape != page.shape or pixels.size == 0:
        raise DataError(f"{path}: the picture is truncated: it has the shape {pixels.shape}.", "Copy it again.")
    if page.axes == "SYX":
        pixels = np.moveaxis(pixels, 0, -1)
    return pixels if numbers else _as_shown(pixels, page)


def refuse_turned(path: Path, orientation: int | None) -> None:
    """Raise DataError for a picture whose EXIF or TIFF orientation isn't the upright one."""
    if orientation not in (None, 0, 1):
        raise DataError(
            f"{path}: lies turned in its file, and an EXIF orientation says how, which not every program follows.",
            "Save it upright, without that tag.",
        )


def _must_be_readable(path: Path, page: Any) -> None:
    if page.photometric in _COLOURED:
        raise DataError(f"{path}: is a {_COLOURED[page.photometric]} picture, not grey.", "Save it as grey.")
    kind = page.dtype
    # 24-bit floats come as float32, and numbers of 1 to 64 bits in whole bytes.
    if page.axes not in ("YX", "YXS", "SYX") or page.samplesperpixel > 4 or kind is None or kind.kind not in "biuf":
        number = getattr(page.sampleformat, "name", page.sampleformat)
        raise DataError(
            f"{path}: is a TIFF of {page.bitspersample}-bit {str(number).lower()} numbers, {page.samplesperpixel} a "
            "pixel, which aren't read as a film.",
            "Save it as grey, of 8 or 16 bits or as 32-bit float.",
        )
    if page.compression not in _COMPRESSIONS:
        name = getattr(page.compression, "name", page.compression)
        raise DataError(f"{path}: is compressed as {name}, which isn't read.", "Save it uncompressed or with deflate.")
    size = path.stat().st_size
    segments = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    if len(segments) != np.prod(page.chunked) or any(
        offset <= 0 or count <= 0 or offset + count > size for offset, count in segments
    ):
        raise DataError(f"{path}: the picture is truncated: parts of it aren't in the file.", "Copy it again.")
    needed = page.imagewidth * page.imagelength * page.samplesperpixel * page.bitspersample / 8
    if needed > _COMPRESSIONS[page.compression] * sum(count for _, count in segments):
        raise DataError(
            f"{path}: is {page.imagewidth} × {page.imagelength} pixels by its header, but holds far less data.",
            "Copy or export the file again.",
        )


def _as_shown(pixels: np.ndarray, page: Any) -> np.ndarray:
    bits = page.bitspersample
    if page.colormap is not None:
        # 16 bits a colour, made from 8 by nearly all programs.
        return np.asarray(page.colormap[:, pixels].transpose(1, 2, 0) >> 8).astype(np.uint8)
    if pixels.dtype == np.bool_ or (bits < 8 and pixels.dtype == np.uint8):
        pixels = pixels.astype(np.uint8) * np.uint8(255 // (2**bits - 1))
    if page.photometric == 0:  # low means white
        return np.uint8(255) - pixels if pixels.dtype == np.uint8 else pixels.max() - (pixels - pixels.min())
    return pixels
