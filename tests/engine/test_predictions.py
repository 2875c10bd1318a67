"""What `predict` writes, by a predictor that marks what is bright."""

from __future__ import annotations

import csv
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from cxrkit import DataError, Segmentation, Segmenter, Writer
from cxrkit.config import PreprocessConfig
from cxrkit.engine import writing
from cxrkit.engine.observer import Silent
from cxrkit.engine.predictions import Predictions, find_films, predict_films
from cxrkit.engine.writing import build_writers
from cxrkit.errors import ConfigError, PluginError, StorageError
from cxrkit.plugins import registry
from cxrkit.segmentation import WeightsSource

STRUCTURES = ("left_lung", "right_lung", "heart")
SOURCE = WeightsSource("stub", "tests 0", "stub.safetensors", hashlib.sha256(b"").hexdigest(), 7, "0.1")


class Bright:
    """Finds each structure where the film is bright: to the right, to the left, and in the middle."""

    channels = STRUCTURES
    preprocess = PreprocessConfig(size=96, clahe=None)
    weights = SOURCE

    def __call__(self, images: np.ndarray) -> np.ndarray:
        found = np.full((len(images), 3, 96, 96), 1e-4, np.float32)
        for channel, place in enumerate((2, 0, 1)):
            third = slice(place * 32, (place + 1) * 32)
            found[:, channel, :, third] = 1 / (1 + np.exp(-20 * (images[:, 0, :, third] - 0.5)))
        return found


def film(path: Path) -> Path:
    pixels = np.tile(np.linspace(0, 60, 192).astype(np.uint8), (192, 1))
    pixels[40:150, 20:60], pixels[100:150, 70:120], pixels[40:150, 130:170] = 250, 250, 250
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels)
    return path


def predict(
    paths: list[Path], out: Path, *writers: str | Mapping[str, Any] | Writer, chosen: tuple[str, ...] = ("masks",)
) -> Predictions:
    found, missing = find_films(paths, out)
    built = build_writers([*chosen, *writers], registry())
    return predict_films(found, Segmenter(Bright()), built, out, missing=missing, observer=Silent())


def listed(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / "predictions.json").read_text())
    return content


def files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def table(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((out / "predictions.csv").open()))


