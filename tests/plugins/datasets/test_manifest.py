"""CSV manifests: what they may say, and what is told about those that can't be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxrkit.data.samples import list_entries
from cxrkit.errors import DataError
from cxrkit.testing.conformance import check_dataset
from cxrkit_plugins.datasets.folder import FolderDataset

PLAIN = "image,heart\nimages/a.png,masks/heart/a.png\nimages/b.png,masks/heart/b.png\n"


def write(folder: Path, text: str, name: str = "manifest.csv", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_text(text, encoding=encoding)
    return path


def error_of(folder: Path, text: str, **parameters: object) -> DataError:
    write(folder, text)
    with pytest.raises(DataError) as caught:
        list_entries(FolderDataset(folder, **parameters))  # type: ignore[arg-type]
    return caught.value


def test_fulfils_the_contract(folder: Path) -> None:
    check_dataset("folder", root=write(folder, PLAIN))


def test_everything_that_it_can_say(folder: Path) -> None:
    write(
        folder,
        "id,image,patient,fold,row_spacing,col_spacing,Heart,left lung\n"
        "second,images/b.png,p1,fold1,0.2,0.3,masks/heart/b.png,masks/left lung/b.gif\n"
        "first,images/a.png,p1,,,,masks/heart/a.png,masks\\left lung\\a.gif\n",
    )
    dataset = FolderDataset(folder)
    entries = dataset.entries()

    assert dataset.structures == ("left_lung", "heart")
    assert [(entry.id, entry.group, entry.fold) for entry in entries] == [
        ("second", "p1", "fold1"),
        ("first", "p1", None),
    ]
    assert entries[0].files == (
        folder / "images/b.png",
        folder / "masks/left lung/b.gif",
        folder / "masks/heart/b.png",
        folder / "manifest.csv",
    )
    samples = [dataset.read(entry) for entry in entries]
    assert [sample.spacing for sample in samples] == [(0.2, 0.3), None]
    assert all(sample.masks["left_lung"].any() for sample in samples)


def test_spacing_of_the_user_wins(folder: Path) -> None:
    write(folder, "image,spacing,heart\nimages/a.png,0.2,masks/heart/a.png\n")
    for spacing, expected in ((None, (0.2, 0.2)), (0.7, (0.7, 0.7))):
        dataset = FolderDataset(folder, spacing=spacing)
        assert dataset.read(dataset.entries()[0]).spacing == expected


def test_ids_and_patients_come_from_names_by_default(folder: Path) -> None:
    write(folder, PLAIN)
    assert [(entry.id, entry.group) for entry in FolderDataset(folder).entries()] == [("a", "a"), ("b", "b")]


def test_the_csv_itself_or_its_name_can_be_given(folder: Path) -> None:
    path = write(folder, PLAIN, "test set.csv")
    assert len(FolderDataset(path).entries()) == 2
    assert len(FolderDataset(folder, manifest="test set.csv").entries()) == 2
    assert len(FolderDataset(folder).entries()) == 3
    with pytest.raises(DataError, match=r"none\.csv"):
        FolderDataset(folder, manifest="none.csv")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_dialects(folder: Path, delimiter: str, encoding: str, newline: str) -> None:
    text = PLAIN.replace(",", delimiter) + "\n  \n"
    (folder / "manifest.csv").write_bytes(text.replace("\n", newline).encode(encoding))
    assert [entry.id for entry in FolderDataset(folder).entries()] == ["a", "b"]


def test_quoted_paths_may_hold_commas(folder: Path) -> None:
    (folder / "images/a.png").rename(folder / "images/a,1.png")
    write(folder, 'image,heart\n"images/a,1.png", masks/heart/a.png \n')
    assert FolderDataset(folder).entries()[0].id == "a,1"


def test_other_columns_can_be_left_out(folder: Path) -> None:
    text = "image,age,heart\nimages/a.png,61,masks/heart/a.png\n"
    error = error_of(folder, text)
    assert str(folder / "61") in error.what
    assert "data.structures" in error.remedy
    assert len(FolderDataset(folder, structures=["heart"]).entries()) == 1


def test_missing_files_are_listed(folder: Path) -> None:
    rows = "".join(f"images/new{number}.png,masks/heart/a.png\n" for number in range(6))
    error = error_of(folder, "image,heart\n" + rows + f"images/a.png,masks/{'b' * 300}.png\n")
    assert "7 of 7 films can't be used" in error.what
    assert f"line 2: there is no file {folder / 'images/new0.png'}" in error.what


@pytest.mark.parametrize("path", ["../secret.png", "/etc/passwd", "images/../../x.png", "C:\\x.png"])
def test_paths_that_lead_out_are_refused(folder: Path, path: str) -> None:
    error = error_of(folder, f"image,heart\nimages/a.png,masks/heart/a.png\n{path},masks/heart/b.png\n")
    assert "line 3" in error.what
    assert "leads out of" in error.what
    error = error_of(folder, f"image,heart\nimages/a.png,{path}\n")
    assert "line 2" in error.what


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "is empty"),
        ("image,heart\n", "lists no films"),
        ("film,heart\nx,y\n", "no column 'image'"),
        ("image,patient\nimages/a.png,p\n", "no column of masks"),
        ("image,heart,heart\na,b,c\n", "several columns are called 'heart'"),
        ("image,heart,\na,b,c\n", "has no name"),
        ("image,heart,Background\na,b,c\n", "'background' can't name a structure"),
        ("image,heart,fold,split\na,b,c,d\n", "both a column 'fold' and a column 'split'"),
        ("image,heart,row_spacing\na,b,1\n", "row_spacing"),
        ("image,heart\nimages/a.png\n", "line 2: has 1 cells, but the first line names 2"),
        ("image,heart\nimages/a.png,x,y\n", "line 2: has 3 cells"),
        ("image,heart\n,masks/heart/a.png\n", "line 2: the cell 'image' is empty"),
        ("image,heart\nimages/a.png,\n", "line 2: the cell 'heart' is empty"),
        ("id,image,heart\n,images/a.png,masks/heart/a.png\n", "the cell 'id' is empty"),
        ("patient,image,heart\n,images/a.png,masks/heart/a.png\n", "the cell 'patient' is empty"),
        ("id,image,heart\na/b,images/a.png,masks/heart/a.png\n", "the id 'a/b' can't be a file name"),
        ("id,image,heart\n..,images/a.png,masks/heart/a.png\n", "the id '..' can't be a file name"),
        (PLAIN + "images/a.png,masks/heart/a.png\n", "lines 2 and 4: the id 'a' occurs twice"),
        (
            "id,image,heart\n1,images/a.png,masks/heart/a.png\n2,images/a.png,masks/heart/a.png\n",
            "lines 2 and 3: the film",
        ),
        ("image,spacing,heart\nimages/a.png,0,masks/heart/a.png\n", "line 2: the spacing 0"),
        ("image,spacing,heart\nimages/a.png,wide,masks/heart/a.png\n", "the spacing wide"),
        ("image,spacing,heart\nimages/a.png,inf,masks/heart/a.png\n", "the spacing inf"),
        (
            "image,row_spacing,col_spacing,heart\nimages/a.png,0.1,,masks/heart/a.png\n",
            "the spacing 0.1 × ",
        ),
        ('image,heart\n"images/a.png,masks/heart/a.png\n', "not readable as CSV"),
    ],
)
def test_faults_are_reported(folder: Path, text: str, fault: str) -> None:
    error = error_of(folder, text)
    assert str(folder / "manifest.csv") in error.what
    assert fault in error.what
    assert error.remedy


def test_another_encoding_is_reported(folder: Path) -> None:
    (folder / "manifest.csv").write_bytes("image,heart\nimages/\xe4.png,x\n".encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8") as caught:
        FolderDataset(folder)
    assert "CSV UTF-8" in caught.value.remedy
