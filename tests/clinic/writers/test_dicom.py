"""DICOM objects of films: what other programs read in them, and that they are valid whatever the header lacks."""

from __future__ import annotations

import json
import re
import runpy
import sys
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

highdicom = pytest.importorskip("highdicom", reason="needs the extra: pip install 'cxrkit[clinic]'")

import cv2  # noqa: E402
import pydicom  # noqa: E402
from pydicom.dataset import Dataset  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

import cxrkit  # noqa: E402
from cxrkit import ConfigError, DeclinedError, Segmentation, Writer  # noqa: E402
from cxrkit.cli.app import app  # noqa: E402
from cxrkit.plugins import registry  # noqa: E402
from cxrkit_clinic.writers.codes import SCHEME, coded  # noqa: E402
from cxrkit_clinic.writers.dicom import CaptureWriter, ReportWriter, SegmentationWriter  # noqa: E402
from tests.clinic.films import (  # noqa: E402
    CR,
    DX,
    SECONDARY_CAPTURE,
    SHAPE,
    WEIGHTS,
    faults,
    segmented,
    with_structure,
    write,
)

REPOSITORY = Path(__file__).resolve().parents[3]
ALL = (SegmentationWriter(), SegmentationWriter(encoding="labelmap"), ReportWriter(), CaptureWriter())


def content(writer: Writer, result: Segmentation) -> bytes:
    [(_, made)] = writer.files(result)
    return made


def read(writer: Writer, result: Segmentation) -> Dataset:
    return pydicom.dcmread(BytesIO(content(writer, result)))


def report_of(result: Segmentation) -> Any:
    """The measurement group of a film's report."""
    return report_at(BytesIO(content(ReportWriter(), result)))


def report_at(file: Path | BytesIO) -> Any:
    """The measurement group of a report, as highdicom reads it."""
    [group] = highdicom.sr.srread(file).content.get_image_measurement_groups()
    return group


def item(**values: Any) -> Dataset:
    made = Dataset()
    for name, value in values.items():
        setattr(made, name, value)
    return made


PROFILE = item(CodeValue="113100", CodingSchemeDesignator="DCM", CodeMeaning="Basic Confidentiality Profile")
ANONYMOUS = dict.fromkeys(
    ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber"), ""
)
#: What films lack or get wrong, and what of it all objects must say nevertheless.
FILMS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "CR": ({}, {"PatientName": "Doe^Jane", "StudyDate": "20240102", "AccessionNumber": "A1"}),
    "DX": ({"SOPClassUID": DX, "Modality": "DX", "ImagerPixelSpacing": [0.143, 0.143]}, {}),
    "captured": ({"SOPClassUID": SECONDARY_CAPTURE, "Modality": "OT"}, {}),
    "bare": (dict.fromkeys((*ANONYMOUS, "StudyID", "ReferringPhysicianName")), {"PatientName": "", "PatientSex": ""}),
    "anonymous": (
        {**ANONYMOUS, "PatientIdentityRemoved": "YES", "DeidentificationMethod": "CTP"},
        {"PatientIdentityRemoved": "YES", "DeidentificationMethod": "CTP"},
    ),
    "anonymous by a profile": (
        {"PatientIdentityRemoved": "YES", "DeidentificationMethodCodeSequence": [PROFILE]},
        {"DeidentificationMethod": "Basic Confidentiality Profile"},
    ),
    "Japanese": (
        {"SpecificCharacterSet": ["", "ISO 2022 IR 87"], "PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう"},
        {"PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう", "SpecificCharacterSet": "['', 'ISO 2022 IR 87']"},
    ),
    "Korean": (
        {"SpecificCharacterSet": ["", "ISO 2022 IR 149"], "PatientName": "Hong^Gildong=洪^吉洞=홍^길동"},
        {"PatientName": "Hong^Gildong=洪^吉洞=홍^길동"},
    ),
    "Chinese": (
        {"SpecificCharacterSet": "GB18030", "PatientName": "Wang^XiaoDong=王^小东"},
        {"PatientName": "Wang^XiaoDong=王^小东", "SpecificCharacterSet": "GB18030"},
    ),
    "German": (
        {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müller^Jürgen"},
        {"PatientName": "Müller^Jürgen", "SpecificCharacterSet": "ISO_IR 100"},
    ),
    "undeclared characters": (
        {"PatientName": "Müller^Jürgen"},
        {"PatientName": "Müller^Jürgen", "SpecificCharacterSet": "ISO_IR 192"},
    ),
    "character set of no standard": (
        {"SpecificCharacterSet": "ISO-8859-1", "PatientName": "Müller"},
        {"PatientName": "Müller", "SpecificCharacterSet": "ISO_IR 192"},
    ),
    "no study, no series": (dict.fromkeys(("StudyInstanceUID", "SeriesInstanceUID")), {}),
    "UIDs only in the file's head": (dict.fromkeys(("SOPInstanceUID", "SOPClassUID")), {}),
    "wrong dates": (
        {"StudyDate": "2024-01-02", "PatientBirthDate": "19701399", "StudyTime": "10:11:12"},
        {"StudyDate": "", "PatientBirthDate": "", "StudyTime": ""},
    ),
    "wrong lengths": (
        {"AccessionNumber": "A" * 40, "StudyDescription": "D" * 100, "PatientName": "a^b^c^d^e^f"},
        {"AccessionNumber": "", "PatientName": ""},
    ),
    "wrong terms": ({"PatientSex": "X", "BodyPartExamined": "HAND", "PatientOrientation": ["L", "down"]}, {}),
    "several values of one": ({"AccessionNumber": "A\\B", "StudyID": "1\\2"}, {"AccessionNumber": "", "StudyID": ""}),
    "control characters": ({"PatientName": "Doe\n^Jane", "StudyDescription": "a\tb"}, {"PatientName": "Doe^Jane"}),
    "MONOCHROME1": ({"PhotometricInterpretation": "MONOCHROME1"}, {}),
    "flat pixels": ({"PixelSpacing": [0.1, 0.2]}, {}),
    "flat pixels, size unknown": ({"PixelAspectRatio": [1, 2]}, {}),
    "compressed with loss": (
        {
            "LossyImageCompression": "01",
            "LossyImageCompressionRatio": "10",
            "LossyImageCompressionMethod": "ISO_10918_1",
        },
        {},
    ),
    "compressed with loss somehow": ({"LossyImageCompression": "01"}, {}),
}


