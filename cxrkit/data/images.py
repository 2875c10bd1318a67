"""Films and masks from files: pictures (PNG, TIFF, JPEG, BMP, GIF), DICOM, and JSRT's .IMG.

The resolution (dpi) of a picture file says nothing dependable about millimetres on the detector, so only DICOM and
JSRT's films have a spacing.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from cxrkit.data.decoding import decode
from cxrkit.data.dicom_file import is_dicom
from cxrkit.data.limits import reading
from cxrkit.errors import DataError
from cxrkit.segmentation import Film, FilmSource

#: Suffixes that are recognised as films, lower case.
FILM_SUFFIXES: tuple[str, ...] = (
    *(".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp", ".gif", ".img"),
    *(".dcm", ".dicom", ".ima", ".dic", ".acr"),
)

#: A picture with colour in no more than this share of its pixels is a grey film with a coloured mark on it.
COLOURED_SHARE = 0.05

_OTHER_KINDS = {
    **dict.fromkeys((".webp",), "WebP"),
    **dict.fromkeys((".jp2", ".j2k", ".j2c", ".jpx", ".jpf"), "JPEG 2000"),
    **dict.fromkeys((".jls",), "JPEG-LS"),
    **dict.fromkeys((".heic", ".heif", ".avif"), "HEIF"),
    **dict.fromkeys((".nii", ".nii.gz"), "NIfTI"),
    **dict.fromkeys((".mha", ".mhd", ".nrrd", ".nhdr"), "MetaImage or NRRD"),
    **dict.fromkeys((".npy", ".npz"), "NumPy"),
    **dict.fromkeys((".zip", ".gz", ".tar", ".tgz", ".7z", ".rar"), "archives"),
    **dict.fromkeys((".txt", ".csv", ".tsv", ".json", ".xml", ".md", ".log", ".yaml", ".yml", ".html"), "text"),
    **dict.fromkeys((".pdf", ".doc", ".docx", ".xls", ".xlsx", ".ppt", ".pptx"), "documents"),
}
_JSRT_SUFFIX = ".img"
#: What red, green and blue add to a grey value (ITU-R BT.601).
_LUMA = (0.299, 0.587, 0.114)


def read_film(path: Path, *, window: int | None = 1) -> Film:
    """Read a film; 16-bit films stay 16-bit, wider integers become uint16 where they fit.

    Args:
        path: the file.
        window: the n-th of a DICOM file's VOI look-up tables and windows, in this order, from 1; None for none of them.

    Raises:
        DataError: the file is missing, empty, damaged, not a picture, coloured but for a mark, translucent, of several
            pages, turned by EXIF, too large, not finite, constant, or looks like a mask; it names the file and the
            remedy.
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
        film = _film_of_picture(path)
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
    channels). With one, what is greater than it is structure. An empty mask is returned as all False; the caller
    decides whether that is allowed.

    Raises:
        DataError: the file can't be read (see `read_film`), is coloured, or has more than two values.
    """
    pixels = _mask_pixels(path, numbers=False)
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
            "If they stand for several structures, name those: --set 'data.labels={left_lung: 1, ...}'.",
        )
    return np.asarray(pixels != 0)


def read_labels(path: Path) -> np.ndarray:
    """Read a picture of class numbers, integers `(H, W)`: a palette's indices, or grey values.

    Raises:
        DataError: the file can't be read (see `read_film`), is coloured, or holds fractions.
    """
    pixels = _mask_pixels(path, numbers=True)
    if pixels.dtype.kind == "f":
        whole = np.isfinite(pixels).all() and (pixels == np.round(pixels)).all() and np.abs(pixels).max() < 2**31
        if not whole:
            raise DataError(f"{path}: holds other values than whole numbers.", "Save the class numbers as grey PNG.")
        pixels = pixels.astype(np.int64)
    return pixels


def _mask_pixels(path: Path, *, numbers: bool) -> np.ndarray:
    path = Path(path)
    _must_be_file(path)
    if is_dicom(path) or path.suffix.lower() == _JSRT_SUFFIX:
        kind = "DICOM" if is_dicom(path) else "raw"
        raise DataError(f"{path}: is a {kind} file; masks are read from picture files.", "Export the mask as PNG.")
    with reading(path):
        return _as_grey(decode(path, numbers=numbers), path, "mask")


def _two_valued(pixels: np.ndarray) -> bool:
    # Far cheaper than np.unique, which sorts.
    return bool(((pixels == pixels.min()) | (pixels == pixels.max())).all())


def warn_of_left_out(folder: Path, files: Iterable[Path]) -> None:
    """Warn the user, in a line, how many files of which kinds in a folder are no films or masks that are read."""
    names = [file.name.lower() for file in files]
    kinds = Counter(
        "NIfTI" if name.endswith(".nii.gz") else _OTHER_KINDS.get(Path(name).suffix, f"*{Path(name).suffix}")
        for name in names
    )
    if kinds:
        which = ", ".join(
            f"{count} {'without a suffix' if kind == '*' else kind}" for kind, count in kinds.most_common()
        )
        few = "file in it is" if len(names) == 1 else "files in it are"
        warnings.warn(f"{folder}: {len(names)} {few} left out, of kinds that aren't read: {which}.", stacklevel=3)


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


def _film_of_picture(path: Path) -> Film:
    """A picture as a film: grey, or grey but for a small coloured part, which a remark then mentions."""
    pixels = _opaque(decode(path), path, "film")
    if pixels.ndim == 2:
        return Film(pixels, None)
    grey = np.ascontiguousarray(pixels[..., 0])
    coloured = (pixels != grey[..., None]).any(axis=2)
    share = coloured.mean()
    if share == 0:
        return Film(grey, None)
    if share > COLOURED_SHARE:
        raise _colour_picture(path, "film")
    grey[coloured] = (
        np.rint(pixels[coloured] @ np.array(_LUMA)) if grey.dtype.kind in "ui" else pixels[coloured] @ _LUMA
    )
    return Film(grey, None, (f"{100 * share:.2g} % of the picture is coloured, a mark perhaps; it was read as grey",))


def _opaque(pixels: np.ndarray, path: Path, role: str) -> np.ndarray:
    """`(H, W)` or `(H, W, 3)` of a picture whose alpha, if any, is opaque."""
    if pixels.ndim == 2:
        return pixels
    if pixels.shape[2] in (2, 4):
        alpha, pixels = pixels[..., -1], pixels[..., :-1]
        opaque = np.iinfo(alpha.dtype).max if alpha.dtype.kind == "u" else 1
        if (alpha != opaque).any():
            raise DataError(f"{path}: the {role} is partly transparent.", "Save it without an alpha channel.")
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels


def _as_grey(pixels: np.ndarray, path: Path, role: str) -> np.ndarray:
    """`(H, W)` of a picture whose colour channels are equal and whose alpha, if any, is opaque."""
    pixels = _opaque(pixels, path, role)
    if pixels.ndim == 2:
        return pixels
    grey: np.ndarray = pixels[..., 0]
    if (pixels != grey[..., None]).any():
        raise _colour_picture(path, role)
    return np.ascontiguousarray(grey)


def _colour_picture(path: Path, role: str) -> DataError:
    return DataError(
        f"{path}: is a colour picture: its red, green and blue differ; a {role} is grey.",
        f"Save the {role} as grey; if it carries coloured marks, export it again without them.",
    )


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
