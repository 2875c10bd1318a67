"""Decoding the compressed pixels of DICOM films: JPEG, JPEG-LS, JPEG 2000, RLE.

What a stream says of itself is checked here before and after a library decodes it, since libraries fill what is
missing, allocate what a header claims, and disagree on signs and depths. What comes back are the stream's samples as
they are: their meaning (sign, bits above BitsStored) is the header's matter.
"""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from cxrkit.data import gdcm_process
from cxrkit.errors import DataError

_JPEG = {
    "1.2.840.10008.1.2.4.50",  # baseline
    "1.2.840.10008.1.2.4.51",  # extended
    "1.2.840.10008.1.2.4.57",  # lossless, any predictor
    "1.2.840.10008.1.2.4.70",  # lossless, first-order prediction
}
_JPEG_LS = {"1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"}
_JPEG_2000 = {f"1.2.840.10008.1.2.4.{last}" for last in (90, 91, 201, 202, 203)}
_RLE = "1.2.840.10008.1.2.5"

_INSTALL = "pip install 'cxrkit[dicom]'"
_COPY = "Copy the file again, or export it uncompressed."
_END = b"\xff\xd9"
#: Markers of JPEG frames: DCT, lossless, and JPEG-LS.
_DCT, _LOSSLESS, _LS = (0xC0, 0xC1, 0xC2), 0xC3, 0xF7
#: Tiles of a JPEG 2000 stream, at most (ISO 15444-1, A.5.1), and seconds for a film.
_MOST_TILES, _PATIENCE = 65535, 120


@dataclass(frozen=True)
class Stream:
    """What a codestream says of itself.

    Attributes:
        rows, columns, components: its size.
        bits: of a sample.
        marker: of its frame; 0 for JPEG 2000.
    """

    rows: int
    columns: int
    components: int
    bits: int
    marker: int = 0


class _FaultError(Exception):
    """Why a stream can't be decoded; the caller knows the file."""


class _CutOffError(_FaultError):
    """What is missing at its end."""


def decode(path: Path, dataset: Any, syntax: Any, rows: int, columns: int, bytes_each: int) -> tuple[np.ndarray, int]:
    """The samples of one compressed frame, integers `(rows, columns)`, and how many bits the stream gives each.

    Args:
        path: the file, for messages.
        dataset: with its PixelData.
        syntax: the transfer syntax, a `pydicom.uid.UID`.
        rows: of the film.
        columns: of the film.
        bytes_each: of BitsAllocated.

    Raises:
        DataError: no decoder is installed, none exists, or the stream is cut off, damaged, or of another size.
    """
    from pydicom.encaps import get_frame

    decoders: dict[str, Callable[[bytes], tuple[np.ndarray, int]]] = {
        **dict.fromkeys(_JPEG, lambda stream: _jpeg(stream, rows, columns)),
        **dict.fromkeys(_JPEG_LS, lambda stream: _jpeg_ls(stream, rows, columns)),
        **dict.fromkeys(_JPEG_2000, lambda stream: _jpeg_2000(stream, rows, columns)),
        _RLE: lambda stream: (_rle(stream, rows, columns, bytes_each), 8 * bytes_each),
    }
    if syntax not in decoders:
        raise DataError(
            f"{path}: is compressed as {syntax.name}, which cxrkit doesn't decode.",
            "Decompress it with the program that wrote it, or export the film uncompressed.",
        )
    try:
        stream = get_frame(dataset.PixelData, 0, number_of_frames=1)
    except Exception as error:
        raise DataError(f"{path}: the compressed pixels are cut off or corrupt ({error}).", _COPY) from error
    try:
        samples, bits = decoders[syntax](stream)
        if samples.size != rows * columns:
            raise _FaultError(f"they decode to {samples.size:,} samples instead of {rows * columns:,}")
    except ImportError:
        return _by_pydicom(path, dataset, syntax, 8 * bytes_each)
    except (_FaultError, OSError, RuntimeError, ValueError, struct.error, IndexError) as error:
        state = "cut off" if isinstance(error, _CutOffError) else "damaged, or cut off"
        reason = " ".join(str(error).split())[:200].rstrip(".")
        reason = "a header ends too early" if isinstance(error, struct.error) else reason
        raise DataError(f"{path}: the pixels, compressed as {syntax.name}, are {state}: {reason}.", _COPY) from error
    return samples.reshape(rows, columns), bits