@pytest.fixture(params=FILMS, ids=lambda name: name.replace(" ", "-"))
def odd(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Segmentation, dict[str, str]]:
    attributes, expected = FILMS[request.param]
    return segmented(write(tmp_path / "film.dcm", **attributes)), expected


def test_objects_of_all_films_are_valid_and_belong_to_their_patient(
    odd: tuple[Segmentation, dict[str, str]], tmp_path: Path
) -> None:
    result, expected = odd
    for number, writer in enumerate(ALL):
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(content(writer, result))
        made = pydicom.dcmread(path)
        assert {name: str(made[name].value) for name in expected} == expected
        assert faults(path) == []


def test_a_report_without_a_ratio_is_valid_too(tmp_path: Path) -> None:
    result = segmented(write(tmp_path / "film.dcm"), "heart")
    path = tmp_path / "sr.dcm"
    path.write_bytes(content(ReportWriter(), result))
    assert faults(path) == []
    group = report_of(result)
    assert group.get_measurements() == []
    said = {found.name.meaning: found.value.meaning for found in group.get_qualitative_evaluations()}
    assert said["Cardiothoracic ratio"] == "Measurement failure"
    assert said["Warning"] == "heart: not found"
    assert said["Plausibility of the segmentation"].startswith("Warnings")


@pytest.mark.parametrize(
    ("attributes", "unit", "factor"),
    [
        ({"PixelSpacing": [0.5, 0.25]}, "mm", 0.25),
        ({"ImagerPixelSpacing": [0.2, 0.2]}, "mm", 0.2),
        ({}, "{pixels}", 1),
        ({"PixelSpacing": [0, 0]}, "{pixels}", 1),
    ],
)
def test_a_report_measures_in_millimetres_where_it_can(
    tmp_path: Path, attributes: dict[str, Any], unit: str, factor: float
) -> None:
    result = segmented(write(tmp_path / "film.dcm", **attributes))
    ratio = result.cardiothoracic_ratio
    assert ratio is not None
    heart, thorax, quotient = report_of(result).get_measurements()
    assert [one.name.meaning for one in (heart, thorax, quotient)] == [
        "Cardiac diameter",
        "Thoracic diameter",
        "Cardiothoracic ratio",
    ]
    assert (heart.unit.value, thorax.unit.value, quotient.unit.value) == (unit, unit, "1")
    assert heart.value == pytest.approx(ratio.heart.width * factor, abs=0.005)
    assert thorax.value == pytest.approx(ratio.thorax.width * factor, abs=0.005)
    assert quotient.value == pytest.approx(ratio.value, abs=5e-5)
    for found, extent in ((heart, ratio.heart), (thorax, ratio.thorax)):
        [line] = found.referenced_coordinates
        (left, row), (right, other_row) = line.value
        assert (left, right, row) == (extent.left, extent.right + 1, other_row)
        assert min(extent.left_row, extent.right_row) <= row <= max(extent.left_row, extent.right_row) + 1


