"""COCO, LabelMe and CheXmask: masks from text files, and what is said about those that can't be used."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxrkit import Dataset
from cxrkit.data.samples import list_entries
from cxrkit.errors import ConfigError, CxrkitError, DataError
from cxrkit.testing.conformance import check_dataset
from cxrkit_plugins.datasets.chexmask import CheXmaskDataset
from cxrkit_plugins.datasets.coco import CocoDataset
from cxrkit_plugins.datasets.labelme import LabelMeDataset

Write = Callable[..., Path]
HEIGHT, WIDTH = 24, 20
BOX = np.zeros((HEIGHT, WIDTH), bool)
BOX[4:12, 3:9] = True
CORNERS = [[3.0, 4.0], [9.0, 4.0], [9.0, 12.0], [3.0, 12.0]]
FLAT = [value for point in CORNERS for value in point]


def error_of(build: Callable[[], Dataset], *, read: bool = False) -> CxrkitError:
    """The error of building a dataset and listing its films, or with `read` of reading the first; it has a remedy."""

    def use() -> None:
        dataset = build()
        entries = list_entries(dataset)
        if read:
            dataset.read(entries[0])

    with pytest.raises((DataError, ConfigError)) as caught:
        use()
    assert caught.value.remedy
    return caught.value


# --- COCO -------------------------------------------------------------------------------------------------


def column_runs(mask: np.ndarray) -> list[int]:
    flat = np.concatenate([[False], mask.T.ravel(), [False]])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff(np.concatenate([[0], edges, [mask.size]])).tolist()


def coco_content() -> dict[str, Any]:
    mask = pytest.importorskip("pycocotools.mask")
    packed = mask.encode(np.asfortranarray(BOX.astype(np.uint8)))
    return {
        "images": [
            {"id": number, "file_name": f"{name}.png", "height": 24, "width": 20} for number, name in enumerate("ab")
        ],
        "categories": [{"id": 5, "name": "Heart"}, {"id": 6, "name": "left lung"}],
        "annotations": [
            {"id": 1, "image_id": 0, "category_id": 5, "segmentation": [FLAT]},
            {"id": 2, "image_id": 0, "category_id": 6, "segmentation": {"size": [24, 20], "counts": column_runs(BOX)}},
            {
                "id": 3,
                "image_id": 1,
                "category_id": 5,
                "segmentation": {"size": [24, 20], "counts": packed["counts"].decode()},
            },
        ],
    }


@pytest.fixture
def coco(tmp_path: Path, write_film: Write) -> Path:
    for name in "ab":
        write_film(tmp_path / f"images/{name}.png")
    (tmp_path / "annotations.json").write_text(json.dumps(coco_content()))
    return tmp_path


def change(root: Path, edit: Callable[[dict[str, Any]], object], name: str = "annotations.json") -> Path:
    content = json.loads((root / name).read_text())
    edit(content)
    (root / name).write_text(json.dumps(content))
    return root


def test_coco_polygons_and_run_lengths(coco: Path) -> None:
    check_dataset("coco", root=coco)
    dataset = CocoDataset(coco)
    assert dataset.structures == ("left_lung", "heart")
    first, second = dataset.entries()
    assert (first.known(dataset.structures), second.known(dataset.structures)) == (("left_lung", "heart"), ("heart",))
    for name in ("left_lung", "heart"):
        np.testing.assert_array_equal(dataset.read(first).masks[name], BOX)
    np.testing.assert_array_equal(dataset.read(second).masks["heart"], BOX)
    assert CocoDataset.recognises(coco)
    assert not CocoDataset.recognises(coco / "images")


def test_several_annotations_of_a_category_are_one_mask(coco: Path) -> None:
    other = {"id": 4, "image_id": 1, "category_id": 5, "segmentation": [[12, 0, 16, 0, 16, 3, 12, 3]]}
    change(coco, lambda content: content["annotations"].append(other))
    mask = CocoDataset(coco).read(CocoDataset(coco).entries()[1]).masks["heart"]
    assert int(mask.sum()) == BOX.sum() + 12


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lambda c: c["annotations"][0].update(category_id=9), "annotation 1: its category 9 isn't in the file"),
        (lambda c: c["annotations"][0].update(image_id=9), "annotation 1: its image 9 isn't in the file"),
        (lambda c: c["annotations"][0].update(image_id=[1]), "its image [1]"),
        (lambda c: c["images"][0].update(file_name="../x.png"), "leads out of"),
        (lambda c: c["images"][0].update(height="tall"), "height and width are 'tall'"),
        (lambda c: c["images"][0].update(height=90_000), "image 0"),
        (lambda c: c["images"][1].update(id=0), "occurs twice"),
        (lambda c: c.pop("categories"), "isn't a COCO file"),
        (lambda c: c["images"].clear(), "its image 0 isn't in the file"),
        (lambda c: c["annotations"].clear(), "annotations are of no film"),
    ],
)
def test_coco_files_that_contradict_themselves(coco: Path, edit: Callable[[Any], object], told: str) -> None:
    error = error_of(lambda: CocoDataset(change(coco, edit)))
    assert "annotations.json" in error.what or str(coco) in error.what
    assert told in error.what or "sides of" in error.what


@pytest.mark.parametrize(
    ("segmentation", "told"),
    [
        ([[1, 2, 3, 4]], "neither polygons"),
        ([[1, 2, 3, 4, 5, "x"]], "neither polygons"),
        ([[1, 2, 3, 4, 5, 1e300]], "neither polygons"),
        ([], "neither polygons"),
        (None, "neither polygons"),
        ({"size": [24, 21], "counts": [504]}, "neither polygons"),
        ({"size": [24, 20], "counts": [10, 20]}, "neither polygons"),
        ({"size": [24, 20], "counts": [-10, 490]}, "neither polygons"),
        ({"size": [24, 20], "counts": "not runs, and long"}, "neither polygons"),
        ([[30, 30, 40, 30, 40, 40]], "covers no pixel"),
        ({"size": [24, 20], "counts": [480]}, "covers no pixel"),
    ],
)
def test_coco_annotations_that_draw_nothing(coco: Path, segmentation: Any, told: str) -> None:
    change(coco, lambda content: content["annotations"][0].update(segmentation=segmentation))
    error = error_of(lambda: CocoDataset(coco), read=True)
    assert told in error.what
    assert "'Heart'" in error.what or "'heart'" in error.what


def test_coco_films_that_are_missing_or_of_another_size(coco: Path, write_film: Write) -> None:
    assert "Did you mean 'heart'" in error_of(lambda: CocoDataset(coco, structures=["haert"])).remedy
    write_film(coco / "images/a.png", shape=(24, 22))
    error = error_of(lambda: CocoDataset(coco), read=True)
    assert "22 × 24" in error.what
    assert "20 × 24" in error.what
    (coco / "images/a.png").unlink()
    with pytest.warns(UserWarning, match="1 of its films aren't there and are not used: a"):
        assert [entry.id for entry in CocoDataset(coco).entries()] == ["b"]
    (coco / "images/b.png").unlink()
    assert "none of its 2 films" in error_of(lambda: CocoDataset(coco)).what
    for text in ("", "{", "[" * 100_000, "[]", "3"):
        (coco / "annotations.json").write_text(text)
        assert "annotations.json" in error_of(lambda: CocoDataset(coco)).what


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=60))
def test_compressed_run_lengths_are_cocos(lengths: list[int]) -> None:
    mask = pytest.importorskip("pycocotools.mask")
    from cxrkit_plugins.datasets.coco import _uncompressed

    packed = mask.frPyObjects({"size": [1, sum(lengths)], "counts": lengths}, 1, sum(lengths))
    assert _uncompressed(packed["counts"].decode()) == lengths


# --- LabelMe ----------------------------------------------------------------------------------------------


@pytest.fixture
def labelme(tmp_path: Path, write_film: Write) -> Path:
    for name in "ab":
        write_film(tmp_path / f"{name}.png")
        shapes = [{"label": "Heart", "points": CORNERS, "shape_type": "polygon"}]
        if name == "a":
            shapes.append({"label": "left_lung", "points": [[12, 3], [15, 8]], "shape_type": "rectangle"})
        content = {"imagePath": f"{name}.png", "imageHeight": 24, "imageWidth": 20, "shapes": shapes, "imageData": None}
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    return tmp_path


def test_labelme_polygons_and_rectangles(labelme: Path) -> None:
    check_dataset("labelme", root=labelme)
    dataset = LabelMeDataset(labelme)
    first, second = dataset.entries()
    assert second.known(dataset.structures) == ("heart",)
    masks = dataset.read(first).masks
    assert masks["heart"][4:13, 3:10].all()  # with its outline, as LabelMe draws it
    assert masks["heart"].sum() == 9 * 7
    assert masks["left_lung"].sum() == 4 * 6
    assert LabelMeDataset.recognises(labelme)


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lambda c: c.pop("shapes"), "isn't a LabelMe file"),
        (lambda c: c.update(imagePath="../../etc/passwd"), "leads out of"),
        (lambda c: c.update(imagePath="b.png"), "is also described by"),
        (lambda c: c.update(imageHeight=None), "height and width are None"),
        (lambda c: c["shapes"][0].update(shape_type="circle"), "the kind 'circle'"),
        (lambda c: c["shapes"][0].update(shape_type=[]), "the kind '[]'"),
        (lambda c: c["shapes"][0].update(points=[[1, 2], [3, 4]]), "isn't a polygon of 3 or more points"),
        (lambda c: c["shapes"][0].update(points=[[1, 2], [3, 4], [5, float("inf")]]), "isn't a polygon"),
        (lambda c: c["shapes"][0].update(points="round"), "isn't a polygon"),
        (lambda c: c["shapes"][0].pop("label"), "has no label"),
        (lambda c: c["shapes"][0].update(points=[[50, 50], [60, 50], [60, 60]]), "covers no pixel"),
        (lambda c: c.update(imageWidth=21), "20 × 24"),
    ],
)
def test_labelme_files_that_cant_be_used(labelme: Path, edit: Callable[[Any], object], told: str) -> None:
    error = error_of(lambda: LabelMeDataset(change(labelme, edit, "a.json")), read=True)
    assert told in error.what
    assert "a.json" in error.what


def test_labelme_names_and_missing_films(labelme: Path) -> None:
    assert "Did you mean 'heart'" in error_of(lambda: LabelMeDataset(labelme, structures=["hart"])).remedy
    (labelme / "a.png").unlink()
    with pytest.warns(UserWarning, match="1 of its films aren't there"):
        assert [entry.id for entry in LabelMeDataset(labelme).entries()] == ["b"]


# --- CheXmask ---------------------------------------------------------------------------------------------


def row_runs(mask: np.ndarray) -> str:
    flat = np.concatenate([[False], mask.ravel(), [False]])
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    edges[1::2] -= edges[::2]
    return " ".join(map(str, edges))


HEADER = [
    "Image Index",
    "Dice RCA (Max)",
    "Dice RCA (Mean)",
    "Landmarks",
    "Left Lung",
    "Right Lung",
    "Heart",
    "Height",
    "Width",
]


def row(name: str, **cells: object) -> dict[str, object]:
    full = {"Image Index": name, "Dice RCA (Mean)": 0.9, "Height": 24, "Width": 20, "Heart": row_runs(BOX)}
    return full | {"Left Lung": row_runs(BOX.T.reshape(24, 20)), "Right Lung": row_runs(~BOX)} | cells


def write_table(root: Path, *rows: dict[str, object], header: list[str] = HEADER) -> Path:
    with (root / "ChestX-Ray8.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, header, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return root


@pytest.fixture
def chexmask(tmp_path: Path, write_film: Write) -> Path:
    for name in ("00001_000", "00001_001", "00002_000"):
        write_film(tmp_path / f"images/{name}.png")
    names = ("00001_000.png", "00001_001.png", "00002_000.png")
    return write_table(tmp_path, *map(row, names))


def test_chexmask(chexmask: Path) -> None:
    check_dataset("chexmask", root=chexmask)
    dataset = CheXmaskDataset(chexmask)
    assert dataset.structures == ("left_lung", "right_lung", "heart")
    assert [(entry.id, entry.group) for entry in dataset.entries()][1:] == [
        ("00001_001", "00001"),
        ("00002_000", "00002"),
    ]
    masks = dataset.read(dataset.entries()[0]).masks
    np.testing.assert_array_equal(masks["heart"], BOX)
    np.testing.assert_array_equal(masks["right_lung"], ~BOX)
    table = chexmask / "ChestX-Ray8.csv"
    (chexmask / "ChestX-Ray8.csv.gz").write_bytes(gzip.compress(table.read_bytes()))
    table.unlink()
    assert len(CheXmaskDataset(chexmask).entries()) == 3


def test_poor_masks_and_films_that_are_not_there_are_left_out(chexmask: Path) -> None:
    rows = [row("00001_000.png"), row("00001_001.png", **{"Dice RCA (Mean)": 0.5}), row("00009_000.png")]
    write_table(chexmask, *rows, row("00002_000.png", Heart=""))
    with pytest.warns(UserWarning, match=r"1 of its films aren't there and are not used: 00009_000.png"):
        dataset = CheXmaskDataset(chexmask)
    assert [entry.id for entry in dataset.entries()] == ["00001_000", "00002_000"]
    assert dataset.entries()[1].known(dataset.structures) == ("left_lung", "right_lung")


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        ({"Heart": "1 2 3"}, "'Heart' isn't made of run lengths"),
        ({"Heart": "0 5"}, "'Heart' isn't made of run lengths"),
        ({"Heart": "470 20"}, "within 20 × 24 pixels"),
        ({"Heart": "1 999999999999999999999999"}, "run lengths"),
        ({"Heart": "9223372036854775807 5"}, "run lengths"),
        ({"Heart": "one two"}, "run lengths"),
        ({"Height": "x"}, "line 2: its height and width are 'x'"),
        ({"Height": "48"}, "the film is 20 × 24 pixels"),
        ({"Dice RCA (Mean)": "good"}, "not a number"),
        ({"Image Index": "../x.png"}, "leads out of"),
        ({"Image Index": "00002_000.png"}, "occurs twice"),
    ],
)
def test_chexmask_lines_that_cant_be_used(chexmask: Path, cells: dict[str, object], told: str) -> None:
    write_table(chexmask, row("00001_000.png", **cells), row("00002_000.png"))
    assert told in error_of(lambda: CheXmaskDataset(chexmask), read=True).what


def test_chexmask_tables_that_cant_be_used(chexmask: Path) -> None:
    write_table(chexmask, row("x.png"), header=["Image Index", "Heart", "Height", "Width"])
    assert "no column 'Left Lung', 'Right Lung'" in error_of(lambda: CheXmaskDataset(chexmask)).what
    write_table(chexmask, row("nowhere.png"))
    with pytest.warns(UserWarning, match="aren't there"):
        assert "none of its films" in error_of(lambda: CheXmaskDataset(chexmask)).what
    assert "no column film" in error_of(lambda: CheXmaskDataset(chexmask, column="film")).what
    (chexmask / "other.csv").touch()
    assert "2 CSV files" in error_of(lambda: CheXmaskDataset(chexmask)).what
    (chexmask / "ChestX-Ray8.csv").write_bytes(b"\xff\xfe\x00")
    assert "UTF-8" in error_of(lambda: CheXmaskDataset(chexmask, table="ChestX-Ray8.csv")).what


@pytest.mark.filterwarnings("ignore")
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    place=st.integers(0, 10**6), text=st.sampled_from(["", "9", "-", "null", '"', ",", "[", "}", "é", "\0", "1e999"])
)
def test_changed_text_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, write_film: Write, place: int, text: str
) -> None:
    root = tmp_path_factory.mktemp("text")
    for name in "ab":
        write_film(root / f"images/{name}.png")
    table = write_table(root, row("a.png"), row("b.png")) / "ChestX-Ray8.csv"
    for file, content, build in (
        (root / "annotations.json", json.dumps(coco_content()), CocoDataset),
        (table, table.read_text(), CheXmaskDataset),
    ):
        at = place % len(content)
        file.write_text(content[:at] + text + content[at + 1 :])
        try:
            dataset = build(root)
            for entry in list_entries(dataset):
                dataset.read(entry)
        except CxrkitError:
            pass
