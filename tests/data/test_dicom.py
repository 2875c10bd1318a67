from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, generate_uid

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
    from pydicom.dataset import Dataset

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


@pytest.mark.parametrize("kind", [b"US", b"AT", b"FD", b"ZZ"])
@pytest.mark.parametrize("name", ["Modality", "BodyPartExamined", "ViewPosition", "PatientOrientation"])
def test_a_header_that_breaks_the_standard_is_no_remark(tmp_path: Path, name: str, kind: bytes) -> None:
    path = write(tmp_path / "a.dcm", **{name: ["P", "F"] if name == "PatientOrientation" else "LL"})
    tag = dcmread(path)[name].tag
    start = tag.group.to_bytes(2, "little") + tag.element.to_bytes(2, "little")
    content = path.read_bytes()
    assert content.count(start + b"CS") == 1
    path.write_bytes(content.replace(start + b"CS", start + kind))
    assert read_film(path).remarks == ()


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


def test_a_window_that_cannot_be_applied(tmp_path: Path) -> None:
    refused(write(tmp_path / "film.dcm", WindowCenter=100, WindowWidth=0), "window")


def test_compression_without_a_decoder_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pydicom.pixels.decoders import JPEG2000LosslessDecoder

    path = write(tmp_path / "film.dcm", syntax=JPEG2000Lossless, PixelData=encapsulate([b"\xff\x4f\xff\x51" * 20]))
    monkeypatch.setattr(JPEG2000LosslessDecoder, "_available", {})
    refused(path, "JPEG 2000", "pip install")


def test_without_pydicom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "film.dcm")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    refused(path, "pip install 'cxrkit[dicom]'")


def test_dicom_masks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="DICOM"):
        read_mask(write(tmp_path / "mask.dcm"))
