"""Folders of masks in the ways in which tools leave them."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from cxrkit.data.mask_files import MaskFolder
from cxrkit.errors import ConfigError, DataError


def write(path: Path, *, rows: slice = slice(2, 6), shape: tuple[int, int] = (10, 8), value: int = 255) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    mask[rows, 1:5] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), mask)
    return mask > 0


@pytest.mark.parametrize("place", ["{film}/{structure}.png", "{structure}/{film}.png", "masks/{structure}/{film}.png"])
@pytest.mark.parametrize("films", [("a",), ("a", "b", "heart 2", "c.3")], ids=["one", "several"])
def test_both_layouts_and_datasets_are_read(tmp_path: Path, place: str, films: tuple[str, ...]) -> None:
    wanted = {}
    for number, film in enumerate(films):
        for offset, structure in enumerate(("left_lung", "heart")):
            file = tmp_path / place.format(film=film, structure=structure)
            wanted[film, structure] = write(file, rows=slice(number, 5 + offset))
    (tmp_path / "images").mkdir()
    (tmp_path / "overlay.txt").write_text("not a picture")
    folder = MaskFolder(tmp_path)
    assert (folder.films, folder.structures) == (tuple(sorted(films)), ("left_lung", "heart"))
    for film in films:
        masks = folder.read(film)
        assert {name: mask.tolist() for name, mask in masks.items()} == {
            name: wanted[film, name].tolist() for name in ("left_lung", "heart")
        }


def test_what_predict_writes_is_read_with_its_spacing(tmp_path: Path) -> None:
    write(tmp_path / "study" / "scan" / "heart.png")
    write(tmp_path / "study" / "scan" / "heart-probability.png")
    write(tmp_path / "study" / "scan" / "overlay.png")
    listed = {"films": [{"name": "study/scan", "spacing": [0.2, 0.1]}]}
    (tmp_path / "predictions.json").write_text(json.dumps(listed))
    folder = MaskFolder(tmp_path)
    assert (folder.films, folder.structures) == (("study/scan",), ("heart",))
    assert folder.read("scan").keys() == {"heart"}, "the last part of its name will do"
    assert folder.spacing("scan") == (0.2, 0.1)


def test_unusual_structures_are_told_from_films_by_what_is_expected_or_by_their_number(tmp_path: Path) -> None:
    for film in ("a", "b", "c"):
        write(tmp_path / "few" / "tumour" / f"{film}.png")
        write(tmp_path / "same" / film / "tumour.png")
    assert MaskFolder(tmp_path / "few").films == ("a", "b", "c")
    assert MaskFolder(tmp_path / "same").structures == ("tumour",)
    write(tmp_path / "one" / "a" / "tumour.png")
    assert MaskFolder(tmp_path / "one", expected=["a"]).films == ("tumour",)
    assert MaskFolder(tmp_path / "one").films == ("a",)


def test_pictures_of_class_numbers(tmp_path: Path) -> None:
    numbers = write(tmp_path / "a.png", value=2).astype(int) * 2
    folder = MaskFolder(tmp_path, labels={"heart": 2, "left_lung": 1})
    assert folder.films == ("a",)
    masks = folder.read("a")
    assert np.array_equal(masks["heart"], numbers == 2)
    assert not masks["left_lung"].any(), "a tool may find nothing"
    cv2.imwrite(str(tmp_path / "empty.png"), np.zeros((4, 4), np.uint8))
    write(tmp_path / "b.png", value=255)
    folder = MaskFolder(tmp_path, labels={"heart": 2, "left_lung": 1})
    assert not folder.read("empty")["heart"].any()
    with pytest.raises(DataError, match=r"b\.png: has pixels of 255, and none of a number in --labels"):
        folder.read("b")


def test_a_fault_of_a_film_is_that_films(tmp_path: Path) -> None:
    for film in ("a", "b", "c", "d"):
        write(tmp_path / film / "heart.png")
        write(tmp_path / film / "left_lung.png")
    write(tmp_path / "b" / "heart.tif")
    write(tmp_path / "c" / "left_lung.png", shape=(4, 8))
    soft = np.arange(80, dtype=np.uint8).reshape(10, 8)
    cv2.imwrite(str(tmp_path / "d" / "heart.png"), soft)
    folder = MaskFolder(tmp_path)
    assert folder.read("a").keys() == {"heart", "left_lung"}
    for film, fault in (
        ("b", "two masks of one structure"),
        ("c", "'c' differ in size: heart 8 × 10, left_lung 8 × 4"),
        ("d", "a mask holds 0 and one other value"),
        ("e", "no masks of the film 'e'"),
    ):
        with pytest.raises(DataError, match=fault):
            folder.read(film)
    with pytest.raises(DataError, match="no mask of 'right_lung'"):
        folder.read("a", ["right_lung"])
    with pytest.raises(DataError) as raised:
        folder.read("d")
    assert "--mask-threshold" in raised.value.remedy
    assert np.array_equal(MaskFolder(tmp_path, threshold=40).read("d")["heart"], soft > 40)


def test_films_of_one_name_must_be_told_apart(tmp_path: Path) -> None:
    write(tmp_path / "one" / "scan" / "heart.png")
    write(tmp_path / "two" / "scan" / "heart.png")
    with pytest.raises(DataError, match="several films are called 'scan': one/scan, two/scan"):
        MaskFolder(tmp_path).read("scan")


def test_folders_without_masks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        MaskFolder(tmp_path / "nowhere")
    write(tmp_path / "a.png")
    with pytest.raises(DataError, match="no masks in this folder") as raised:
        MaskFolder(tmp_path)
    assert "--labels" in raised.value.remedy
    with pytest.raises(ConfigError, match="two structures have one number"):
        MaskFolder(tmp_path, labels={"heart": 1, "left_lung": 1})