def _by_pydicom(path: Path, dataset: Any, syntax: Any, bits: int) -> tuple[np.ndarray, int]:
    """By a decoder that the user has installed for pydicom, where cxrkit's own aren't; the stream has been checked."""
    from pydicom.pixels.decoders.base import get_decoder

    decoder = get_decoder(syntax)
    if not decoder.is_available:
        missing = "; ".join(decoder.missing_dependencies)
        raise DataError(
            f"{path}: is compressed as {syntax.name}, and no decoder of it is installed ({missing}).", _INSTALL
        )
    try:
        array, _ = decoder.as_array(dataset, index=0, raw=True)
    except Exception as error:
        reason = " ".join(str(error).split())[-200:]
        raise DataError(
            f"{path}: the pixels, compressed as {syntax.name}, can't be decoded ({reason}).",
            f"Install the decoders that cxrkit uses: {_INSTALL}. If it still fails, copy the file again.",
        ) from error
    return np.asarray(array), bits


def _must_fit(stream: Stream, rows: int, columns: int) -> Stream:
    if (stream.rows, stream.columns) != (rows, columns):
        raise _FaultError(f"they are {stream.columns} × {stream.rows}, but the header says {columns} × {rows}")
    if stream.components != 1:
        raise _FaultError(f"they have {stream.components} components, but the header says one")
    if not 2 <= stream.bits <= 16:
        raise _FaultError(f"samples of {stream.bits} bits aren't read")
    return stream


def _jpeg(stream: bytes, rows: int, columns: int) -> tuple[np.ndarray, int]:
    found = _must_fit(_jpeg_frame(stream, (*_DCT, _LOSSLESS)), rows, columns)
    dct = found.marker != _LOSSLESS
    if dct and found.bits not in (8, 12, 16):
        raise _FaultError(f"JPEG of {found.bits} bits doesn't exist")
    samples = _by_gdcm(stream, rows, columns, found.bits)
    if dct and found.bits == 16:
        # Not in the standard: GDCM writes extended JPEG of 12 bits so, with samples that lie around 2^15.
        samples = np.clip(samples.astype(np.int32) - 2**15, 0, 4095).astype(np.uint16)
        return samples, 12
    return samples, found.bits


def _by_gdcm(stream: bytes, rows: int, columns: int, bits: int) -> np.ndarray:
    """JPEG by GDCM, in a process of its own: damaged streams crash it, and it reports others only on stderr."""
    import importlib.util

    if importlib.util.find_spec("gdcm") is None:
        raise ModuleNotFoundError("gdcm")
    command = [sys.executable, "-P", gdcm_process.__file__, str(rows), str(columns), str(bits)]
    try:
        done = subprocess.run(command, input=stream, capture_output=True, timeout=_PATIENCE, check=False)
    except subprocess.TimeoutExpired as error:
        raise _FaultError(f"GDCM took more than {_PATIENCE} s") from error
    said = done.stderr.decode(errors="replace").strip().splitlines()
    corrupt = [line for line in said if "Corrupt JPEG data" in line and "before marker 0xd9" not in line]
    if done.returncode != 0 or corrupt:
        raise _FaultError(f"GDCM says: {(corrupt or said or ['nothing, and crashed'])[-1]}")
    return np.frombuffer(done.stdout, dtype=np.uint8 if bits <= 8 else np.uint16)


def _jpeg_ls(stream: bytes, rows: int, columns: int) -> tuple[np.ndarray, int]:
    found = _must_fit(_jpeg_frame(stream, (_LS,)), rows, columns)
    import jpeg_ls

    buffer, _ = jpeg_ls.decode_pixel_data(stream)
    return np.frombuffer(buffer, dtype=np.uint8 if found.bits <= 8 else np.dtype("<u2")), found.bits