def test_a_report_says_how_good_masks_may_be(tmp_path: Path) -> None:
    result = replace(segmented(write(tmp_path / "film.dcm")), quality={"left_lung": 0.9312, "heart": 0.85})
    path = tmp_path / "sr.dcm"
    path.write_bytes(content(ReportWriter(), result))
    assert faults(path) == []
    lung, heart, *others = report_of(result).get_measurements()
    assert {one.name.meaning for one in (lung, heart)} == {"Estimated Dice coefficient of the mask"}
    assert [(one.value, one.unit.value) for one in (lung, heart)] == [(0.9312, "1"), (0.85, "1")]
    [site] = lung.finding_sites
    assert (site.value.meaning, site.laterality.meaning) == ("Lung", "Left")
    assert len(others) == 3


def test_a_report_says_what_measured(tmp_path: Path) -> None:
    result = segmented(write(tmp_path / "film.dcm"))
    texts = [found.value for found in report_of(result)[0].ContentSequence if found.value_type.value == "TEXT"]
    assert texts[1:4] == ["cxrkit", WEIGHTS.cxrkit, f"weights_sha256={WEIGHTS.sha256}"]
    assert "threshold=0.5" in texts
    made = read(SegmentationWriter(), result)
    assert WEIGHTS.sha256 in made.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0].AlgorithmParameters
    assert made.DeviceSerialNumber == WEIGHTS.sha256


def test_long_warnings_are_whole_in_a_comment(tmp_path: Path) -> None:
    text = "the DICOM header's WindowWidth makes no sense and is left out (one that is 12° long × 3)"
    result = replace(segmented(write(tmp_path / "film.dcm")), warnings=(text,))
    comments = [found.value for found in report_of(result)[0].ContentSequence if found.name.meaning == "Comment"]
    assert comments == [text.replace("°", " degrees").replace("×", "x")]


def segments(made: bytes, source: str = "1.2.3.4.5.6") -> dict[str, np.ndarray]:
    """Label to mask, as highdicom reads them for a film."""
    found = highdicom.seg.segread(BytesIO(made))
    pixels = found.get_pixels_by_source_instance([source])[0] > 0
    return {
        found.get_segment_description(number).segment_label: pixels[..., index]
        for index, number in enumerate(found.segment_numbers)
    }


def test_segments_are_the_masks_and_say_what_they_are(tmp_path: Path) -> None:
    result = segmented(write(tmp_path / "film.dcm"))
    made = segments(content(SegmentationWriter(), result))
    assert [*made] == ["Left lung", "Right lung", "Heart"]
    for name, mask in zip(result.masks, made.values(), strict=True):
        np.testing.assert_array_equal(mask, result.masks[name])
    header = read(SegmentationWriter(), result)
    types = [segment.SegmentedPropertyTypeCodeSequence[0] for segment in header.SegmentSequence]
    assert [one.CodeValue for one in types] == ["39607008", "39607008", "80891009"]
    sides = [one.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning for one in types[:2]]
    assert sides == ["Left", "Right"]
    assert header.PatientOrientation == ["L", "F"]
    [series] = header.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == "1.2.3.4.5"
    assert series.ReferencedInstanceSequence[0].ReferencedSOPClassUID == CR


def test_a_label_map_gives_overlaps_to_the_likelier_structure(tmp_path: Path) -> None:
    result = segmented(write(tmp_path / "film.dcm"))
    overlap = result.masks["heart"] & result.masks["left_lung"]
    assert overlap.any()
    writer = SegmentationWriter(encoding="labelmap")
    made = segments(content(writer, result))
    heart = result.probabilities["heart"] > result.probabilities["left_lung"]
    np.testing.assert_array_equal(made["Heart"], result.masks["heart"] & (heart | ~overlap))
    np.testing.assert_array_equal(made["Left lung"], result.masks["left_lung"] & ~(heart & overlap))
    np.testing.assert_array_equal(made["Right lung"], result.masks["right_lung"])
    remark = f"{overlap.sum()} overlapping pixels are the likelier structure's"
    assert read(writer, result).ContentDescription == remark


