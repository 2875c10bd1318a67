"""Films in folders: layout, names, and what is told about what doesn't fit."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cxrkit import Entry
from cxrkit.data.check import check_dataset as check_all
from cxrkit.data.samples import list_entries
from cxrkit.errors import ConfigError, DataError
from cxrkit.testing.conformance import check_dataset
from cxrkit_plugins.datasets.folder import FolderDataset
from cxrkit_plugins.datasets.listing import inside, name_structures, structure_name

Write = Callable[..., Path]


def fails(root: Path, **parameters: object) -> DataError:
    """The error of building a folder dataset and listing its films for a training."""
    with pytest.raises(DataError) as caught:
        list_entries(FolderDataset(root, **parameters))  # type: ignore[arg-type]
    return caught.value


def fails_to_read(root: Path, **parameters: object) -> DataError:
    dataset = FolderDataset(root, **parameters)  # type: ignore[arg-type]
    entry = dataset.entries()[0]
    with pytest.raises(DataError) as caught:
        dataset.read(entry)
    return caught.value


def test_fulfils_the_contract(folder: Path) -> None:
    check_dataset("folder", root=folder)


def test_reads_films_and_masks(folder: Path) -> None:
    dataset = FolderDataset(folder)
    entries = dataset.entries()
    sample = dataset.read(entries[1])

    assert dataset.structures == ("left_lung", "heart")
    assert [entry.id for entry in entries] == ["a", "b", "c"]
    assert [entry.group for entry in entries] == ["a", "b", "c"]
    assert entries[1].files == tuple(
        folder / part for part in ("images/b.png", "masks/left lung/b.gif", "masks/heart/b.png")
    )
    np.testing.assert_array_equal(sample.image, np.asarray(Image.open(folder / "images/b.png")))
    assert sample.spacing is None
    assert sample.masks["heart"].sum() == 8 * 6
    assert sample.masks["heart"].dtype == np.bool_


def test_real_radiographs(wingspan: Path) -> None:
    dataset = FolderDataset(wingspan)
    entries = dataset.entries()
    sample = dataset.read(entries[0])

    assert len(entries) == 200
    assert dataset.structures == ("left_lung", "right_lung", "heart")
    assert sample.image.shape == (512, 512)
    assert sample.spacing is None
    columns = {name: np.nonzero(mask)[1].mean() for name, mask in sample.masks.items()}
    assert columns["right_lung"] < columns["heart"] < columns["left_lung"]


def test_sixteen_bits_and_mixed_suffixes(folder: Path, write_film: Write) -> None:
    (folder / "images/a.png").unlink()
    (folder / "images/b.png").unlink()
    write_film(folder / "images/a.TIF", dtype=np.uint16)
    write_film(folder / "images/b.png", dtype=np.uint16)
    dataset = FolderDataset(folder)

    assert [entry.files[0].name for entry in dataset.entries()] == ["a.TIF", "b.png", "c.png"]
    for entry in dataset.entries()[:2]:
        sample = dataset.read(entry)
        assert sample.image.dtype == np.uint16
        assert sample.image.max() > 255


def test_dicom_films_bring_their_spacing(folder: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    (folder / "images/a.png").unlink()
    file = pydicom.Dataset()
    file.file_meta = pydicom.dataset.FileMetaDataset()
    file.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    file.file_meta.MediaStorageSOPClassUID = file.SOPClassUID = pydicom.uid.DigitalXRayImageStorageForPresentation
    file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID = pydicom.uid.generate_uid()
    file.Rows, file.Columns, file.SamplesPerPixel = 24, 20, 1
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 12, 11, 0
    file.PhotometricInterpretation, file.ImagerPixelSpacing = "MONOCHROME2", [0.2, 0.3]
    file.PixelData = np.random.default_rng(0).integers(0, 4096, (24, 20)).astype(np.uint16).tobytes()
    file.save_as(folder / "images/a.dcm", enforce_file_format=True)

    dataset = FolderDataset(folder)
    assert dataset.read(dataset.entries()[0]).spacing == pytest.approx((0.2, 0.3))
    dataset = FolderDataset(folder, spacing=0.5)
    assert dataset.read(dataset.entries()[0]).spacing == (0.5, 0.5)


def test_clutter_is_ignored(folder: Path) -> None:
    for clutter in ("images/.DS_Store", "images/Thumbs.db", "masks/heart/._a.png", "masks/x.txt"):
        (folder / clutter).write_text("no picture")
    (folder / "masks/__MACOSX").mkdir()
    (folder / "masks/.hidden").mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(FolderDataset(folder).entries()) == 3
    assert FolderDataset(folder).structures == ("left_lung", "heart")


def test_other_folder_names(folder: Path) -> None:
    (folder / "images").rename(folder / "xray")
    (folder / "masks").rename(folder / "labels")
    assert len(FolderDataset(folder, images="xray", masks="labels").entries()) == 3


def test_structures_can_be_chosen(folder: Path) -> None:
    dataset = FolderDataset(folder, structures=["heart", "Left Lung"])
    assert dataset.structures == ("heart", "left_lung")
    # What isn't asked for needn't be complete.
    (folder / "masks/left lung/b.gif").unlink()
    assert len(FolderDataset(folder, structures=["heart"]).entries()) == 3

    error = fails(folder, structures=["hart"])
    assert "no masks of 'hart'" in error.what
    assert "'heart'" in error.remedy
    for wrong in (["heart", "heart"], []):
        with pytest.raises(ConfigError, match=r"data\.structures"):
            FolderDataset(folder, structures=wrong)


def test_a_missing_root_is_reported(tmp_path: Path) -> None:
    assert "no such folder" in fails(tmp_path / "nowhere").what
    with pytest.raises(ConfigError, match="where the films are"):
        FolderDataset(None)


def test_a_wrong_layout_is_reported(tmp_path: Path, write_film: Write) -> None:
    root = tmp_path / "films"
    write_film(root / "one.png")
    (root / "train").mkdir()
    error = fails(root)
    assert "no folder images/" in error.what
    assert "one.png, train/" in error.what
    assert "masks/<structure>/<name>.png" in error.remedy

    (root / "images").mkdir()
    assert "no folder masks/" in fails(root).what
    write_film(root / "masks/one.png")
    error = fails(root)
    assert "no folder of masks" in error.what
    assert "one.png" in error.what
    assert "neither a folder nor a CSV" in fails(root / "one.png").what


def test_no_films_is_reported(folder: Path, write_film: Write) -> None:
    for film in (folder / "images").iterdir():
        film.unlink()
    assert "found: nothing" in fails(folder).what
    (folder / "images/a.nii.gz").write_bytes(b"")
    write_film(folder / "images/train/a.png")
    error = fails(folder)
    assert "a.nii.gz, train/" in error.what
    assert ".tif" in error.remedy


def test_missing_masks_are_listed(folder: Path, write_film: Write) -> None:
    for number in range(7):
        write_film(folder / f"images/new{number}.png")
    error = fails(folder, structures=["heart"])
    assert "7 of 10 films can't be used" in error.what
    assert f"new0.png has no mask of its name in {folder / 'masks/heart'}" in error.what
    assert "And 4 more" in error.what
    found = check_all(FolderDataset(folder, structures=["heart"]))
    assert [item.id for item in found if item.severity == "error"] == [f"new{number}" for number in range(7)]


def test_masks_of_another_name_are_hinted_at(folder: Path) -> None:
    (folder / "masks/heart/a.png").rename(folder / "masks/heart/a_mask.png")
    with pytest.warns(UserWarning, match="1 mask has no film and is not used: a_mask"):
        assert "a.png has no mask" in fails(folder).what


def test_masks_without_a_film_are_warned_of(folder: Path) -> None:
    (folder / "images/b.png").unlink()
    with pytest.warns(UserWarning, match="1 mask has no film and is not used: b"):
        entries = FolderDataset(folder).entries()
    assert [entry.id for entry in entries] == ["a", "c"]


@pytest.mark.parametrize("place", ["images", "masks/heart"])
def test_two_pictures_of_one_name_are_reported(folder: Path, write_film: Write, place: str) -> None:
    write_film(folder / place / "b.tif")
    error = fails(folder)
    assert "b.png and b.tif" in error.what


def test_names_that_mean_the_same_are_reported(folder: Path) -> None:
    (folder / "masks/left_lung").mkdir()
    assert "both mean 'left_lung'" in fails(folder).what


def test_background_is_no_structure(folder: Path) -> None:
    (folder / "masks/Background").mkdir()
    assert "'Background' can't name a structure" in fails(folder).what


def test_a_mask_of_another_size_is_reported(folder: Path, write_mask: Write) -> None:
    write_mask(folder / "masks/heart/a.png", shape=(24, 21))
    error = fails_to_read(folder)
    assert str(folder / "masks/heart/a.png") in error.what
    assert "21 × 24" in error.what
    assert "20 × 24" in error.what


def test_greys_need_a_threshold(folder: Path) -> None:
    greys = np.tile(np.arange(20, dtype=np.uint8) * 12, (24, 1))
    Image.fromarray(greys).save(folder / "masks/heart/a.png")
    error = fails_to_read(folder)
    assert str(folder / "masks/heart/a.png") in error.what
    assert "--set data.mask_threshold=127" in error.remedy

    dataset = FolderDataset(folder, mask_threshold=127)
    np.testing.assert_array_equal(dataset.read(dataset.entries()[0]).masks["heart"], greys > 127)


def test_empty_masks_need_leave(folder: Path, write_mask: Write) -> None:
    write_mask(folder / "masks/heart/a.png", value=0)
    error = fails_to_read(folder)
    assert "a.png: the mask is empty" in error.what
    assert "--set data.allow_empty=true" in error.remedy

    dataset = FolderDataset(folder, allow_empty=True)
    sample = dataset.read(dataset.entries()[0])
    assert not sample.masks["heart"].any()
    assert sample.masks["left_lung"].any()


def test_unreadable_films_are_named(folder: Path) -> None:
    (folder / "images/a.png").write_bytes((folder / "images/a.png").read_bytes()[:60])
    assert str(folder / "images/a.png") in fails_to_read(folder).what


def test_a_film_of_another_dataset_is_reported(folder: Path) -> None:
    with pytest.raises(DataError, match="no film 'z'"):
        FolderDataset(folder).read(Entry("z", "z"))


def test_folders_outside_the_root_are_refused(folder: Path) -> None:
    assert "leads out of" in fails(folder, images="../other").what


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("left lung", "left_lung"),
        ("Left-Lung", "left_lung"),
        ("LeftLung", "left_lung"),
        ("left_lung", "left_lung"),
        (" Herz (rechts) ", "herz_rechts"),
        ("Clavícula", "clavicula"),
        ("心臓", ""),
    ],
)
def test_structure_names(text: str, name: str) -> None:
    assert structure_name(text) == name


@settings(deadline=None, max_examples=50)
@given(st.text(max_size=30))
def test_structure_names_are_snake_case_and_stay(text: str) -> None:
    name = structure_name(text)
    assert structure_name(name) == name
    assert name == "" or all(part.isascii() and part.isalnum() and part == part.lower() for part in name.split("_"))


@settings(deadline=None, max_examples=25)
@given(st.permutations(["zebra", "heart", "aorta", "right lung", "left lung", "left clavicle"]))
def test_channels_have_one_order(sources: list[str]) -> None:
    assert list(name_structures(sources, "here")) == [
        "left_lung",
        "right_lung",
        "heart",
        "left_clavicle",
        "aorta",
        "zebra",
    ]


@settings(deadline=None, max_examples=100)
@given(st.lists(st.sampled_from(["..", ".", "a", "b", "/", "\\", "C:", "..\\"]), min_size=1, max_size=6))
def test_no_path_leads_out(parts: list[str]) -> None:
    folder = Path("/data/films")
    text = "/".join(parts)
    try:
        path = inside(folder, text, "here")
    except DataError:
        return
    assert path.resolve().is_relative_to(folder.resolve())


@pytest.mark.parametrize("text", ["../x.png", "a/../../x.png", "/etc/passwd", "..\\x.png", "C:\\films\\x.png", "a\0b"])
def test_paths_that_lead_out_are_refused(text: str) -> None:
    with pytest.raises(DataError, match=r"list\.csv, line 3"):
        inside(Path("data"), text, "list.csv, line 3")


def test_paths_that_stay_inside_are_taken(tmp_path: Path) -> None:
    wanted = tmp_path / "images/x.png"
    for text in ("images/x.png", "images\\x.png", "./masks/../images/x.png", str(wanted)):
        assert inside(tmp_path, text, "here") == wanted


def test_folders_and_manifests_are_recognised(folder: Path, tmp_path: Path) -> None:
    assert FolderDataset.recognises(folder)
    (folder / "masks").rename(folder / "labels")
    assert not FolderDataset.recognises(folder)
    (folder / "manifest.csv").touch()
    assert FolderDataset.recognises(folder)
    (tmp_path / "films.CSV").touch()
    assert FolderDataset.recognises(tmp_path / "films.CSV")
    assert not FolderDataset.recognises(folder / "images" / "a.png")
    assert not FolderDataset.recognises(tmp_path)


def test_files_of_other_kinds_are_counted(folder: Path) -> None:
    for name in ("x.webp", "y.WEBP", "z.nii.gz", "notes.txt", "a.jp2", "odd.xyz", "README"):
        (folder / "images" / name).write_bytes(b"?")
    with pytest.warns(UserWarning, match="left out") as caught:
        assert len(FolderDataset(folder).entries()) == 3
    (line,) = (str(warning.message) for warning in caught)
    assert line.startswith(f"{folder / 'images'}: 7 files in it are left out, of kinds that aren't read: 2 WebP, ")
    assert all(kind in line for kind in ("1 NIfTI", "1 text", "1 JPEG 2000", "1 *.xyz", "1 without a suffix"))


# --- one picture of class numbers a film ------------------------------------------------------------------


@pytest.fixture
def labelled(tmp_path: Path, write_film: Write) -> Path:
    """Two films, one with a palette picture of class numbers and one with a 16-bit TIFF."""
    numbers = np.zeros((24, 20), np.uint8)
    numbers[3:9, 2:6], numbers[3:9, 12:16], numbers[10:14, 6:12] = 2, 1, 7
    for name in "ab":
        write_film(tmp_path / f"images/{name}.png")
    (tmp_path / "masks").mkdir()
    palette = Image.fromarray(numbers)
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0] + [9] * 15)
    palette.save(tmp_path / "masks/a.png")
    Image.fromarray(numbers.astype(np.uint16)).save(tmp_path / "masks/b.tif")
    return tmp_path


NUMBERS = {"Left Lung": 1, "right_lung": 2, "heart": 7}


def test_a_picture_of_class_numbers_gives_all_masks(labelled: Path) -> None:
    check_dataset("folder", {"labels": NUMBERS}, root=labelled)
    dataset = FolderDataset(labelled, labels=NUMBERS)
    assert dataset.structures == ("left_lung", "right_lung", "heart")
    for entry in dataset.entries():
        masks = dataset.read(entry).masks
        assert [np.argwhere(masks[name])[0].tolist() for name in dataset.structures] == [[3, 12], [3, 2], [10, 6]]
        assert [int(mask.sum()) for mask in masks.values()] == [24, 24, 24]


def test_class_numbers_can_be_listed_in_a_manifest(labelled: Path) -> None:
    text = "image,labels\nimages/a.png,masks/a.png\nimages/b.png,masks/b.tif\n"
    (labelled / "films.csv").write_text(text)
    dataset = FolderDataset(labelled / "films.csv", labels={"heart": 7})
    assert [int(dataset.read(entry).masks["heart"].sum()) for entry in dataset.entries()] == [24, 24]
    (labelled / "films.csv").write_text(text.replace("labels", "heart"))
    assert "no column 'labels'" in fails(labelled / "films.csv", labels={"heart": 7}).what


def test_wrong_class_numbers_are_told(labelled: Path, write_mask: Write) -> None:
    error = fails_to_read(labelled, labels={"heart": 3})
    assert "a.png: holds no heart (3); its numbers are 0, 1, 2, 7" in error.what
    with pytest.raises(ConfigError, match="two structures have one number"):
        FolderDataset(labelled, labels={"heart": 1, "left_lung": 1})
    assert "data.labels" in fails(labelled).remedy
    write_mask(labelled / "masks/a.png", shape=(24, 21), value=7)
    assert "21 × 24" in fails_to_read(labelled, labels={"heart": 7}).what
    (labelled / "masks/b.tif").unlink()
    assert "b.png has no mask" in fails(labelled, labels={"heart": 7}).what
    Image.fromarray(np.random.default_rng(0).integers(0, 9, (24, 20, 3)).astype(np.uint8)).save(
        labelled / "masks/a.png"
    )
    assert "colour" in fails_to_read(labelled, labels={"heart": 7}).what
