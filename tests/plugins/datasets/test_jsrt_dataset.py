"""JSRT films in their exact format, SCR masks as they come, and what is told about what isn't so."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cxrkit import Entry
from cxrkit.data.samples import list_entries
from cxrkit.errors import ConfigError, DataError
from cxrkit.testing.conformance import check_dataset
from cxrkit_plugins.datasets.folder import FolderDataset
from cxrkit_plugins.datasets.jsrt import JsrtDataset, to_side

# Where the boxes that stand for organs lie in a 1024 × 1024 mask: (rows, columns).
BOXES = {
    "left lung": (slice(200, 800), slice(600, 900)),
    "right lung": (slice(200, 780), slice(120, 400)),
    "heart": (slice(500, 801), slice(401, 640)),
    "left clavicle": (slice(150, 200), slice(560, 820)),
    "right clavicle": (slice(150, 201), slice(200, 460)),
}


def mask_of(structure: str) -> np.ndarray:
    mask = np.zeros((1024, 1024), np.uint8)
    mask[BOXES[structure]] = 1
    return mask


def bright_film() -> np.ndarray:
    """2048 × 2048 values of 12 bits with dark lungs."""
    film = np.tile(np.linspace(2600, 3000, 2048).astype(np.uint16), (2048, 1))
    film[:, ::64] = 4095
    film[::64] = 17
    for lung in ("left lung", "right lung"):
        film[np.repeat(np.repeat(mask_of(lung), 2, 0), 2, 1) > 0] = 900
    return film


def write_gif(path: Path, mask: np.ndarray) -> None:
    """A palette GIF, 0 black and 1 white, as SCR's are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(mask)
    picture.putpalette([0, 0, 0, 255, 255, 255] + [0, 0, 0] * 254)
    picture.save(path)


def write_masks(root: Path, name: str, structures: tuple[str, ...] = tuple(BOXES)) -> None:
    for structure in structures:
        write_gif(root / structure / f"{name}.gif", mask_of(structure))