def test_what_was_not_found_is_left_out_with_a_remark(tmp_path: Path) -> None:
    result = segmented(write(tmp_path / "film.dcm"), "heart")
    assert [*segments(content(SegmentationWriter(), result))] == ["Left lung", "Right lung"]
    assert read(SegmentationWriter(), result).ContentDescription == "not found: Heart"
    nothing = segmented(write(tmp_path / "film.dcm"), *result.masks)
    with pytest.raises(DeclinedError, match="no structure was found"):
        SegmentationWriter().files(nothing)


@pytest.mark.parametrize(
    ("structure", "value", "category", "side"),
    [
        ("aorta", "15825003", "Anatomical Structure", None),
        ("left_clavicle", "51299004", "Anatomical Structure", "Left"),
        ("cardiac_pacemaker", "14106009", "Physical object", None),
        ("nodule", "27925004", "Morphologically Abnormal Structure", None),
        ("left_thing", "left_thing", "Anatomical Structure", None),
        ("left", "left", "Anatomical Structure", None),
    ],
)
def test_structures_are_coded_by_name(structure: str, value: str, category: str, side: str | None) -> None:
    found = coded(structure)
    assert (found.type.value, found.category.meaning) == (value, category)
    assert (found.side and found.side.meaning) == side
    assert (found.type.scheme_designator == SCHEME) == (value == structure)


def test_structures_of_other_packages_are_written(tmp_path: Path) -> None:
    result = segmented(write(tmp_path / "film.dcm"))
    mask = np.zeros(SHAPE, bool)
    mask[:10, :10] = True
    for name in ("aorta", "a_structure_of_which_nobody_ever_heard_" + "x" * 60):
        result = with_structure(result, name, mask)
    path = tmp_path / "seg.dcm"
    path.write_bytes(content(SegmentationWriter(), result))
    assert faults(path) == []
    np.testing.assert_array_equal(segments(path.read_bytes())["Aorta"], mask)


def test_a_capture_is_the_overlay_and_adds_no_patient_data(tmp_path: Path) -> None:
    result = segmented(write(tmp_path / "film.dcm", PixelSpacing=[0.2, 0.1]))
    made = read(CaptureWriter(), result)
    drawn = cxrkit.draw_overlay(
        result.film.pixels, result.masks, ratio=result.cardiothoracic_ratio, warnings=result.warnings
    )
    np.testing.assert_array_equal(made.pixel_array, drawn)
    assert made.PixelSpacing == [0.2, 0.1]
    assert made.BurnedInAnnotation == "NO"
    assert made.SourceImageSequence[0].ReferencedSOPInstanceUID == "1.2.3.4.5.6"
    burned = read(CaptureWriter(), segmented(write(tmp_path / "burned.dcm", BurnedInAnnotation="YES")))
    assert burned.BurnedInAnnotation == "YES"
    unknown = read(CaptureWriter(), segmented(write(tmp_path / "unknown.dcm", BurnedInAnnotation=None)))
    assert "BurnedInAnnotation" not in unknown


def test_the_same_film_gives_the_same_bytes_and_other_weights_other_objects(tmp_path: Path) -> None:
    path = write(tmp_path / "film.dcm")
    result = segmented(path)
    others = (
        replace(result, weights=replace(WEIGHTS, sha256="cd" * 32)),
        replace(result, weights=replace(WEIGHTS, cxrkit="0.2.0")),
        replace(result, settings={"threshold": 0.4}),
        segmented(write(tmp_path / "other.dcm", SOPInstanceUID="1.2.3.4.5.7")),
        replace(result, weights=None),
    )
    for writer in ALL:
        assert content(writer, result) == content(writer, segmented(path))
        made = [read(writer, one) for one in (result, *others)]
        assert len({one.SOPInstanceUID for one in made}) == len(made)
        assert {one.StudyInstanceUID for one in made} == {"1.2.3.4"}
    objects = [read(writer, result) for writer in ALL]
    assert len({one.SOPInstanceUID for one in objects} | {one.SeriesInstanceUID for one in objects}) == 8
    assert [one.SeriesNumber for one in objects] == [900, 900, 901, 902]


def test_dates_are_the_films_or_todays(tmp_path: Path) -> None:
    result = segmented(write(tmp_path / "film.dcm", AcquisitionDate="20240103", AcquisitionTime="080910"))
    made = read(ReportWriter(), result)
    assert (made.ContentDate, made.ContentTime) == ("20240103", "080910")
    today = read(ReportWriter(dates="now"), result)
    assert today.ContentDate > "20260000"
    assert today.SOPInstanceUID == made.SOPInstanceUID
    assert today.StudyDate == "20240102"


