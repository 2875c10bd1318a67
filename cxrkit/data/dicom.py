"""Reading DICOM films: modality and VOI look-up tables, MONOCHROME1, pixel spacing.

pydicom is an optional dependency: `pip install 'cxrkit[dicom]'`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from cxrkit.data.dicom_header import remarks
from cxrkit.data.limits import refuse_huge
from cxrkit.errors import DataError
from cxrkit.segmentation import Film, FilmSource

_DECODERS = (
    "Install a decoder (pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg), or decompress the file, with "
    "dcmdjpeg or gdcmconv --raw for example."
)


class DicomSource(FilmSource):
    """A DICOM file, whose header is read when it is first used."""

    dicom = True

    @cached_property
    def header(self) -> Any:
        """The header without pixels, a `pydicom.Dataset`."""
        return read_header(self.path, pixels=False)


def read_dicom(path: Path) -> Film:
    """Read a single-frame grey DICOM film, as a viewer would show it by default.

    The stored values go through the modality LUT (or rescale slope and intercept), then the first VOI LUT or
    window if there is one, and are inverted for MONOCHROME1, so that bone is bright. Padding becomes the darkest
    value. Values that are whole and fit become uint16, others float32.

    The spacing is PixelSpacing, else ImagerPixelSpacing: (row, column) millimetres. Unless the file's maker has
    calibrated PixelSpacing, both are measured on the detector, where the chest appears magnified by some 5 to 20 %
    (distance of source to detector over that of source to patient); ratios such as the cardiothoracic one are free
    of it as far as both lengths lie at the same depth.

    Raises:
        DataError: pydicom is missing, or the file is not a DICOM film of one frame, is coloured, truncated, or
            compressed in a way that no installed decoder reads.
    """
    dataset = read_header(path)
    _must_be_grey_film(path, dataset)
    raw = _pixels(path, dataset)
    if raw.ndim != 2:
        raise DataError(f"{path}: decodes to the shape {raw.shape}; a film is (rows, columns).", "Save one frame.")
    pixels = _as_shown(path, dataset, raw)
    return Film(_narrow(pixels), _spacing(dataset), remarks(dataset), DicomSource(path))


def read_header(path: Path, *, pixels: bool = True) -> Any:
    """The `pydicom.Dataset` of a file, with or without its pixels.

    Raises:
        DataError: pydicom is missing, or the file is not DICOM, truncated or corrupt.
    """
    try:
        import pydicom
        from pydicom.errors import InvalidDicomError
    except ImportError as error:
        raise DataError(
            f"{path}: is a DICOM file, and pydicom, which reads those, is not installed.", "pip install 'cxrkit[dicom]'"
        ) from error
    try:
        return pydicom.dcmread(path, stop_before_pixels=not pixels)
    except InvalidDicomError as error:
        raise DataError(
            f"{path}: is not a DICOM file.", "Check the file, or give it the suffix it should have."
        ) from error
    # A corrupt file makes the parser raise anything from EOFError to struct.error.
    except Exception as error:
        raise DataError(f"{path}: the DICOM file is truncated or corrupt ({error}).", "Copy it again.") from error


def _must_be_grey_film(path: Path, dataset: Any) -> None:
    if "PixelData" not in dataset:
        raise DataError(f"{path}: the DICOM file holds no pixels.", "Name a file that holds an image.")
    if (frames := int(dataset.get("NumberOfFrames") or 1)) > 1:
        raise DataError(f"{path}: holds {frames} frames; a film is one.", "Save the right frame by itself.")
    photometric = str(dataset.get("PhotometricInterpretation", ""))
    if photometric not in ("MONOCHROME1", "MONOCHROME2") or int(dataset.get("SamplesPerPixel") or 1) != 1:
        raise DataError(
            f"{path}: is a {photometric or 'DICOM'} picture, not a grey film (MONOCHROME1 or MONOCHROME2).",
            "Export the original film rather than a screenshot of it.",
        )
    refuse_huge(path, int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0))


def _pixels(path: Path, dataset: Any) -> np.ndarray:
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    try:
        return np.asarray(dataset.pixel_array)
    # pydicom raises many kinds, plugins of decoders more.
    except Exception as error:
        if syntax is not None and syntax.is_compressed and isinstance(error, RuntimeError | NotImplementedError):
            raise DataError(
                f"{path}: is compressed as {syntax.name}, which can't be decoded here.", _DECODERS
            ) from error
        raise DataError(
            f"{path}: the pixels are truncated or corrupt ({' '.join(str(error).split())}).", "Copy the file again."
        ) from error


def _as_shown(path: Path, dataset: Any, raw: np.ndarray) -> np.ndarray:
    from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

    try:
        shown = np.asarray(apply_voi_lut(apply_modality_lut(raw, dataset), dataset, index=0))
    except Exception as error:
        raise DataError(
            f"{path}: its look-up table or window can't be applied ({error}).",
            "Remove the wrong attribute, or export the film as 16-bit PNG.",
        ) from error
    film = ~_is_padding(raw, dataset)
    if not film.any():
        return shown
    low, high = shown[film].min(), shown[film].max()
    shown = np.where(film, shown, low)
    if dataset.PhotometricInterpretation == "MONOCHROME1" or dataset.get("PresentationLUTShape") == "INVERSE":
        shown = np.where(film, high - (shown - low), low)
    return shown


def _is_padding(raw: np.ndarray, dataset: Any) -> np.ndarray:
    """Where stored values are those of padding: one value, or a range (PS3.3 C.7.5.1.1.2)."""
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return np.zeros(raw.shape, dtype=bool)
    limit = dataset.get("PixelPaddingRangeLimit")
    low, high = sorted((value, value if limit is None else limit))
    return (raw >= low) & (raw <= high)


def _narrow(pixels: np.ndarray) -> np.ndarray:
    whole = pixels.dtype.kind in "ui" or bool((pixels == np.round(pixels)).all())
    if whole and pixels.min() >= 0 and pixels.max() <= np.iinfo(np.uint16).max:
        return pixels.astype(np.uint16)
    return pixels.astype(np.float32)


def _spacing(dataset: Any) -> tuple[float, float] | None:
    for name in ("PixelSpacing", "ImagerPixelSpacing"):
        value = dataset.get(name)
        if isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2:
            row, column = float(value[0]), float(value[1])
            if np.isfinite([row, column]).all() and row > 0 and column > 0:
                return row, column
    return None
