"""Reading DICOM films: one frame of grey values as a viewer would show it, with its spacing and remarks.

pydicom and the decoders of compressed films are optional dependencies: `pip install 'cxrkit[dicom]'`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cxrkit.data.dicom_display import shown_values
from cxrkit.data.dicom_file import DicomSource, read_dataset
from cxrkit.data.dicom_header import Header, aspect_of, signs_of_another_view, spacing_of
from cxrkit.data.dicom_pixels import layout_of, stored_values
from cxrkit.segmentation import Film


def read_dicom(path: Path, window: int | None = 1) -> Film:
    """Read a single-frame grey DICOM film, as a viewer would show it by default.

    The stored values go through the modality LUT (or rescale slope and intercept), then the VOI LUT or window that is
    chosen, if the file has one and it shows something, and are inverted for MONOCHROME1, so that bone is bright.
    Padding becomes the darkest value. Values that are whole and fit become uint16, others float32. What isn't needed
    and makes no sense is left out with a remark.

    The spacing is PixelSpacing, else ImagerPixelSpacing: (row, column) millimetres. Unless the file's maker has
    calibrated PixelSpacing, both are measured on the detector, where the chest appears magnified by some 5 to 20 %
    (distance of source to detector over that of source to patient); ratios such as the cardiothoracic one are free
    of it as far as both lengths lie at the same depth.

    Args:
        path: the file.
        window: the n-th of the file's VOI LUTs and windows, in this order, from 1; None for none of them.

    Raises:
        DataError: pydicom is missing, or the file is not a DICOM film of one frame, is coloured, too large, truncated,
            damaged, or compressed in a way that no installed decoder reads.
    """
    # The header first, so that nothing large is read or decoded that isn't a film.
    layout = layout_of(Header(path, read_dataset(path)))
    pixel_bytes = layout.rows * layout.columns * layout.allocated // 8
    header = Header(path, read_dataset(path, pixels=pixel_bytes))
    stored = stored_values(header, layout)
    film = None if stored.padding is None or not stored.padding.any() or stored.padding.all() else ~stored.padding
    shown = shown_values(header, layout, stored.values, film, window)
    inverted = header.words("PhotometricInterpretation") == ("MONOCHROME1",)
    inverted = inverted or header.words("PresentationLUTShape") == ("INVERSE",)
    pixels = _narrow(_bright_bone(shown, film, inverted=inverted))
    spacing, aspect, signs = spacing_of(header), aspect_of(header), signs_of_another_view(header)
    remarks = tuple(dict.fromkeys((*header.remarks, *signs)))
    return Film(pixels, spacing, remarks, DicomSource(path), None if spacing else aspect)


def _bright_bone(shown: np.ndarray, film: np.ndarray | None, *, inverted: bool) -> np.ndarray:
    """Values that are high where the film is bright; where it is padding, the lowest of them."""
    seen = shown if film is None else shown[film]
    low, high = seen.min(), seen.max()
    if film is not None:
        shown = np.where(film, shown, high if inverted else low)
    # In this order nothing leaves the range of the type.
    return high - (shown - low) if inverted else shown


def _narrow(pixels: np.ndarray) -> np.ndarray:
    whole = pixels.dtype.kind in "ui" or bool((pixels == np.round(pixels)).all())
    if whole and pixels.min() >= 0 and pixels.max() <= np.iinfo(np.uint16).max:
        return pixels.astype(np.uint16)
    with np.errstate(over="ignore"):  # values that overflow are refused with those that aren't finite
        return pixels.astype(np.float32)
