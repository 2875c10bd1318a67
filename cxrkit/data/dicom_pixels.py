"""The stored pixel values of a DICOM film, from whatever form they are stored in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from cxrkit.data.dicom_header import Header
from cxrkit.data.dicom_streams import decode
from cxrkit.data.limits import refuse_huge
from cxrkit.errors import DataError

#: Where pixels may lie, and the type of those that aren't integers.
_PIXELS = {"PixelData": None, "FloatPixelData": "f4", "DoubleFloatPixelData": "f8"}


@dataclass(frozen=True)
class Layout:
    """How a film's values are stored.

    Attributes:
        element: the attribute that holds them.
        rows, columns: of the film.
        bits: that a value has, of `allocated`.
        high: the highest of them, counted from 0.
        signed: whether they are two's complement.
    """

    element: str
    rows: int
    columns: int
    allocated: int
    bits: int
    high: int
    signed: bool


@dataclass(frozen=True)
class Stored:
    """The values as stored, `(rows, columns)` integers or floats, and which are padding: bool, or None for none."""

    values: np.ndarray
    padding: np.ndarray | None


def layout_of(header: Header) -> Layout:
    """How the pixels are stored, checked before any is read.

    Raises:
        DataError: the file is no grey film of one frame and of a possible size, or what is needed makes no sense.
    """
    path = header.path
    if "Rows" not in header.dataset and "PhotometricInterpretation" not in header.dataset:
        raise DataError(f"{path}: the DICOM file holds no pixels.", "Name a file that holds an image.")
    rows, columns = header.whole("Rows", least=1), header.whole("Columns", least=1)
    # Some files say 0 where there is one.
    if (frames := header.whole("NumberOfFrames", 1, most=2**31)) > 1:
        raise DataError(f"{path}: holds {frames} frames; a film is one.", "Save the right frame by itself.")
    photometric = header.words("PhotometricInterpretation")
    if photometric not in (("MONOCHROME1",), ("MONOCHROME2",)) or header.whole("SamplesPerPixel", 1) not in (0, 1):
        raise DataError(
            f"{path}: is a {' '.join(photometric) or 'DICOM'} picture, not a grey film (MONOCHROME1 or MONOCHROME2).",
            "Export the original film rather than a screenshot of it.",
        )
    refuse_huge(path, rows, columns)
    allocated = header.whole("BitsAllocated", least=1, most=64)
    if allocated not in (8, 16, 32, 64):
        raise DataError(
            f"{path}: has {allocated} bits for each pixel; 8, 16 and 32 are read.", "Export the film again."
        )
    bits = header.whole("BitsStored", allocated, least=1, most=allocated)
    high = header.whole("HighBit", bits - 1, least=bits - 1, most=allocated - 1)
    signed = bool(header.whole("PixelRepresentation", 0, most=1))
    return Layout("PixelData", rows, columns, allocated, bits, high, signed)


def stored_values(header: Header, layout: Layout) -> Stored:
    """The values of a film whose dataset has its pixels.

    Raises:
        DataError: they are missing, cut off, damaged, or compressed in a way that can't be decoded.
    """
    path, dataset = header.path, header.dataset
    element = next((name for name in _PIXELS if name in dataset), None)
    if element is None:
        raise DataError(
            f"{path}: the DICOM file holds no pixels, although its header describes them: it may be cut off.",
            "Copy the file again.",
        )
    if (kind := _PIXELS[element]) is not None:
        values = _plain(header, layout, element, np.dtype(kind))
        padding = header.numbers(element.replace("PixelData", "PixelPaddingValue"))
        return Stored(values, values == padding[0] if padding else None)
    if layout.allocated == 64:
        raise DataError(f"{path}: has 64 bits for each pixel; 8, 16 and 32 are read.", "Export the film again.")
    syntax = _syntax(header)
    if syntax is not None and syntax.is_compressed and not syntax.is_deflated:
        size = layout.allocated // 8
        container, depth = decode(path, dataset, syntax, layout.rows, layout.columns, size)
    elif dataset["PixelData"].is_undefined_length:
        raise DataError(f"{path}: doesn't say how its pixels are compressed.", "Export the film again.")
    else:
        container = _plain(header, layout, "PixelData", np.dtype(f"u{layout.allocated // 8}"))
        depth = layout.allocated
    values = _values(header, container, layout, depth)
    return Stored(values, _padding(header, container, values, layout, depth))


def _syntax(header: Header) -> Any:
    """The transfer syntax, a `pydicom.uid.UID`; None where the file says none."""
    from pydicom.uid import UID

    found = header.dataset.file_meta.get("TransferSyntaxUID") if hasattr(header.dataset, "file_meta") else None
    if not found:
        return None
    if not isinstance(found, UID) or not found.is_transfer_syntax:
        raise DataError(
            f"{header.path}: is encoded as {str(found)[:64]!r}, which is no transfer syntax of the standard.",
            "Export the film again.",
        )
    return found


def _plain(header: Header, layout: Layout, element: str, kind: np.dtype) -> np.ndarray:
    data: Any = header.dataset[element].value
    if not isinstance(data, bytes | bytearray):
        raise DataError(f"{header.path}: the pixels are stored as text or numbers.", "Export the film again.")
    wanted = layout.rows * layout.columns * kind.itemsize
    if len(data) < wanted:
        raise DataError(
            f"{header.path}: the pixels are truncated: {len(data):,} bytes of {wanted:,}.", "Copy the file again."
        )
    if len(data) > wanted + 1:
        header.remarks.append(
            f"the DICOM file holds {len(data):,} bytes of pixels, but the header says {wanted:,}: the rest is left out"
        )
    order: Literal["<", ">"] = "<" if header.dataset.original_encoding[1] is not False else ">"
    if order == ">" and kind.itemsize == 1 and header.dataset[element].VR == "OW":
        # Words of two pixels, the second one first.
        data = np.frombuffer(data[: wanted + wanted % 2], ">u2").astype("<u2").tobytes()
    pixels = np.frombuffer(data, kind.newbyteorder(order), layout.rows * layout.columns)
    return pixels.astype(kind).reshape(layout.rows, layout.columns)


def _values(header: Header, container: np.ndarray, layout: Layout, depth: int) -> np.ndarray:
    """The `bits` up to `high` of each sample; a stream of fewer bits than that holds the values themselves."""
    if layout.bits == layout.allocated == depth and container.dtype.itemsize * 8 == depth:
        kind = "i" if layout.signed else "u"
        return container.view(f"{kind}{container.dtype.itemsize}")
    bits, shift = layout.bits, layout.high + 1 - layout.bits
    if depth <= layout.high:
        bits, shift = min(layout.bits, depth), 0
    wide: np.ndarray[Any, np.dtype[np.signedinteger]] = container.astype(
        np.int64 if layout.allocated == 32 else np.int32
    )
    shifted = (wide >> shift) & ((1 << bits) - 1)
    if layout.signed:
        shifted -= (shifted >> (bits - 1)) << bits
    # Negative samples of a signed stream have their sign in the bits above.
    overlays = any(0x6000 <= tag.group <= 0x60FF for tag in header.dataset.keys())  # noqa: SIM118 (iterating over the dataset itself reads every element)
    if not (shift or overlays or layout.signed or container.dtype.kind == "i") and (wide >> bits).any():
        header.remarks.append(f"pixels have bits above the {bits} that the DICOM header says: they are left out")
    return shifted


def _padding(
    header: Header, container: np.ndarray, values: np.ndarray, layout: Layout, depth: int
) -> np.ndarray | None:
    """Where values are those of padding: one value, or a range (PS3.3 C.7.5.1.1.2); None where none are."""
    found = header.numbers("PixelPaddingValue")
    if not found:
        return None
    limit = header.numbers("PixelPaddingRangeLimit") or found
    if len(found) != 1 or len(limit) != 1 or not found[0].is_integer() or not limit[0].is_integer():
        header.leave_out("PixelPaddingValue", " and ".join(f"{value:g}" for value in (*found, *limit)))
        return None
    first, last = int(found[0]), int(limit[0])
    lowest, highest = (
        (-(1 << layout.bits - 1), (1 << layout.bits - 1) - 1) if layout.signed else (0, (1 << layout.bits) - 1)
    )
    inside = all(lowest <= value <= highest for value in (first, last))
    if not inside:
        # The sign isn't the pixels': it is written as unsigned where they are signed, or the other way round.
        as_stored = [_as_stored(value, layout) for value in (first, last)]
        if all(lowest <= value <= highest for value in as_stored):
            first, last = as_stored
        elif container.dtype.kind == "u" and depth == layout.allocated:
            # Padding in bits that values don't use.
            mask = (1 << layout.allocated) - 1
            first, last = first & mask, last & mask
            values = container
        else:
            header.leave_out("PixelPaddingValue", f"{first}")
            return None
    return (values >= min(first, last)) & (values <= max(first, last))


def _as_stored(value: int, layout: Layout) -> int:
    """A number of the container's bits with the pixels' sign."""
    value &= (1 << layout.allocated) - 1
    if not layout.signed:
        return value
    # 12 bits in 16 may be padded by 0x800 as well as by 0xF800.
    bits = layout.bits if value < 1 << layout.bits else layout.allocated
    return value - ((value >> (bits - 1)) << bits)
