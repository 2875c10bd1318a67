"""Compressed DICOM films, made by encoders other than the decoders that read them where there are such."""

from __future__ import annotations

import io
import struct
import sys
from pathlib import Path
from typing import Any

import gdcm
import jpeg_ls
import numpy as np
import openjpeg.utils
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import UID

from cxrkit.data.images import read_film
from cxrkit.errors import DataError
from tests.data.test_dicom import refused, write

JPEG, EXTENDED, LOSSLESS, FIRST_ORDER = (f"1.2.840.10008.1.2.4.{last}" for last in (50, 51, 57, 70))
LS, NEAR_LS, J2K, LOSSY_J2K, HTJ2K = (f"1.2.840.10008.1.2.4.{last}" for last in (80, 81, 90, 91, 201))
RLE, MPEG = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.102"
ROWS, COLUMNS = 40, 33
RAMP = np.linspace(0, 1, ROWS)[:, None] * np.linspace(0.2, 1, COLUMNS) + np.random.default_rng(0).random((ROWS, 1)) / 50
RAMP /= RAMP.max()


def film(bits: int, signed: bool = False) -> np.ndarray:
    values = np.rint(RAMP * (2**bits - 1)).astype(np.int64) - signed * 2 ** (bits - 1)
    return values.astype(f"{'i' if signed else 'u'}{1 if bits <= 8 else 2}")


def header(bits: int, signed: bool = False, **more: Any) -> dict[str, Any]:
    allocated = 8 if bits <= 8 else 16
    sign = int(signed)
    return {"BitsAllocated": allocated, "BitsStored": bits, "HighBit": bits - 1, "PixelRepresentation": sign, **more}


def save(path: Path, syntax: str, stream: bytes, bits: int, signed: bool = False, **more: Any) -> Path:
    data = encapsulate([stream + b"\0" * (len(stream) % 2)])
    return write(path, film(bits), syntax=syntax, **header(bits, signed, PixelData=data, **more))


def by_gdcm(path: Path, syntax: str, bits: int, signed: bool = False) -> Path:
    """A film that GDCM has compressed."""
    write(path, film(bits, signed), **header(bits, signed))
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(path))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return path


def ls_stream(values: np.ndarray, bits: int, near: int = 0) -> bytes:
    size = {"rows": ROWS, "columns": COLUMNS, "samples_per_pixel": 1, "bits_stored": bits, "interleave_mode": 0}
    stored = (values.astype(np.int64) & (2**bits - 1)).astype(np.uint8 if bits <= 8 else np.uint16)
    return bytes(jpeg_ls.encode_pixel_data(stored.tobytes(), lossy_error=near, **size))


def stream_of(path: Path) -> bytes:
    return get_frame(dcmread(path).PixelData, 0, number_of_frames=1)


@pytest.mark.parametrize(("bits", "signed"), [(8, False), (10, False), (12, True), (16, False), (16, True)])
@pytest.mark.parametrize("syntax", [LOSSLESS, FIRST_ORDER, LS, J2K, LOSSY_J2K, RLE])
def test_lossless_films_are_read_exactly(tmp_path: Path, syntax: str, bits: int, signed: bool) -> None:
    path = by_gdcm(tmp_path / "a.dcm", syntax, bits, signed)
    assert dcmread(path).file_meta.TransferSyntaxUID == syntax
    np.testing.assert_array_equal(read_film(path).pixels, film(bits, signed))


@pytest.mark.parametrize("bits", [12, 15])
@pytest.mark.parametrize("signed", [False, True])
def test_streams_of_another_sign_than_the_header(tmp_path: Path, bits: int, signed: bool) -> None:
    values = film(bits, signed).astype(np.int64)
    other = (values & (2**bits - 1)) - (0 if signed else ((values >> (bits - 1)) << bits))
    stream = openjpeg.utils.encode_array(other.astype(np.uint16 if signed else np.int16), bits_stored=bits)
    path = save(tmp_path / "a.dcm", J2K, bytes(stream), bits, signed)
    np.testing.assert_array_equal(read_film(path).pixels, film(bits, signed))


def test_near_lossless_films_are_read_within_their_error(tmp_path: Path) -> None:
    path = save(tmp_path / "a.dcm", NEAR_LS, ls_stream(film(12), 12, near=3), 12)
    assert np.abs(read_film(path).pixels.astype(int) - film(12)).max() == 3