def _jpeg_frame(stream: bytes, wanted: tuple[int, ...]) -> Stream:
    """The frame of a JPEG or JPEG-LS stream that has its end marker after a scan."""
    if stream[:2] != b"\xff\xd8":
        raise _FaultError("they don't begin as JPEG does")
    at, frame = 2, None
    while True:
        while stream[at : at + 2] == b"\xff\xff":
            at += 1
        lead, marker, length = struct.unpack_from(">BBH", stream, at)
        if lead != 0xFF or length < 2:
            raise _FaultError("a marker is missing")
        if marker in (*_DCT, _LOSSLESS, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0), _LS):
            if marker not in wanted:
                raise _FaultError(f"a frame of kind {marker:02X} isn't of this compression")
            frame = Stream(*_turned(struct.unpack_from(">BHHB", stream, at + 4)), marker)
        at += 2 + length
        if marker == 0xDA:
            break
    if frame is None:
        raise _FaultError("no frame comes before the first scan")
    # Within a scan these two bytes never follow each other.
    if stream.find(_END, at) < 0:
        raise _CutOffError("the end marker is missing")
    return frame


def _turned(frame: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    bits, rows, columns, components = frame
    return rows, columns, components, bits


def _jpeg_2000(stream: bytes, rows: int, columns: int) -> tuple[np.ndarray, int]:
    at = stream.find(b"\xff\x4f\xff\x51", 0, 4096)  # some files wrap the codestream as a JP2 file does
    if at < 0:
        raise _FaultError("they don't begin as JPEG 2000 does")
    width, height, left, top, tile_width, tile_height, _, _ = struct.unpack_from(">8I", stream, at + 8)
    components, depth = struct.unpack_from(">HB", stream, at + 40)
    if not tile_width or not tile_height or -(-width // tile_width) * -(-height // tile_height) > _MOST_TILES:
        raise _FaultError("they have no or too many tiles")
    found = _must_fit(Stream(height - top, width - left, components, (depth & 127) + 1), rows, columns)
    if stream.rfind(_END, at) < 0:
        raise _CutOffError("the end marker is missing")
    from openjpeg.utils import decode_pixel_data

    # As a list of bytes: signed samples come as two's complement of 8 or 16 bits, whatever their depth.
    kind = np.dtype(f"<{'i' if depth & 128 else 'u'}{1 if found.bits <= 8 else 2}")
    return np.frombuffer(decode_pixel_data(stream[at:], version=2), dtype=kind), found.bits


def _rle(stream: bytes, rows: int, columns: int, bytes_each: int) -> np.ndarray:
    """Byte planes, the highest first, each packed by runs (PS3.5, annex G)."""
    count, *offsets = struct.unpack_from("<16I", stream)
    if count != bytes_each:
        raise _FaultError(f"they have {count} planes instead of {bytes_each}")
    bounds = [*offsets[:count], len(stream)]
    planes = [_unpack_runs(stream[start:end], rows * columns) for start, end in pairwise(bounds)]
    return np.stack([np.frombuffer(plane, np.uint8) for plane in reversed(planes)], axis=-1).view(f"<u{count}")[..., 0]


def _unpack_runs(packed: bytes, size: int) -> bytearray:
    """Runs unpacked to `size` bytes, and no more: a few bytes may claim gigabytes."""
    plane, at, end = bytearray(), 0, len(packed)
    while len(plane) < size:
        if at + 1 >= end:
            raise _CutOffError("a plane ends too early")
        code = packed[at]
        if code < 128:
            plane += packed[at + 1 : at + 2 + code]
            at += 2 + code
        elif code > 128:
            plane += packed[at + 1 : at + 2] * (257 - code)
            at += 2
        else:
            at += 1
    # What follows may pad it, with zeros or "no operation".
    if len(plane) != size or packed[at:].strip(b"\0\x80"):
        raise _FaultError("a plane is longer than the film")
    return plane
