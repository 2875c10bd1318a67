"""Which files in a folder are films."""

from __future__ import annotations

from pathlib import Path

from cxrkit.data.film_files import films_below

DICOM = b"\0" * 128 + b"DICM"


def test_dicom_files_are_films_whatever_their_suffix(tmp_path: Path) -> None:
    for name in ("IM0001", "1.2.840.10008.5", "DICOMDIR", ".hidden", "a.IMA", "b.xyz", "sub/IM2"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(DICOM)
    (tmp_path / "README").write_text("no film")
    (tmp_path / "film.PNG").touch()
    found = [path.relative_to(tmp_path).as_posix() for path in films_below(tmp_path)]
    assert found == ["1.2.840.10008.5", "IM0001", "a.IMA", "b.xyz", "film.PNG", "sub/IM2"]


def test_masks_and_results_are_no_films(tmp_path: Path) -> None:
    files = ["images/a.png", "masks/heart/a.png", "other/masks/b.png", "out/predictions.json", "out/a/overlay.png"]
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in films_below(tmp_path)]
    assert found == ["images/a.png", "other/masks/b.png"], "a folder called masks without images beside it is any other"
    assert films_below(tmp_path / "out" / "a") == [tmp_path / "out" / "a" / "overlay.png"], "asked for by name"
    assert films_below(tmp_path / "masks") == []