@pytest.mark.parametrize("writer", ALL[1:], ids=lambda writer: writer.name)
def test_films_that_nothing_can_refer_to_are_declined(tmp_path: Path, writer: Writer) -> None:
    result = segmented(write(tmp_path / "film.dcm", SOPInstanceUID="1"))
    with pytest.raises(DeclinedError, match=f"{writer.name} wrote nothing: the film isn't a DICOM file"):
        writer.files(replace(result, film=replace(result.film, source=None)))
    source = result.film.source
    assert source is not None
    header = source.header
    del header.file_meta.MediaStorageSOPInstanceUID
    with pytest.raises(DeclinedError, match="no valid SOPInstanceUID"):
        writer.files(result)


def test_without_the_extra_one_learns_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(ConfigError, match="pip install 'cxrkit\\[clinic\\]'"):
        registry().get("writer", "dicom-sr").build()


def run_example(name: str, *arguments: object) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(REPOSITORY / "examples" / "clinic" / name))


@pytest.fixture(scope="module")
def predicted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """What `cxrkit predict` makes of the example's DICOM film and a PNG, and what it prints."""
    folder = tmp_path_factory.mktemp("predicted")
    run_example("synthetic-film.py", folder / "film.dcm")
    cv2.imwrite(str(folder / "picture.png"), cxrkit.read_film(folder / "film.dcm").pixels[::4, ::4])
    writers = [part for name in ("masks", "dicom-seg", "dicom-sr", "dicom-sc") for part in ("--write", name)]
    films = [str(folder / name) for name in ("film.dcm", "picture.png")]
    done = CliRunner().invoke(app, ["predict", *films, "--out", str(folder / "out"), *writers])
    assert done.exit_code == 0, done.output
    return folder / "out", done.stderr


def test_the_example_draws_what_is_in_the_objects(predicted: tuple[Path, str], tmp_path: Path) -> None:
    folder = predicted[0]
    run_example("show-results.py", folder.parent / "film.dcm", folder / "film", tmp_path / "picture.png")
    drawn = cv2.imread(str(tmp_path / "picture.png"))
    [thorax] = [one for one in report_at(folder / "film" / "sr.dcm").get_measurements() if "Thor" in one.name.meaning]
    (left, row), (right, _) = thorax.referenced_coordinates[0].value
    assert (drawn[round(row), round(left) : round(right)] > 240).all()


def test_the_page_is_right_about_python(
    predicted: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (REPOSITORY / "docs" / "how-to" / "dicom-results.md").read_text(encoding="utf-8")
    [block] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(predicted[0].parent)
    exec(compile(block, "dicom-results.md", "exec"), {})
    sizes = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert [*sizes] == ["seg.dcm", "sr.dcm", "sc.dcm"]
    assert int(sizes["sr.dcm"]) == (predicted[0] / "film" / "sr.dcm").stat().st_size


def test_predicted_segments_are_the_masks_to_the_pixel(predicted: tuple[Path, str]) -> None:
    folder = predicted[0] / "film"
    source = pydicom.dcmread(folder / "sc.dcm").SourceImageSequence[0].ReferencedSOPInstanceUID
    made = segments((folder / "seg.dcm").read_bytes(), source)
    assert set(made) == {"Left lung", "Right lung", "Heart"}
    for label, mask in made.items():
        picture = cv2.imread(str(folder / f"{label.lower().replace(' ', '_')}.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(mask, picture > 0)
    assert [faults(path) for path in sorted(folder.glob("*.dcm"))] == [[], [], []]


@pytest.mark.parametrize("options", [[], ["--write", "masks", "--strict"]])
def test_the_exit_code_says_where_nothing_is_written_or_with_strict_not_all(
    predicted: tuple[Path, str], tmp_path: Path, options: list[str]
) -> None:
    picture = str(predicted[0].parent / "picture.png")
    asked = ["predict", picture, "--out", str(tmp_path), "--write", "dicom-sr", "--json", *options]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 3
    [row] = json.loads(done.stdout)["films"]
    assert len(row["files"]) == (3 if options else 0)
    assert row["cardiothoracic_ratio"] > 0.3
    assert row["declined"][0].startswith("dicom-sr wrote nothing")


def test_a_film_that_is_not_dicom_gets_its_other_results(predicted: tuple[Path, str]) -> None:
    folder, said = predicted
    assert sorted(path.name for path in (folder / "picture").iterdir()) == [
        "heart.png",
        "left_lung.png",
        "right_lung.png",
    ]
    for name in ("dicom-seg", "dicom-sr", "dicom-sc"):
        assert f"picture.png: {name} wrote nothing: the film isn't a DICOM file." in said
    assert "film.dcm: dicom" not in said