def test_warnings_stand_in_every_result(tmp_path: Path) -> None:
    pixels = np.tile(np.arange(192, dtype=np.uint8) // 4, (192, 1))
    pixels[86:106, 86:106] = 255
    cv2.imwrite(str(tmp_path / "dark.png"), pixels)
    found = predict([tmp_path / "dark.png"], tmp_path / "out")
    [row] = found.rows
    assert "right lung: not found" in row.warnings
    assert table(tmp_path / "out")[0]["warnings"] == "; ".join(row.warnings)
    assert json.loads((tmp_path / "out/predictions.json").read_text())["films"][0]["warnings"] == list(row.warnings)


def test_results_tell_the_weights_and_the_extents(tmp_path: Path) -> None:
    found = predict([film(tmp_path / "a.png")], tmp_path / "out")
    content = listed(tmp_path / "out")
    assert content == json.loads(json.dumps(found.as_json()))
    assert content["weights"] == {
        "name": "stub",
        "package": "tests 0",
        "file": "stub.safetensors",
        "sha256": SOURCE.sha256,
        "step": 7,
        "cxrkit": "0.1",
    }
    extents = content["films"][0]["extents"]
    assert extents["heart"]["left"] == pytest.approx(70, abs=2)
    assert extents["thorax"]["right"] == pytest.approx(169, abs=2)
    assert table(tmp_path / "out")[0]["weights"] == "stub"


def test_failed_films_stand_in_the_table_in_their_place(tmp_path: Path) -> None:
    (tmp_path / "b.png").write_bytes(b"no picture")
    paths = [film(tmp_path / "a.png"), tmp_path / "b.png", film(tmp_path / "c.png")]
    found = predict(paths, tmp_path / "out")
    rows = table(tmp_path / "out")
    assert [row["film"] for row in rows] == [str(path) for path in paths]
    assert [bool(row["error"]) for row in rows] == [False, True, False]
    content = listed(tmp_path / "out")
    assert (
        [row["film"] for row in content["failures"]] == [failure.film for failure in found.failures] == [str(paths[1])]
    )


class Note(Writer):
    """A text beside the masks; fails where the film's file is called so."""

    def files(self, result: Segmentation) -> Iterator[tuple[str, bytes]]:
        assert result.film.source is not None
        name = result.film.source.path.stem
        if name == "refused":
            raise DataError("No note of this film.", "Call it otherwise.")
        yield "note.txt", f"{name}: {sorted(result.masks)[1 // (name != 'defect')]}".encode()


@pytest.mark.parametrize("name", ["refused", "defect"])
def test_a_writer_that_fails_on_a_film_fails_that_film_alone(tmp_path: Path, name: str) -> None:
    films = [film(tmp_path / "a.png"), film(tmp_path / f"{name}.png"), film(tmp_path / "z.png")]
    found = predict(films, tmp_path / "out", Note())
    assert [row.film for row in found.rows] == [str(films[0]), str(films[2])]
    [failure] = found.failures
    assert failure.film == str(films[1])
    assert "No note" in failure.what or ("Note" in failure.what and "ZeroDivisionError" in failure.what)
    assert files_in(tmp_path / "out" / name) == set()
    assert (tmp_path / "out" / "a" / "note.txt").read_text() == "a: left_lung"


def test_what_is_written_is_listed_and_replaced(tmp_path: Path) -> None:
    out, masks = tmp_path / "out", {f"{name}.png" for name in STRUCTURES}
    films = [film(tmp_path / "a.png"), film(tmp_path / "b.png")]
    found = predict(films, out, "overlay", "probabilities", Note())
    assert files_in(out / "a") == set(found.rows[0].files) == set(listed(out)["films"][0]["files"])
    assert files_in(out / "a") > masks | {"overlay.png", "note.txt", "heart-probability.png"}
    (out / "a" / "mine.txt").write_text("the user's own")
    predict(films[:1], out)
    assert files_in(out / "a") == masks | {"mine.txt"}, "of earlier files those that the user made"
    predict(films[:1], out, chosen=())
    assert files_in(out / "a") == {"mine.txt"}
    films[1].write_bytes(b"no picture")
    assert "note.txt" in files_in(out / "b")
    predict(films[1:], out)
    assert not (out / "b").exists(), "a film that now fails leaves nothing of two calls ago"


def test_a_list_of_an_earlier_version_is_understood(tmp_path: Path) -> None:
    out, good = tmp_path / "out", film(tmp_path / "b.png")
    predict([film(tmp_path / "a.png"), good], out, "overlay", "probabilities")
    content = listed(out)
    for row in content["films"]:
        del row["files"]
    (out / "predictions.json").write_text(json.dumps(content))
    predict([good], out)
    assert files_in(out / "b") == {f"{name}.png" for name in STRUCTURES}
    (tmp_path / "a.png").write_bytes(b"no picture")
    predict([tmp_path / "a.png"], out)
    assert not (out / "a").exists()


def test_writers_are_chosen_by_name_and_take_parameters(tmp_path: Path) -> None:
    path = film(tmp_path / "a.png")
    predict([path], tmp_path / "one", {"name": "overlay", "legend": False})
    assert not predict([path], tmp_path / "two", "overlay", {"name": "overlay"}).failures, "named twice, written once"
    plain, named = (cv2.imread(str(tmp_path / out / "a" / "overlay.png")) for out in ("one", "two"))
    assert plain.shape == named.shape
    assert not np.array_equal(plain, named), "one has no legend"
    with pytest.raises(PluginError, match="no writer called 'mask'") as caught:
        predict([path], tmp_path / "out", "mask")
    assert "masks" in caught.value.remedy
    with pytest.raises(ConfigError, match="no parameter 'colour'"):
        predict([path], tmp_path / "out", {"name": "overlay", "colour": "red"})


class Outside(Writer):
    def files(self, result: Segmentation) -> Iterator[tuple[str, bytes]]:
        yield "../../victim.png", b"stolen"


def test_a_writer_cannot_write_elsewhere_or_over_another(tmp_path: Path) -> None:
    path = film(tmp_path / "a.png")
    for writers in ((Outside(),), (Note(), Note())):
        [failure] = predict([path], tmp_path / "out", *writers).failures
        assert "expected pairs of a plain file name that no other file has and bytes" in failure.what
    assert not (tmp_path / "victim.png").exists()


def test_names_lose_only_the_suffix_of_a_film(tmp_path: Path) -> None:
    for name in ("1.2.840.4", "1.2.840.5", "scan.PNG", "scan.tif"):
        (tmp_path / name).touch()
    chosen, _ = find_films([tmp_path / name for name in ("1.2.840.4", "1.2.840.5", "scan.PNG", "scan.tif")], tmp_path)
    assert [name for name, _ in chosen] == ["1.2.840.4", "1.2.840.5", "scan", "scan-2"]


def test_an_empty_folder_does_not_stop_the_others(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    good = film(tmp_path / "good.png")
    found = predict([tmp_path / "empty", tmp_path / "gone.png", good], tmp_path / "out")
    assert [row.film for row in found.rows] == [str(good)]
    assert [failure.film for failure in found.failures] == [str(tmp_path / "empty"), str(tmp_path / "gone.png")]
    assert len(table(tmp_path / "out")) == 3
    with pytest.raises(DataError, match="no such file"):
        find_films([tmp_path / "gone.png"], tmp_path / "out")


def test_nothing_outside_the_results_is_touched(tmp_path: Path) -> None:
    out, own = tmp_path / "out", tmp_path / "victim.png"
    own.write_bytes(b"mine")
    dots = film(tmp_path / "films" / "...png")
    films = [film(tmp_path / "films" / "a.png"), dots]
    predict(films, out)
    rows = listed(out)
    assert [Path(row["folder"]).name for row in rows["films"]] == ["a", "film"]
    assert sorted(item.name for item in tmp_path.iterdir()) == ["films", "out", "victim.png"]
    for row in rows["films"]:
        row["areas"]["../../victim"] = 1
        row["files"] += ["../../victim.png", "/etc/passwd", ".."]
    rows["earlier"] = {"..": ["victim.png"], "../..": ["victim.png"]}
    (out / "predictions.json").write_text(json.dumps(rows))
    films[0].write_bytes(b"no film")
    predict(films, out)
    assert not (out / "a").exists(), "its old masks are gone"
    assert own.read_bytes() == b"mine"


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_link_to_another_folder_is_not_cleared(tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    path = film(tmp_path / "a.png")
    predict([path], out)
    (out / "a").rename(elsewhere)
    (out / "a").symlink_to(elsewhere)
    path.write_bytes(b"no film")
    predict([path], out)
    assert (elsewhere / "heart.png").is_file()


def test_ctrl_c_while_a_film_is_written_leaves_no_half_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    films = [film(tmp_path / "a.png"), film(tmp_path / "b.png")]
    write = writing.write_bytes

    def interrupted(path: Path, content: bytes) -> None:
        if path.parent.name == "b" and path.stem == "heart":
            raise KeyboardInterrupt
        write(path, content)

    monkeypatch.setattr(writing, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        predict(films, tmp_path / "out")
    assert [row["film"] for row in table(tmp_path / "out")] == [str(films[0])]
    assert not (tmp_path / "out" / "b").exists()


def test_what_a_killed_call_wrote_is_known_to_the_next(tmp_path: Path) -> None:
    paths = [film(tmp_path / "films" / f"{name}.png") for name in ("a", "b")]
    out = tmp_path / "films" / "found"
    found, _ = find_films(paths, out)
    killed = writing.ResultsFolder(out)
    for name, _ in found:
        killed.write(name, {"left_lung.png": b"old", "old.png": b"old"})
    (out / writing.UNFINISHED_LIST).open("a").write('["a", "cut')  # the last line, by the kill
    assert find_films([tmp_path / "films"], tmp_path / "elsewhere")[0] == found, "masks are no films"
    paths[1].write_bytes(b"no film")
    predict([*paths], out, chosen=("overlay",))
    assert sorted(path.name for path in (out / "a").iterdir()) == ["overlay.png"]
    assert not (out / "b").exists(), "old masks would pass for new ones"
    assert not (out / writing.UNFINISHED_LIST).exists()


def test_results_are_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="link to another place"):
        predict([film(tmp_path / "a.png")], tmp_path / "out")
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("made", [["a.txt"], {"a.txt": b"x"}, [(5, b"x")], [("a" * 300, b"x")], [("../a", b"x")]])
def test_files_that_are_none_fail_their_film_alone(tmp_path: Path, made: Any) -> None:
    class Odd(Writer):
        def files(self, result: Segmentation) -> Any:
            return made

    done = predict([film(tmp_path / "a.png")], tmp_path / "out", Odd())
    assert [failure.what.partition(" got ")[0] for failure in done.failures] == [
        f"{tmp_path / 'a.png'}: Odd: expected pairs of a plain file name that no other file has and bytes;"
    ]