def write_img(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    (4095 - bright_film()).astype(">u2").tofile(path)


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two films and their masks as they come out of the archives; not to be changed."""
    root = tmp_path_factory.mktemp("jsrt")
    write_img(root / "All247images/JPCLN001.IMG")
    write_img(root / "NonNodule93images/JPCNN001.IMG")
    # JSRT delivers films twice.
    (root / "Nodule154images").mkdir()
    shutil.copy(root / "All247images/JPCLN001.IMG", root / "Nodule154images/JPCLN001.IMG")
    write_masks(root / "scratch/fold1/masks", "JPCLN001")
    write_masks(root / "scratch/fold2/masks", "JPCNN001")
    return root


@pytest.fixture
def converted(tmp_path: Path) -> Path:
    """Two films converted to 256 × 256 with bone bright, 8 and 16 bits; masks without folds."""
    root = tmp_path / "jsrt"
    film = bright_film()[4::8, 4::8]
    root.mkdir()
    Image.fromarray((film // 16).astype(np.uint8)).save(root / "JPCLN002.png")
    Image.fromarray(film * np.uint16(16)).save(root / "jpcnn093.tif")
    for name in ("JPCLN002", "JPCNN093"):
        write_masks(root / "masks", name, ("left lung", "right lung", "heart"))
    return root


def error_of(root: Path, **parameters: object) -> DataError:
    with pytest.raises(DataError) as caught:
        JsrtDataset(root, **parameters).entries()  # type: ignore[arg-type]
    return caught.value


def read_error(root: Path, name: str, **parameters: object) -> DataError:
    dataset = JsrtDataset(root, **parameters)  # type: ignore[arg-type]
    entry = next(entry for entry in dataset.entries() if entry.id == name)
    with pytest.raises(DataError) as caught:
        dataset.read(entry)
    return caught.value


def test_fulfils_the_contract(converted: Path) -> None:
    check_dataset("jsrt", root=converted)


def test_finds_films_and_folds(delivered: Path) -> None:
    dataset = JsrtDataset(delivered)

    assert dataset.structures == ("left_lung", "right_lung", "heart")
    assert [(entry.id, entry.group, entry.fold) for entry in dataset.entries()] == [
        ("JPCLN001", "JPCLN001", "fold1"),
        ("JPCNN001", "JPCNN001", "fold2"),
    ]
    assert dataset.entries()[0].files == tuple(
        delivered / part
        for part in (
            "All247images/JPCLN001.IMG",
            "scratch/fold1/masks/left lung/JPCLN001.gif",
            "scratch/fold1/masks/right lung/JPCLN001.gif",
            "scratch/fold1/masks/heart/JPCLN001.gif",
        )
    )


def test_reads_raw_films_with_bone_bright(delivered: Path) -> None:
    dataset = JsrtDataset(delivered, clavicles=True)
    sample = dataset.read(dataset.entries()[0])

    assert sample.image.dtype == np.uint16
    assert sample.image.flags.c_contiguous
    np.testing.assert_array_equal(sample.image, bright_film())
    assert sample.spacing == pytest.approx((0.175, 0.175))
    assert tuple(sample.masks) == ("left_lung", "right_lung", "heart", "left_clavicle", "right_clavicle")
    for name, mask in sample.masks.items():
        expected = np.repeat(np.repeat(mask_of(name.replace("_", " ")), 2, 0), 2, 1)
        assert mask.dtype == np.bool_
        np.testing.assert_array_equal(mask, expected > 0)
    columns = {name: np.nonzero(mask)[1].mean() for name, mask in sample.masks.items()}
    assert columns["right_lung"] < columns["heart"] < columns["left_lung"]


def test_one_fold_can_be_chosen(delivered: Path, converted: Path) -> None:
    assert [entry.id for entry in JsrtDataset(delivered, fold="fold2").entries()] == ["JPCNN001"]
    error = error_of(converted, fold="fold1")
    assert "none lies in fold1" in error.what
    assert "data.fold" in error.remedy


def test_reads_converted_films(converted: Path) -> None:
    dataset = JsrtDataset(converted)
    entries = dataset.entries()
    samples = [dataset.read(entry) for entry in entries]

    assert [(entry.id, entry.fold) for entry in entries] == [("JPCLN002", None), ("JPCNN093", None)]
    assert [sample.image.dtype for sample in samples] == [np.uint8, np.uint16]
    for sample in samples:
        assert sample.spacing == pytest.approx((1.4, 1.4))
        assert sample.masks["heart"].shape == (256, 256)
        assert sample.masks["heart"].mean() == pytest.approx(mask_of("heart").mean(), rel=0.02)


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_converted_films_with_dark_bone(tmp_path: Path, bits: int) -> None:
    white = 2**bits - 1
    film = (bright_film()[4::8, 4::8] >> 4) if bits == 8 else bright_film()[4::8, 4::8] * (16 if bits == 16 else 1)
    film = film.astype(np.uint8 if bits == 8 else np.uint16)
    Image.fromarray((white - film).astype(film.dtype)).save(tmp_path / "JPCLN001.png")
    write_masks(tmp_path, "JPCLN001")

    error = read_error(tmp_path, "JPCLN001")
    assert "bone is dark" in error.what
    assert "data.inverted=true" in error.remedy
    dataset = JsrtDataset(tmp_path, inverted=True)
    np.testing.assert_array_equal(dataset.read(dataset.entries()[0]).image, film)


def test_bright_films_declared_dark_are_reported(converted: Path) -> None:
    assert "data.inverted=false" in read_error(converted, "JPCLN002", inverted=True).remedy


def test_originals_win_over_conversions(delivered: Path, tmp_path: Path) -> None:
    write_masks(tmp_path / "fold1", "JPCLN001")
    for folder in ("png512", "png1024"):
        (tmp_path / folder).mkdir()
        Image.fromarray(bright_film()[::8, ::8]).save(tmp_path / folder / "JPCLN001.png")
    error = error_of(tmp_path)
    assert "JPCLN001 is there twice" in error.what
    assert "png512" in error.what

    (tmp_path / "raw").symlink_to(delivered / "All247images", target_is_directory=True)
    assert JsrtDataset(tmp_path).entries()[0].files[0] == tmp_path / "raw/JPCLN001.IMG"


def test_links_in_circles_are_survived(converted: Path) -> None:
    (converted / "masks/loop").symlink_to(converted, target_is_directory=True)
    assert len(JsrtDataset(converted).entries()) == 2


def test_a_mask_that_exists_twice_is_reported(converted: Path) -> None:
    write_gif(converted / "fold1/heart/JPCLN002.gif", mask_of("heart"))
    assert "JPCLN002 is there twice" in error_of(converted).what


def test_a_raw_film_that_is_cut_off_is_named(tmp_path: Path) -> None:
    (tmp_path / "JPCLN001.IMG").write_bytes(b"\1" * 999)
    write_masks(tmp_path / "fold1", "JPCLN001")
    assert "JPCLN001.IMG: is truncated" in read_error(tmp_path, "JPCLN001").what


def test_a_raw_film_beside_its_masks_is_no_mask(tmp_path: Path) -> None:
    write_img(tmp_path / "heart/JPCLN001.IMG")
    write_masks(tmp_path, "JPCLN001")
    assert JsrtDataset(tmp_path).entries()[0].files[0] == tmp_path / "heart/JPCLN001.IMG"


def test_missing_masks_are_listed(converted: Path) -> None:
    error = error_of(converted, clavicles=True)
    assert "2 films" in error.what
    assert "'left clavicle', 'right clavicle'" in error.what
    assert "SCR" in error.remedy

    (converted / "masks/heart/JPCNN093.gif").unlink()
    with pytest.raises(DataError) as caught:
        list_entries(JsrtDataset(converted))
    error = caught.value
    assert "has no mask of heart" in error.what
    assert "data.allow_missing=true" in error.what
    assert [entry.id for entry in JsrtDataset(converted, allow_missing=True).entries()] == ["JPCLN002"]

    (converted / "masks/left lung/JPCLN002.gif").unlink()
    assert "none of the 2 films is left" in error_of(converted, allow_missing=True).what


def test_masks_without_films_are_normal(converted: Path) -> None:
    write_masks(converted / "masks", "JPCLN100")
    assert len(JsrtDataset(converted).entries()) == 2


def test_the_error_says_where_to_get_the_data(tmp_path: Path) -> None:
    (tmp_path / "other.png").write_bytes(b"")
    for root in (tmp_path, tmp_path / "nowhere"):
        error = error_of(root)
        assert str(root) in error.what
        assert "JPCLN001.IMG" in error.remedy
        assert "Japanese Society of Radiological Technology" in error.remedy
        assert "SCR" in error.remedy
    assert "unpack archives" in error_of(tmp_path / "other.png").what
    with pytest.raises(ConfigError, match="where the films are"):
        JsrtDataset(None)


def test_faulty_files_are_named(converted: Path) -> None:
    Image.fromarray(bright_film()[::8, ::16]).save(converted / "JPCLN002.png")
    assert "JSRT films are square" in read_error(converted, "JPCLN002").what
    write_gif(converted / "masks/heart/JPCNN093.gif", np.zeros((1024, 1024), np.uint8))
    error = read_error(converted, "JPCNN093")
    assert "JPCNN093.gif: the mask is empty" in error.what
    assert "allow_empty" not in error.remedy
    write_gif(converted / "masks/heart/JPCNN093.gif", mask_of("heart")[:900])
    assert "1024 × 900" in read_error(converted, "JPCNN093").what
    with pytest.raises(DataError, match="no film 'JPCLN154'"):
        JsrtDataset(converted).read(Entry("JPCLN154", "JPCLN154"))


def test_grey_converted_masks_need_a_threshold(converted: Path) -> None:
    soft = np.zeros((256, 256), np.uint8)
    soft[100:200, 90:150], soft[100:200, 150:160] = 255, 100
    (converted / "masks/heart/JPCLN002.gif").unlink()
    Image.fromarray(soft).save(converted / "masks/heart/JPCLN002.png")
    assert "data.mask_threshold=127" in read_error(converted, "JPCLN002").remedy
    dataset = JsrtDataset(converted, mask_threshold=127)
    np.testing.assert_array_equal(dataset.read(dataset.entries()[0]).masks["heart"], soft > 127)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 40), st.integers(1, 4), st.integers(0, 2**31 - 1))
def test_nearest_repeats_and_comes_back(side: int, factor: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random((side, side)) < 0.5
    large = to_side(mask, side * factor)
    np.testing.assert_array_equal(large, np.repeat(np.repeat(mask, factor, 0), factor, 1))
    np.testing.assert_array_equal(to_side(large, side), mask)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["JPCLN001.IMG"], True),
        (["films/nodule/JPCNN093.img"], True),
        (["scr/fold1/masks/heart/JPCLN001.gif"], True),
        (["converted/JPCLN001.png"], True),
        (["images/JPCLN001.IMG", "scr/fold2/masks/heart/JPCLN001.gif"], True),
        (["images/JPCLN001.png", "masks/heart/JPCLN001.png"], False),
        (["JPCLN001.png", "manifest.csv"], False),
        (["images/a.png"], False),
        ([], False),
    ],
)
def test_its_folders_are_recognised_and_no_other_datasets(tmp_path: Path, files: list[str], expected: bool) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert JsrtDataset.recognises(tmp_path) is expected
    assert not (expected and FolderDataset.recognises(tmp_path))
    if files:
        assert not JsrtDataset.recognises(tmp_path / files[0])
