"""Reading films and masks from picture files: PNG, TIFF, JPEG, BMP and GIF here, DICOM and JSRT's .IMG by their rooms.

Pillow reads the header first, so that a picture of monstrous size is refused before it is decoded. It decodes
too, because it raises on a truncated file where OpenCV hands back what it got; OpenCV decodes only 16-bit colour,
which Pillow would reduce to 8 bits.

A picture that is turned by an EXIF orientation is refused: masks that were drawn on it rarely carry one, so that it
is unknown which way they lie. The resolution (dpi) of a picture file says nothing dependable about millimetres on the
detector, so only DICOM and JSRT's films have a spacing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from cxrkit.data.dicom_file import is_dicom
from cxrkit.data.limits import reading, refuse_huge
from cxrkit.errors import CxrkitError, DataError
from cxrkit.segmentation import Film, FilmSource

#: Suffixes that are recognised as films, lower case.
FILM_SUFFIXES: tuple[str, ...] = (
    *(".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp", ".gif", ".img"),
    *(".dcm", ".dicom", ".ima", ".dic", ".acr"),
)

_FORMATS = ("PNG", "TIFF", "JPEG", "BMP", "GIF")
_JSRT_SUFFIX = ".img"
_COLOUR_SPACES = {"CMYK": "CMYK", "YCbCr": "YCbCr", "LAB": "Lab", "HSV": "HSV"}
_PLAIN_MODES = {"1": "L", "P": "RGB", "PA": "RGBA", "La": "LA", "RGBa": "RGBA"}
_TIFF_PHOTOMETRIC = 262
_MIN_IS_WHITE = 0
_ORIENTATION = 274


def read_film(path: Path, *, window: int | None = 1) -> Film:
    """Read a film; 16-bit films stay 16-bit, wider integers become uint16 where they fit.

    Args:
        path: the file.
        window: the n-th of a DICOM file's VOI look-up tables and windows, in this order, from 1; None for none of them.

    Raises:
        DataError: the file is missing, empty, truncated, not a picture, coloured, translucent, of several pages,
            turned by EXIF, too large, not finite, constant, or looks like a mask; it names the file and the remedy.
    """
    path = Path(path)
    _must_be_file(path)
    with reading(path):
        return _read(path, window)


def _read(path: Path, window: int | None) -> Film:
    if is_dicom(path):
        from cxrkit.data.dicom import read_dicom

        film = read_dicom(path, window)
    elif path.suffix.lower() == _JSRT_SUFFIX:
        from cxrkit.data.jsrt_img import read_img

        film = read_img(path)
    else:
        film = Film(_as_grey(_decode(path), path, "film"), None)
    pixels = _film_type(film.pixels, path)
    check_shows_something(pixels, str(path))
    return replace(film, pixels=pixels, source=film.source or FilmSource(path))


def check_shows_something(pixels: np.ndarray, name: str) -> None:
    """Refuse what can't be a film.

    Raises:
        DataError: all pixels are equal, or of two values as a mask's are.
    """
    low, high = pixels.min(), pixels.max()
    if low == high:
        raise DataError(f"{name}: every pixel is {low}; a film shows something.", "Export it again, or leave it out.")
    if _two_valued(pixels):
        raise DataError(
            f"{name}: has only the two values {low} and {high}; this looks like a mask, not a film.",
            "Check that films and masks are not swapped.",
        )


def read_mask(path: Path, *, threshold: int | None = None) -> np.ndarray:
    """Read a mask as bool `(H, W)`: non-zero is structure, and so a mask of one non-zero value is all True.

    Without a threshold the file must hold 0 and at most one other value (1-bit, grey, palette or equal RGB
    channels). With one, what is greater than it is structure. An empty mask comes back all False; whether that is
    allowed is the caller's matter.

    Raises:
        DataError: the file can't be read (see `read_film`), is coloured, or has more than two values.
    """
    path = Path(path)
    _must_be_file(path)
    if is_dicom(path) or path.suffix.lower() == _JSRT_SUFFIX:
        kind = "DICOM" if is_dicom(path) else "raw"
        raise DataError(f"{path}: is a {kind} file; masks are read from picture files.", "Export the mask as PNG.")
    pixels = _as_grey(_decode(path), path, "mask")
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise DataError(f"{path}: the mask holds values that are not finite (NaN or infinity).", "Export it as PNG.")
    if threshold is not None:
        return np.asarray(pixels > threshold)
    constant = pixels.min() == pixels.max()
    if not constant and not (_two_valued(pixels) and pixels.min() == 0):
        values = np.unique(pixels)
        shown = ", ".join(str(value) for value in values[:4]) + (", …" if len(values) > 4 else "")
        raise DataError(
            f"{path}: a mask holds 0 and one other value, but this one holds {len(values)} ({shown}).",
            "If the greys are soft or compressed edges, say where to cut: --set data.mask_threshold=127. "
            "If they stand for several structures, save each as a mask of its own.",
        )
    return np.asarray(pixels != 0)


def _two_valued(pixels: np.ndarray) -> bool:
    # Far cheaper than np.unique, which sorts.
    return bool(((pixels == pixels.min()) | (pixels == pixels.max())).all())


def _must_be_file(path: Path) -> None:
    try:
        size = path.stat().st_size
        if path.is_dir():
            raise DataError(f"{path}: is a folder, not a picture.", "Name the file itself.")
        if size == 0:
            raise DataError(f"{path}: the file is empty (0 bytes).", "Copy or export it again.")
        with path.open("rb"):
            pass
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file.", "Check the path; names are case-sensitive.") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"{path}: can't be read: {reason}.", "Check the path and its permissions.") from error


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
            f"cxrkit reads {', '.join(_FORMATS)}, DICOM and JSRT's .IMG. If a viewer can't open it either, "
            "copy it again.",
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


def _decode(path: Path) -> np.ndarray:
    """The pixels as stored: `(H, W)` or `(H, W, channels)`; palettes are looked up, 1-bit becomes 0/255."""
    with _decoding(path), Image.open(path, formats=_FORMATS) as image:
        refuse_huge(path, image.height, image.width)
        pages = getattr(image, "n_frames", 1)
        if pages > 1:
            raise DataError(f"{path}: holds {pages} pages or frames; a film is one.", "Save the right one by itself.")
        if image.mode in _COLOUR_SPACES:
            raise DataError(f"{path}: is a {_COLOUR_SPACES[image.mode]} picture, not grey.", "Save it as grey.")
        deep_colour = len(image.getbands()) > 1 and any(";16" in str(tile[3]) for tile in image.tile)
        # Pillow inverts 8-bit pictures where low means white, but not wider ones.
        inverted = _tiff_tag(image, _TIFF_PHOTOMETRIC) == _MIN_IS_WHITE and image.mode not in ("1", "L", "P")
        turns = {_tiff_tag(image, _ORIENTATION)}  # now, for Pillow turns a TIFF as it loads it
        image.load()
        turns.add(image.getexif().get(_ORIENTATION))  # now, for Pillow loads a PNG to find it
        if turns - {None, 0, 1}:
            raise DataError(
                f"{path}: lies turned in its file, and an EXIF orientation says how, which not every program follows.",
                "Save it upright, without that tag.",
            )
        if deep_colour:
            return _decode_deep_colour(path)
        pixels = np.asarray(image.convert(_PLAIN_MODES.get(image.mode, image.mode)))
    if inverted:
        pixels = pixels.max() - (pixels - pixels.min())
    return pixels


def _tiff_tag(image: Image.Image, tag: int) -> int | None:
    tags = getattr(image, "tag_v2", None)
    return None if tags is None else tags.get(tag)


def _decode_deep_colour(path: Path) -> np.ndarray:
    # imdecode rather than imread: the latter can't open every path on Windows.
    pixels = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise DataError(f"{path}: the picture can't be decoded.", "Save it as 16-bit grey PNG.")
    return np.asarray(pixels)


def _as_grey(pixels: np.ndarray, path: Path, role: str) -> np.ndarray:
    """`(H, W)` of a picture whose colour channels are equal and whose alpha, if any, is opaque."""
    if pixels.ndim == 2:
        return pixels
    if pixels.shape[2] in (2, 4):
        alpha, pixels = pixels[..., -1], pixels[..., :-1]
        opaque = np.iinfo(alpha.dtype).max if alpha.dtype.kind == "u" else 1
        if (alpha != opaque).any():
            raise DataError(f"{path}: the {role} is partly transparent.", "Save it without an alpha channel.")
    grey: np.ndarray = pixels[..., 0]
    if (pixels != grey[..., None]).any():
        raise DataError(
            f"{path}: is a colour picture: its red, green and blue differ; a {role} is grey.",
            f"Save the {role} as grey; if it carries coloured marks, export it again without them.",
        )
    return np.ascontiguousarray(grey)


def _film_type(pixels: np.ndarray, path: Path) -> np.ndarray:
    """uint8, uint16 or finite float32 of whatever was decoded."""
    if pixels.dtype in (np.uint8, np.uint16):
        return pixels
    if pixels.dtype.kind == "f":
        if not np.isfinite(pixels).all():
            raise DataError(
                f"{path}: the film holds values that are not finite (NaN or infinity).",
                "Export it again, or replace those values.",
            )
        return pixels.astype(np.float32)
    low, high = int(pixels.min()), int(pixels.max())
    if low < 0 or high > np.iinfo(np.uint16).max:
        raise DataError(
            f"{path}: its {pixels.dtype} values run from {low} to {high} and don't fit into 16 bits (0 to 65535).",
            "Save it as 16-bit grey or 32-bit float TIFF.",
        )
    return pixels.astype(np.uint16)
