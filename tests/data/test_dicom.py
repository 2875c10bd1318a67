from __future__ import annotations

import struct
import sys
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    generate_uid,
)

from cxrkit.data.images import read_film, read_mask
from cxrkit.errors import DataError

STORED = (np.random.default_rng(0).random((40, 30)) * 4095).astype(np.uint16)
DIGITAL_X_RAY = "1.2.840.10008.5.1.4.1.1.1.1"


def write(path: Path, pixels: np.ndarray = STORED, *, syntax: str = ExplicitVRLittleEndian, **attributes: Any) -> Path:
    """A DICOM film of 12 bits; attributes replace or add, `None` leaves one out."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = DIGITAL_X_RAY, generate_uid()
    meta.TransferSyntaxUID = syntax
    film = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    film.SOPClassUID, film.SOPInstanceUID = DIGITAL_X_RAY, meta.MediaStorageSOPInstanceUID
    film.Rows, film.Columns = pixels.shape[:2]
    film.SamplesPerPixel, film.PhotometricInterpretation = 1, "MONOCHROME2"
    film.BitsAllocated, film.BitsStored, film.HighBit = 16, 12, 11
    film.PixelRepresentation = int(pixels.dtype.kind == "i")
    film.PixelData = pixels.tobytes()
    for name, value in attributes.items():
        if value is None:
            delattr(film, name)
        elif name == "OverlayBitPosition":
            film.add_new(0x60000102, "US", value)
        else:
            setattr(film, name, value)
    film.save_as(path, enforce_file_format=True)
    return path


def refused(path: Path, *parts: str) -> None:
    with pytest.raises(DataError) as caught:
        read_film(path)
    assert str(path) in caught.value.what
    for part in parts:
        assert part in str(caught.value)
    assert caught.value.remedy


def test_plain_film(tmp_path: Path) -> None:
    film = read_film(write(tmp_path / "film.dcm"))
    assert film.pixels.dtype == np.uint16
    np.testing.assert_array_equal(film.pixels, STORED)
    assert film.spacing is None


def test_dicom_is_known_by_its_preamble(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_film(write(tmp_path / "IM000001")).pixels, STORED)


def test_monochrome1_is_inverted(tmp_path: Path) -> None:
    film = read_film(write(tmp_path / "film.dcm", PhotometricInterpretation="MONOCHROME1"))
    expected = STORED.max() + STORED.min() - STORED.astype(int)
    np.testing.assert_array_equal(film.pixels, expected)


def test_rescale(tmp_path: Path) -> None:
    film = read_film(write(tmp_path / "film.dcm", RescaleSlope=2, RescaleIntercept=100, RescaleType="US"))
    np.testing.assert_array_equal(film.pixels, 2 * STORED.astype(int) + 100)
    below = read_film(write(tmp_path / "below.dcm", RescaleSlope=1, RescaleIntercept=-1024, RescaleType="US"))
    assert below.pixels.dtype == np.float32
    np.testing.assert_array_equal(below.pixels, STORED.astype(np.float32) - 1024)


def test_signed_pixels(tmp_path: Path) -> None:
    signed = STORED.astype(np.int16) - 2048
    film = read_film(write(tmp_path / "film.dcm", signed))
    np.testing.assert_array_equal(film.pixels, signed.astype(np.float32))


def test_window_clips_and_keeps_the_order(tmp_path: Path) -> None:
    film = read_film(write(tmp_path / "film.dcm", WindowCenter=[2000, 500], WindowWidth=[1000, 100]))
    # DICOM PS3.3 C.11.2.1.2: below centre - 0.5 - (width - 1) / 2 is darkest, above it brightest.
    low, high = 2000 - 0.5 - 499.5, 2000 - 0.5 + 499.5
    assert np.ptp(film.pixels[low >= STORED]) == 0
    assert np.ptp(film.pixels[high < STORED]) == 0
    inside = (low < STORED) & (high >= STORED)
    slope = np.polyfit(STORED[inside].astype(float), film.pixels[inside].astype(float), 1)[0]
    assert slope == pytest.approx(4095 / 999, rel=1e-3)


def test_voi_lut(tmp_path: Path) -> None:
    table = Dataset()
    table.LUTDescriptor = [4096, 0, 16]
    entries = (np.linspace(0, 1, 4096) ** 2 * 65535).astype(np.uint16)
    table.LUTData = entries.tobytes()
    table["LUTData"].VR = "OW"
    table["LUTDescriptor"].VR = "US"
    film = read_film(write(tmp_path / "film.dcm", VOILUTSequence=[table]))
    np.testing.assert_array_equal(film.pixels, entries[STORED])


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_becomes_the_darkest_value(tmp_path: Path, photometric: str) -> None:
    padded = STORED.clip(100, 3000)
    padded[:5] = 4000
    path = write(tmp_path / "film.dcm", padded, PixelPaddingValue=4000, PhotometricInterpretation=photometric)
    film = read_film(path).pixels.astype(int)
    assert (film[:5] == film.min()).all()
    inner = padded[5:].astype(int)
    assert np.ptp(film) == np.ptp(inner)
    expected = inner.max() - inner if photometric == "MONOCHROME1" else inner - inner.min()
    np.testing.assert_array_equal(film[5:] - film.min(), expected)


def test_padding_may_be_a_range(tmp_path: Path) -> None:
    padded = STORED.clip(100, 3000)
    padded[:5], padded[5:8] = 4000, 3990
    path = write(tmp_path / "film.dcm", padded, PixelPaddingValue=4000, PixelPaddingRangeLimit=3985)
    film = read_film(path).pixels
    assert (film[:8] == padded[8:].min()).all()
    np.testing.assert_array_equal(film[8:], padded[8:])


def test_films_whose_shown_values_are_to_be_inverted_are(tmp_path: Path) -> None:
    film = read_film(write(tmp_path / "film.dcm", PresentationLUTShape="INVERSE")).pixels.astype(int)
    np.testing.assert_array_equal(film, STORED.max() - (STORED.astype(int) - STORED.min()))
    both = write(tmp_path / "both.dcm", PresentationLUTShape="INVERSE", PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(read_film(both).pixels, film)


def test_spacing(tmp_path: Path) -> None:
    both = write(tmp_path / "a.dcm", PixelSpacing=["0.14", "0.15"], ImagerPixelSpacing=[0.2, 0.2])
    assert read_film(both).spacing == (0.14, 0.15)
    assert read_film(write(tmp_path / "b.dcm", ImagerPixelSpacing=[0.2, 0.25])).spacing == (0.2, 0.25)
    assert read_film(write(tmp_path / "c.dcm", PixelSpacing=[0, 0])).spacing is None


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"Modality": "DX", "BodyPartExamined": "CHEST", "ViewPosition": "PA", "PatientOrientation": ["L", "F"]},
        {"Modality": "", "BodyPartExamined": "TORACE", "ViewPosition": "", "PatientOrientation": ""},
        {"BodyPartExamined": "", "PatientOrientation": ["", ""], "ViewPosition": "AP"},
        {"Modality": ["DX", "CR"], "PatientOrientation": ["L ", " F"]},
        {"PatientOrientation": ["L", ""]},
        {"PatientOrientation": ["L", "F", "H"]},
        {"PatientOrientation": "HFS"},
        {"ImageLaterality": "U"},
        {"Laterality": "R", "ViewPosition": "PA"},
        {"Laterality": "R", "PatientOrientation": ["L", "F"]},
    ],
)
def test_a_chest_film_has_no_remarks(tmp_path: Path, attributes: dict[str, Any]) -> None:
    assert read_film(write(tmp_path / "a.dcm", **attributes)).remarks == ()


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"Modality": "MR"}, "says modality MR: no radiograph"),
        ({"BodyPartExamined": "EXTREMITY"}, "says body part EXTREMITY: no chest"),
        ({"ViewPosition": "LL", "PatientOrientation": ["P", "F"]}, "says view LL: not frontal"),
        ({"ViewPosition": "RLD"}, "says view RLD: not upright"),
        ({"ImageLaterality": "L"}, "says side L and no view: not frontal"),
        ({"PatientOrientation": ["P", "F"]}, "says that rows run to P, columns to F: not frontal"),
        ({"PatientOrientation": ["R", "F"]}, "mirrored (rows run to R, columns to F): left and right are exchanged"),
        ({"PatientOrientation": ["L", "H"]}, "the film is turned and mirrored (rows run to L, columns to H)"),
        ({"PatientOrientation": ["F", "L"]}, "the film is turned and mirrored"),
        ({"PatientOrientation": ["R", "H"]}, "the film is turned (rows run to R, columns to H)"),
        ({"PatientOrientation": ["FL", "R"]}, "the film is turned (rows run to FL, columns to R)"),
    ],
)
def test_what_is_no_upright_chest_film_is_remarked(tmp_path: Path, attributes: dict[str, Any], said: str) -> None:
    (remark,) = read_film(write(tmp_path / "a.dcm", **attributes)).remarks
    assert said in remark


def test_a_film_knows_its_header_without_pixels(tmp_path: Path) -> None:
    path = write(tmp_path / "a", PatientID="17", Modality="DX")
    source = read_film(path).source
    assert source is not None
    assert (source.path, source.dicom) == (path, True)
    assert (source.header.PatientID, source.header.Rows) == ("17", 40)
    assert "PixelData" not in source.header
    gone = read_film(path).source
    path.unlink()
    with pytest.raises(DataError, match="a: "):
        _ = gone.header


def put(path: Path, name: str, kind: bytes, value: bytes) -> Path:
    """Write a film with an attribute of any value representation and value, before its pixels."""
    content = write(path).read_bytes()
    tag = Tag(name)
    at = content.rindex(b"\xe0\x7f\x10\x00OW")
    odd = struct.pack("<HH2sH", tag.group, tag.element, kind, len(value)) + value
    path.write_bytes(content[:at] + odd + content[at:])
    return path


@pytest.mark.parametrize(
    ("name", "kind", "value"),
    [
        ("PixelSpacing", b"DS", b"0,143\\0,143 "),
        ("PixelSpacing", b"DS", b"0.143mm\\0.143mm "),
        ("PixelSpacing", b"DS", b"0\\0 "),
        ("PixelSpacing", b"DS", b"0.1\\0.1\\1"),
        ("PixelSpacing", b"DS", b"1e-3\\1e3 "),
        ("PixelAspectRatio", b"IS", b"1\\x "),
        ("PixelPaddingValue", b"LO", b"none"),
        ("PixelPaddingValue", b"US", b"\x00"),
        ("WindowCenter", b"DS", b"1 "),
        ("RescaleSlope", b"DS", b"0 "),
        ("VOILUTSequence", b"LO", b"none"),
        ("Modality", b"US", b"LL"),
        ("ViewPosition", b"ZZ", b"LL"),
        ("PatientOrientation", b"FD", b"12345678"),
    ],
)
def test_what_masks_do_not_need_is_left_out_with_a_remark(tmp_path: Path, name: str, kind: bytes, value: bytes) -> None:
    film = read_film(put(tmp_path / "a.dcm", name, kind, value))
    np.testing.assert_array_equal(film.pixels, STORED)
    assert film.spacing is None
    (remark,) = film.remarks
    assert "left out" in remark
    assert name in remark or "window" in remark


@pytest.mark.parametrize(
    ("name", "kind", "value"),
    [("NumberOfFrames", b"IS", b"one "), ("NumberOfFrames", b"DS", b"1.5 "), ("HighBit", b"SH", b"high")],
)
def test_what_pixels_need_is_refused_by_name(tmp_path: Path, name: str, kind: bytes, value: bytes) -> None:
    refused(put(tmp_path / "a.dcm", name, kind, value), name)


ASKED_FOR = [
    *["PixelSpacing", "PixelAspectRatio", "NumberOfFrames", "PixelPaddingValue", "WindowCenter", "WindowWidth"],
    *["RescaleSlope", "BitsStored", "VOILUTFunction", "VOILUTSequence", "ModalityLUTSequence", "Modality"],
    *["PatientOrientation", "SpecificCharacterSet", "Rows"],
]
KINDS = [b"AE", b"AT", b"CS", b"DS", b"FD", b"FL", b"IS", b"LO", b"PN", b"SL", b"SS", b"UL", b"US", b"ZZ"]


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.sampled_from(ASKED_FOR),
    st.sampled_from(KINDS),
    st.binary(max_size=16) | st.sampled_from([b"1", b"-1\\1e400", b"nan", b"0,1"]),
)
def test_no_header_raises_anything_but_a_data_error(tmp_path: Path, name: str, kind: bytes, value: bytes) -> None:
    path = put(tmp_path / "a.dcm", name, kind, value)
    with suppress(DataError):
        read_film(path)


def test_not_one_grey_film(tmp_path: Path) -> None:
    refused(write(tmp_path / "two.dcm", np.stack([STORED, STORED]), NumberOfFrames=2, Rows=40, Columns=30), "2 frames")
    colour = np.zeros((40, 30, 3), np.uint8)
    rgb = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    refused(write(tmp_path / "rgb.dcm", colour, **rgb, BitsAllocated=8, BitsStored=8, HighBit=7), "RGB")
    refused(write(tmp_path / "none.dcm", PixelData=None), "no pixels")
    refused(write(tmp_path / "huge.dcm", Rows=30_000), "30000", "20,000")
    refused(write(tmp_path / "flat.dcm", np.full((40, 30), 7, np.uint16)), "every pixel is 7")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_truncated(tmp_path: Path, share: float) -> None:
    path = write(tmp_path / "film.dcm")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    refused(path)


def test_not_dicom_at_all(tmp_path: Path) -> None:
    (tmp_path / "film.dcm").write_text("no DICOM" * 40)
    refused(tmp_path / "film.dcm", "not a DICOM file")


@pytest.mark.parametrize("window", [(100, 0), (60_000, 10), (-5000, 100), (2000, 40)])
def test_a_window_that_shows_hardly_anything_is_left_out(tmp_path: Path, window: tuple[int, int]) -> None:
    film = read_film(write(tmp_path / "film.dcm", WindowCenter=window[0], WindowWidth=window[1]))
    np.testing.assert_array_equal(film.pixels, STORED)
    assert f"window (centre {window[0]}, width {window[1]})" in film.remarks[0]


def test_the_windows_of_a_file_may_be_chosen(tmp_path: Path) -> None:
    path = write(tmp_path / "film.dcm", WindowCenter=[2000, 3000], WindowWidth=[3000, 1000])
    np.testing.assert_array_equal(read_film(path, window=None).pixels, STORED)
    second = read_film(path, window=2).pixels
    assert np.ptp(second[STORED < 2500]) == 0
    assert np.ptp(read_film(path).pixels[STORED < 2500]) > 0
    with pytest.raises(DataError, match="--window"):
        read_film(path, window=3)


def table(entries: np.ndarray, bits: int, data: Any, kind: str) -> list[Dataset]:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries) % 65536, 0, bits])
    item.add_new("LUTData", kind, data)
    return [item]


@pytest.mark.parametrize("name", ["VOILUTSequence", "ModalityLUTSequence"])
def test_tables_of_8_bits_hold_words_or_packed_bytes(tmp_path: Path, name: str) -> None:
    entries = np.arange(4096) >> 4
    for file, data, kind in (("a", entries.tolist(), "US"), ("b", entries.astype("u1").tobytes(), "OW")):
        film = read_film(write(tmp_path / file, **{name: table(entries, 8, data, kind)}))
        np.testing.assert_array_equal(film.pixels, entries[STORED])


def test_tables_whose_entries_have_more_bits_than_they_say(tmp_path: Path) -> None:
    entries = (np.arange(4096) * 16).astype("<u2")
    film = read_film(write(tmp_path / "a", VOILUTSequence=table(entries, 8, entries.tobytes(), "OW")))
    np.testing.assert_array_equal(film.pixels, entries[STORED])


def test_bits_that_are_no_pixels_are_left_out(tmp_path: Path) -> None:
    overlaid = STORED | 0x8000 * (STORED % 2).astype(np.uint16)
    film = read_film(write(tmp_path / "a.dcm", overlaid))
    np.testing.assert_array_equal(film.pixels, STORED)
    assert "bits above the 12" in film.remarks[0]
    known = read_film(write(tmp_path / "b.dcm", overlaid, OverlayBitPosition=15))
    np.testing.assert_array_equal(known.pixels, STORED)
    assert not known.remarks
    high = read_film(write(tmp_path / "c.dcm", STORED << 4 | 5, HighBit=15))
    np.testing.assert_array_equal(high.pixels, STORED)
    refused(write(tmp_path / "d.dcm", HighBit=3), "HighBit is 3")


@pytest.mark.parametrize("padding", [0x0800, 0xF800])
def test_padding_of_signed_films_may_be_written_as_unsigned(tmp_path: Path, padding: int) -> None:
    signed = STORED.clip(1).astype(np.int16) - 2048
    signed[:5] = -2048
    path = write(tmp_path / "film.dcm", signed)
    tag = struct.pack("<HH2sH", 0x0028, 0x0120, b"US", 2) + struct.pack("<H", padding)
    content = path.read_bytes()
    at = content.rindex(b"\xe0\x7f\x10\x00OW")
    path.write_bytes(content[:at] + tag + content[at:])
    film = read_film(path).pixels
    assert (film[:5] == signed[5:].min()).all()
    np.testing.assert_array_equal(film[5:], signed[5:])


def test_padding_may_lie_in_bits_that_values_do_not_use(tmp_path: Path) -> None:
    padded = STORED.clip(10, 4095)
    padded[:5] = 65535
    film = read_film(write(tmp_path / "film.dcm", padded, PixelPaddingValue=65535)).pixels
    assert (film[:5] == padded[5:].min()).all()
    np.testing.assert_array_equal(film[5:], padded[5:])


@pytest.mark.parametrize(("name", "kind"), [("FloatPixelData", "f4"), ("DoubleFloatPixelData", "f8")])
def test_pixels_may_be_floats(tmp_path: Path, name: str, kind: str) -> None:
    values = STORED / 7 - 20
    bits = 8 * np.dtype(kind).itemsize
    path = write(tmp_path / "film.dcm", PixelData=None, BitsAllocated=bits, **{name: values.astype(kind).tobytes()})
    np.testing.assert_allclose(read_film(path).pixels, values, rtol=1e-6)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_dicom_without_preamble_is_known_by_its_content(tmp_path: Path, syntax: str) -> None:
    whole = write(tmp_path / "a.dcm", syntax=syntax).read_bytes()
    (tmp_path / "meta.acr").write_bytes(whole[132:])
    np.testing.assert_array_equal(read_film(tmp_path / "meta.acr").pixels, STORED)
    start = whole.index(b"\x08\x00\x16\x00")
    (tmp_path / "bare").write_bytes(whole[start:])
    np.testing.assert_array_equal(read_film(tmp_path / "bare").pixels, STORED)


def test_aspect_ratio_where_there_is_no_spacing(tmp_path: Path) -> None:
    assert read_film(write(tmp_path / "a.dcm", PixelAspectRatio=[2, 1])).aspect == 2
    assert read_film(write(tmp_path / "b.dcm", PixelAspectRatio=[2, 1], PixelSpacing=[0.1, 0.1])).aspect is None


def test_what_would_inflate_to_gigabytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.dcm", syntax=DeflatedExplicitVRLittleEndian, ImageComments="x" * 1_000_000)
    np.testing.assert_array_equal(read_film(path).pixels, STORED)
    assert path.stat().st_size < 10_000
    monkeypatch.setattr("cxrkit.data.dicom_file.HEADER_LIMIT", 500_000)
    refused(path, "inflates to more than")


def test_a_huge_film_is_refused_before_its_pixels_are_inflated(tmp_path: Path) -> None:
    content = bytes(1 << 27)
    path = write(
        tmp_path / "a.dcm", syntax=DeflatedExplicitVRLittleEndian, Rows=12_000, Columns=12_000, PixelData=content
    )
    del content
    tracemalloc.start()
    refused(path, "million pixels")
    assert tracemalloc.get_traced_memory()[1] < 1 << 26
    tracemalloc.stop()


def test_without_pydicom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "film.dcm")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    refused(path, "pip install 'cxrkit[dicom]'")


def test_dicom_masks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="DICOM"):
        read_mask(write(tmp_path / "mask.dcm"))
