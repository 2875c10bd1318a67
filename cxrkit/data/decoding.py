"""From a picture file to its pixels: PNG, JPEG, BMP and GIF here, TIFF in a module of its own.

Pillow reads the header, so that a picture of monstrous size is refused before it is decoded. Damaged data must never
pass for a picture: libpng, by imagecodecs, checks each chunk, the checksum of the whole and that no row is missing,
where Pillow leaves rows black; and it keeps 16-bit colour, which Pillow reduces to 8. JPEG, BMP and GIF have no
checksum: of these, what was changed within the compressed data can't be noticed, only what is missing.

A picture that is turned by an EXIF orientation is refused: masks that were drawn on it rarely carry one, so that it
is unknown which way they lie.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from cxrkit.data import tiff
from cxrkit.data.limits import refuse_huge
from cxrkit.errors import CxrkitError, DataError

#: The most pixels that a byte of a file can stand for: deflate makes 1,032 bytes of one, each of up to 8 pixels; JPEG
#: needs a bit for a block of 64; BMP and GIF need 2 bytes for 255, and 12 bits for 4,095.
_MOST_IN_A_BYTE = {"PNG": 8256, "JPEG": 512, "BMP": 128, "GIF": 2730}
_COLOUR_SPACES = {"CMYK": "CMYK", "YCbCr": "YCbCr", "LAB": "Lab", "HSV": "HSV"}
_PLAIN_MODES = {"1": "L", "P": "RGB", "PA": "RGBA", "La": "LA", "RGBa": "RGBA"}
_ORIENTATION = 274
#: The chunks of a PNG in which an orientation may lie: EXIF, or text as some programs write it.
_TEXT_CHUNKS = (b"eXIf", b"iTXt", b"zTXt", b"tEXt")

# They log what is odd about a file; what matters is raised.
for _library in ("imagecodecs", "tifffile"):
    logging.getLogger(_library).addHandler(logging.NullHandler())


def decode(path: Path, *, numbers: bool = False) -> np.ndarray:
    """The pixels as stored: `(H, W)` or `(H, W, channels)`; palettes are looked up, 1-bit becomes 0/255.

    With `numbers`, for pixels that are class numbers, those of a palette stay as they are, and so do few bits of a
    TIFF.

    Raises:
        DataError: the file isn't a picture, is damaged, too large, of several pages, not grey or RGB, or turned.
    """
    with _decoding(path):
        with path.open("rb") as file:
            beginning = file.read(4)
        if beginning in tiff.BEGINNINGS:
            return tiff.read_tiff(path, numbers=numbers)
        with Image.open(path, formats=tuple(_MOST_IN_A_BYTE)) as image:
            refuse_huge(path, image.height, image.width)
            _must_be_one_plain_picture(path, image)
            pixels = _decode_png(path, image) if image.format == "PNG" else None
            if pixels is None or (numbers and image.mode == "P"):
                pixels = np.asarray(
                    image if numbers and image.mode == "P" else image.convert(_PLAIN_MODES.get(image.mode, image.mode))
                )
            if image.format != "PNG":
                tiff.refuse_turned(path, image.getexif().get(_ORIENTATION))
            return pixels


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """Turn whatever a decoder raises on a broken file into a DataError that names it."""
    try:
        yield
    except (CxrkitError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise DataError(
            f"{path}: is not a readable picture, or is cut off.",
            f"cxrkit reads {', '.join(('TIFF', *_MOST_IN_A_BYTE))}, DICOM and JSRT's .IMG. If a viewer can't open it "
            "either, copy it again.",
        ) from error
    except Image.DecompressionBombError as error:
        raise DataError(
            f"{path}: is too large for a film ({error}).", "Scale it down, or check that this is the right file."
        ) from error
    # A corrupt file makes decoders raise anything from SyntaxError to struct.error.
    except Exception as error:
        raise DataError(
            f"{path}: the picture is truncated or corrupt ({error}).", "Copy or export the file again."
        ) from error


def _must_be_one_plain_picture(path: Path, image: Image.Image) -> None:
    if image.width * image.height > _MOST_IN_A_BYTE[str(image.format)] * path.stat().st_size:
        raise DataError(
            f"{path}: is {image.width} × {image.height} pixels by its header, but holds far less data.",
            "Copy or export the file again.",
        )
    if (pages := getattr(image, "n_frames", 1)) > 1:
        raise DataError(f"{path}: holds {pages} pages or frames; a film is one.", "Save the right one by itself.")
    if image.mode in _COLOUR_SPACES:
        raise DataError(f"{path}: is a {_COLOUR_SPACES[image.mode]} picture, not grey.", "Save it as grey.")


def _decode_png(path: Path, image: Image.Image) -> np.ndarray:
    from imagecodecs import png_decode

    data = path.read_bytes()
    pixels = np.asarray(png_decode(data))
    if any(kind in data for kind in _TEXT_CHUNKS):
        tiff.refuse_turned(path, image.getexif().get(_ORIENTATION))  # which decodes it by Pillow, too
    return pixels