@pytest.mark.parametrize("syntax", [JPEG, EXTENDED])
@pytest.mark.parametrize("more", [{}, {"BitsAllocated": 16, "BitsStored": 12, "HighBit": 11}])
def test_lossy_films_are_read_as_another_decoder_does(tmp_path: Path, syntax: str, more: dict[str, int]) -> None:
    buffer = io.BytesIO()
    Image.fromarray(film(8)).save(buffer, "JPEG", quality=90)
    found = read_film(save(tmp_path / "a.dcm", syntax, buffer.getvalue(), 8, **more)).pixels
    assert np.abs(found.astype(int) - np.asarray(Image.open(buffer))).max() <= 1


def test_extended_films_of_12_bits(tmp_path: Path) -> None:
    found = read_film(by_gdcm(tmp_path / "a.dcm", EXTENDED, 12)).pixels
    assert np.abs(found.astype(int) - film(12)).max() <= 1


@pytest.mark.parametrize("signed", [False, True])
def test_bits_above_those_stored_are_left_out_of_streams_too(tmp_path: Path, signed: bool) -> None:
    overlaid = film(12, signed).view(np.uint16) | 0x8000 * (np.arange(COLUMNS) % 2).astype(np.uint16)
    path = save(tmp_path / "a.dcm", LS, ls_stream(overlaid, 16), 12, signed, OverlayBitPosition=15)
    np.testing.assert_array_equal(read_film(path).pixels, film(12, signed))


@pytest.mark.parametrize("syntax", [JPEG, EXTENDED, LOSSLESS, FIRST_ORDER, LS, J2K, LOSSY_J2K, RLE])
@pytest.mark.parametrize("end", [b"", b"\xff\xd9"])
def test_streams_that_are_cut_off_are_refused(tmp_path: Path, syntax: str, end: bytes) -> None:
    bits = 8 if syntax in (JPEG, EXTENDED) else 12
    stream = stream_of(by_gdcm(tmp_path / "whole.dcm", syntax, bits))
    refused(save(tmp_path / "a.dcm", syntax, stream[: len(stream) * 2 // 3] + end, bits), "cut off")


def test_a_file_that_is_cut_off_is_not_taken_for_one_without_pixels(tmp_path: Path) -> None:
    path = by_gdcm(tmp_path / "a.dcm", J2K, 12)
    path.write_bytes(path.read_bytes()[:-200])
    refused(path, "cut off")


@pytest.mark.parametrize("syntax", [FIRST_ORDER, LS, J2K])
def test_streams_of_another_size_than_the_header(tmp_path: Path, syntax: str) -> None:
    stream = stream_of(by_gdcm(tmp_path / "whole.dcm", syntax, 12))
    refused(save(tmp_path / "a.dcm", syntax, stream, 12, Rows=ROWS - 1), f"{COLUMNS} × {ROWS}")


def test_a_decoder_that_crashes_ends_only_its_film(tmp_path: Path) -> None:
    stream = bytearray(stream_of(by_gdcm(tmp_path / "whole.dcm", FIRST_ORDER, 12)))
    for at in range(stream.index(b"\xff\xc4") + 5, stream.index(b"\xff\xda")):
        stream[at] = 255
    refused(save(tmp_path / "a.dcm", FIRST_ORDER, bytes(stream), 12), "GDCM")


def test_few_bytes_that_claim_gigabytes_are_refused(tmp_path: Path) -> None:
    runs = b"\x81\x00" * 3_000_000
    stream = struct.pack("<16I", 2, 64, 64 + len(runs), *[0] * 13) + 2 * runs
    refused(save(tmp_path / "a.dcm", RLE, stream, 12), "longer than the film")
    refused(save(tmp_path / "b.dcm", RLE, stream, 12, Rows=19_000, Columns=19_000), "million pixels")


@pytest.mark.parametrize(("syntax", "module"), [(FIRST_ORDER, "gdcm"), (LS, "jpeg_ls"), (J2K, "openjpeg.utils")])
def test_a_decoder_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, syntax: str, module: str
) -> None:
    from pydicom.pixels import get_decoder

    path = by_gdcm(tmp_path / "a.dcm", syntax, 12)
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(get_decoder(UID(syntax)), "_available", {})
    refused(path, "no decoder of it is installed", "pip install 'cxrkit[dicom]'")


def test_what_nobody_decodes_is_another_message(tmp_path: Path) -> None:
    path = save(tmp_path / "a.dcm", MPEG, b"\0\0\1\xba" * 10, 8)
    with pytest.raises(DataError, match=r"MPEG-4 AVC.*doesn't decode") as caught:
        read_film(path)
    assert "pip" not in caught.value.remedy
