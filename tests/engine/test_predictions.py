"""What `predict` writes, by a predictor that marks what is bright."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import unicodedata
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from cxrkit import DataError, DeclinedError, Segmentation, Segmenter, Writer
from cxrkit.config import PreprocessConfig
from cxrkit.data.film_files import UNFINISHED_LIST
from cxrkit.engine import results_folder
from cxrkit.engine.observer import Observer, Silent
from cxrkit.engine.outcomes import Predictions
from cxrkit.engine.predictions import find_films, predict_films, side_by_side
from cxrkit.engine.writing import build_writers
from cxrkit.errors import ConfigError, PluginError
from cxrkit.files import locked
from cxrkit.plugins import registry
from cxrkit.segmentation import WeightsSource

STRUCTURES = ("left_lung", "right_lung", "heart")
SOURCE = WeightsSource("stub", "tests 0", "stub.safetensors", hashlib.sha256(b"").hexdigest(), 7, "0.1")


class Bright:
    """Needs no network; finds each structure where the film is bright: to the right, to the left, and in the middle."""

    channels = STRUCTURES
    preprocess = PreprocessConfig(size=96, clahe=None)
    weights = SOURCE
    device = torch.device("cpu")

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
    paths: list[Path],
    out: Path,
    *writers: str | Mapping[str, Any] | Writer,
    chosen: tuple[str, ...] = ("masks",),
    observer: Observer | None = None,
    **more: Any,
) -> Predictions:
    found, missing = find_films(paths, out)
    built = build_writers([*chosen, *writers], registry())
    return predict_films(found, Segmenter(Bright()), built, out, missing=missing, observer=observer or Silent(), **more)


class Saying(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def say(self, message: str) -> None:
        self.messages.append(message)


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
        "members": [],
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


class Declines(Writer):
    """Declines films whose file is called so."""

    def files(self, result: Segmentation) -> Iterator[tuple[str, bytes]]:
        assert result.film.source is not None
        if result.film.source.path.stem == "declined":
            raise DeclinedError("No text of this film.", "Call it otherwise.")
        yield "text.txt", b"text"


def test_a_writer_may_decline_a_film_which_keeps_its_other_results(tmp_path: Path) -> None:
    films, out = [film(tmp_path / "declined.png"), film(tmp_path / "b.png")], tmp_path / "out"
    found = predict(films, out, Declines())
    assert found.failures == ()
    assert [row.declined for row in found.rows] == [("No text of this film. Call it otherwise.",), ()]
    masks = {f"{name}.png" for name in STRUCTURES}
    assert (files_in(out / "declined"), files_in(out / "b")) == (masks, masks | {"text.txt"})
    assert [row["declined"] for row in table(out)] == ["No text of this film. Call it otherwise.", ""]
    assert listed(out)["films"][0]["declined"] == [*found.rows[0].declined]
    [alone] = predict(films[:1], out, Declines(), chosen=()).rows
    assert (alone.files, alone.areas) == ((), found.rows[0].areas)
    assert files_in(out / "declined") == set()


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


def names(paths: list[Path], out: Path) -> dict[str, str]:
    """Film to the folder of its results below `out`."""
    return {row.film: Path(row.folder).relative_to(out).as_posix() for row in predict(paths, out).rows}


def test_results_lie_as_the_films_do_whichever_others_there_are(tmp_path: Path) -> None:
    archive, out = tmp_path / "archive", tmp_path / "out"
    one, two = (film(archive / f"study{n}" / "IM0001.png") for n in (1, 2))
    assert names([archive], out) == {str(one): "study1/IM0001", str(two): "study2/IM0001"}
    assert names([two, one], tmp_path / "other") == names([archive], out)
    one.unlink()
    assert names([archive], tmp_path / "third") == {str(two): "study2/IM0001"}
    assert names([archive / "study2"], out) == {str(two): "study2/IM0001"}, "a film keeps its place"
    assert files_in(out / "study1" / "IM0001") == {f"{name}.png" for name in STRUCTURES}


def test_another_films_results_are_never_replaced(tmp_path: Path) -> None:
    out, said = tmp_path / "out", Saying()
    for study in ("a", "b"):
        path = film(tmp_path / study / "IM0001.png")
        predict([path], out, *[Note()] * (study == "a"), observer=said)
    first, second = sorted(path.parent.name for path in out.rglob("heart.png"))
    assert (first, second[:7]) == ("IM0001", "IM0001-")
    assert files_in(out / "IM0001") == {*(f"{name}.png" for name in STRUCTURES), "note.txt"}
    [message] = said.messages
    assert f"{tmp_path / 'b' / 'IM0001.png'} go to {second}, because IM0001 is taken" in message
    assert names([path], out) == {str(path): second}, "the same film again replaces its own"
    [earlier] = listed(out)["earlier"]
    assert (earlier["path"], earlier["areas"].keys()) == (str(tmp_path / "a" / "IM0001.png"), {*STRUCTURES})


@pytest.mark.parametrize(
    "twins", [("scan.PNG", "scan.tif"), ("A.png", "a.png"), ("\u00e4.png", "a\u0308.png"), ("x" * 250 + ".png",)]
)
def test_names_that_some_disks_take_for_one_get_two_folders(tmp_path: Path, twins: tuple[str, ...]) -> None:
    for name in twins:
        film(tmp_path / "films" / "a.png").rename(tmp_path / "films" / name)
    if len(list((tmp_path / "films").iterdir())) < len(twins):
        pytest.skip("this disk takes them for one")
    found = names([tmp_path / "films"], tmp_path / "out")
    assert len({unicodedata.normalize("NFC", name).casefold() for name in found.values()}) == len(twins)
    assert names([tmp_path / "films"], tmp_path / "out") == found


def test_a_film_called_like_a_list_gets_a_folder(tmp_path: Path) -> None:
    odd = [film(tmp_path / "films" / name) for name in ("predictions.csv.png", "predictions.json/a.png")]
    found = names([tmp_path / "films"], tmp_path / "out")
    assert sorted(found.values()) == ["predictions.csv-film", "predictions.json-film/a"]
    assert len(table(tmp_path / "out")) == len(odd)


def test_names_lose_only_the_suffix_of_a_film(tmp_path: Path) -> None:
    for name in ("1.2.840.4", "1.2.840.5", "scan.PNG"):
        (tmp_path / name).touch()
    chosen, _ = find_films([tmp_path / name for name in ("1.2.840.4", "1.2.840.5", "scan.PNG")], tmp_path)
    assert [name for name, _ in chosen] == ["1.2.840.4", "1.2.840.5", "scan"]


def test_files_that_no_list_knows_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out" / "a").mkdir(parents=True)
    (tmp_path / "out" / "a" / "heart.png").write_bytes(b"somebody's")
    predict([film(tmp_path / "a.png")], tmp_path / "out")
    assert (tmp_path / "out" / "a" / "heart.png").read_bytes() == b"somebody's"
    assert len(list((tmp_path / "out").glob("a-*/heart.png"))) == 1


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
    write = results_folder.write_bytes

    def interrupted(path: Path, content: bytes) -> None:
        if path.parent.name == "b" and path.stem == "heart":
            raise KeyboardInterrupt
        write(path, content)

    monkeypatch.setattr(results_folder, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        predict(films, tmp_path / "out")
    assert [row["film"] for row in table(tmp_path / "out")] == [str(films[0])]
    assert not (tmp_path / "out" / "b").exists()


KILLED = """
import os, signal, sys
from pathlib import Path
from cxrkit.engine import results_folder
from tests.engine.test_predictions import predict

write = results_folder.write_bytes

def killed(path, content):
    if path.parent.name == "c" and path.stem == "heart":
        with results_folder.atomic_path(path) as temporary:
            temporary.write_bytes(content)
            os.kill(os.getpid(), signal.SIGKILL)
    write(path, content)

from cxrkit.files import atomic_path
results_folder.atomic_path = atomic_path
results_folder.write_bytes = killed
predict([Path(name) for name in sys.argv[2:]], Path(sys.argv[1]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal")
def test_a_killed_call_leaves_a_whole_table_and_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    films, out = [film(tmp_path / "films" / f"{name}.png") for name in "abcd"], tmp_path / "films" / "found"
    whole = predict(films, tmp_path / "whole")
    done = subprocess.run([sys.executable, "-c", KILLED, out, *films], check=False, timeout=120, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert [row["film"] for row in table(out)] == [str(path) for path in films[:2]]
    assert [name[0] for name in sorted(files_in(out / "c"))] == [".", "l", "r"], "half of it, and a temporary file"
    assert len(find_films([tmp_path / "films"], tmp_path / "elsewhere")[0]) == 4, "masks are no films"
    (out / "b" / "heart.png").unlink()
    segmented = spy(monkeypatch)
    found = predict(films, out, resume=True)
    assert segmented == films[1:], "b lacks a file, c is half, d wasn't begun"
    assert files_in(out) == {"a", "b", "c", "d", "predictions.csv", "predictions.json"}
    assert files_in(out / "c") == files_in(out / "a")
    assert [row.areas for row in found.rows] == [row.areas for row in whole.rows]
    assert [row["film"] for row in table(out)] == [str(path) for path in films]


def spy(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The films that are segmented from now on."""
    segmented: list[Path] = []
    call = Segmenter.__call__

    def noted(self: Segmenter, given: Path) -> Segmentation:
        segmented.append(given)
        return call(self, given)

    monkeypatch.setattr(Segmenter, "__call__", noted)
    return segmented


def test_resuming_leaves_alone_what_is_done_in_the_same_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    films, out = [film(tmp_path / f"{name}.png") for name in "ab"], tmp_path / "out"
    first = predict(films, out)
    segmented = spy(monkeypatch)
    assert predict(films, out, resume=True) == first
    assert segmented == []
    pixels = cv2.imread(str(films[0]), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(films[0]), pixels[::-1])
    predict(films, out, resume=True)
    assert segmented == films[:1], "its content changed"
    predict(films, out, "overlay", resume=True)
    assert segmented[1:] == films, "another writer"
    monkeypatch.setattr(Bright, "weights", replace(SOURCE, sha256="other"))
    predict(films, out, "overlay", resume=True)
    assert segmented[3:] == films, "other weights"
    monkeypatch.setattr(Segmenter, "settings", property(lambda self: {"keep_spots": True}))
    predict(films, out, "overlay", resume=True)
    assert segmented[5:] == films, "other settings"


def test_what_a_killed_call_of_an_earlier_version_wrote_is_not_replaced(tmp_path: Path) -> None:
    path, out = film(tmp_path / "a.png"), tmp_path / "out"
    (out / "a").mkdir(parents=True)
    (out / "a" / "old.png").write_bytes(b"old")
    (out / UNFINISHED_LIST).write_text('["a", "old.png"]\n["a", "cut')
    predict([path], out)
    assert files_in(out / "a") == {"old.png"}, "of a film that isn't known"
    [earlier] = listed(out)["earlier"]
    assert (earlier["name"], earlier["files"]) == ("a", ["old.png"])
    assert not (out / UNFINISHED_LIST).exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks")
def test_two_calls_never_write_to_one_folder(tmp_path: Path) -> None:
    path, out = film(tmp_path / "a.png"), tmp_path / "out"
    out.mkdir()
    with (
        locked(out / UNFINISHED_LIST, ConfigError("busy")),
        pytest.raises(ConfigError, match="another `cxrkit predict` writes to it"),
    ):
        predict([path], out)


@pytest.mark.parametrize("fork", [True, False])
def test_several_workers_write_what_one_does_in_order(
    tmp_path: Path, fork: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    films = [film(tmp_path / f"{number}.png") for number in range(7)]
    films[2].write_bytes(b"no picture")
    one = predict(films, tmp_path / "one", "overlay")
    if fork:
        monkeypatch.setattr(Bright, "shared_by_forks", True, raising=False)
    several = predict(films, tmp_path / "several", "overlay", workers=3)
    assert [row.film for row in several.rows] == [row.film for row in one.rows]
    for row, other in zip(one.rows, several.rows, strict=True):
        assert row.sha256 == other.sha256
        for name in row.files:
            assert Path(row.folder, name).read_bytes() == Path(other.folder, name).read_bytes()
    assert [row["film"] for row in table(tmp_path / "several")] == [str(path) for path in films]


class Counting(Bright):
    """Counts how many films it computes at a time, and waits so many seconds for a second one."""

    def __init__(self, patience: float) -> None:
        self.now, self.most, self.patience, self.changed = 0, 0, patience, threading.Condition()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        with self.changed:
            self.now += 1
            self.most = max(self.most, self.now)
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.most > 1, self.patience)
            self.now -= 1
        return super().__call__(images)


@pytest.mark.parametrize(
    ("said", "most", "fork"),
    [
        ({}, 1, False),  # a predictor of somebody who doesn't know of these attributes
        ({"shared_by_threads": True}, 2, False),
        ({"shared_by_forks": True}, 1, True),  # where there are no forks there are threads
        ({"shared_by_threads": True, "shared_by_forks": True}, 2, True),
    ],
)
def test_a_predictor_computes_several_films_at_a_time_if_it_says_so(
    said: Mapping[str, bool], most: int, fork: bool
) -> None:
    predictor = Counting(patience=10 if most > 1 else 0.1)
    vars(predictor).update(said)
    shared, forks = side_by_side(Segmenter(predictor), 2)
    assert forks is fork
    images = np.zeros((1, 1, 96, 96), np.float32)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: shared.predictor(images), range(2)))
    assert predictor.most == most


class Crashing(Writer):
    """Ends the process of films that are called so, as a faulty decoder does."""

    def files(self, result: Segmentation) -> Iterator[tuple[str, bytes]]:
        assert result.film.source is not None
        if result.film.source.path.stem.startswith("crash"):
            os.kill(os.getpid(), signal.SIGKILL)
        yield "fine.txt", b"fine"


@pytest.mark.skipif(sys.platform != "linux", reason="workers are processes only there")
def test_a_crash_is_that_of_one_film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    films = [film(tmp_path / f"{name}.png") for name in ("a", "crash1", "b", "crash2", "c", "d")]
    monkeypatch.setattr(Bright, "shared_by_forks", True, raising=False)
    found = predict(films, tmp_path / "out", Crashing(), workers=2)
    assert [Path(row.film).stem for row in found.rows] == ["a", "b", "c", "d"]
    assert [failure.film for failure in found.failures] == [str(films[1]), str(films[3])]
    assert "ended unexpectedly (by SIGKILL)" in found.failures[0].what
    assert [bool(row["error"]) for row in table(tmp_path / "out")] == [False, True, False, True, False, False]


def test_millimetres_and_identifiers_stand_in_every_result(tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    pixels = cv2.imread(str(film(tmp_path / "a.png")), cv2.IMREAD_UNCHANGED)
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1", "1.2.3"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3.4", "1.2.3.4.5"
    dataset.Modality, dataset.PhotometricInterpretation, dataset.SamplesPerPixel = "CR", "MONOCHROME2", 1
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation, dataset.PixelSpacing = 7, 0, [0.5, 0.25]
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    [row] = predict([tmp_path / "a.dcm"], tmp_path / "out").rows
    assert row.extents is not None
    assert row.areas_mm2 == {name: round(area * 0.125, 1) for name, area in row.areas.items()}
    assert row.heart_width_mm == row.extents.heart.width * 0.25
    assert row.thorax_width_mm == row.extents.thorax.width * 0.25
    assert row.sha256 == hashlib.sha256((tmp_path / "a.dcm").read_bytes()).hexdigest()
    assert (row.study_uid, row.series_uid, row.sop_uid) == ("1.2.3.4", "1.2.3.4.5", "1.2.3")
    [line], [content] = table(tmp_path / "out"), listed(tmp_path / "out")["films"]
    assert float(line["heart_mm2"]) == content["areas_mm2"]["heart"] == row.areas_mm2["heart"]
    assert line["heart_width_mm"] == str(row.heart_width_mm)
    assert (line["row_spacing_mm"], line["column_spacing_mm"]) == ("0.5", "0.25")
    assert [line[f"{level}_uid"] for level in ("study", "series", "sop")] == ["1.2.3.4", "1.2.3.4.5", "1.2.3"]
    assert (line["sha256"], line["schema_version"]) == (row.sha256, "1")


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_results_are_not_written_through_a_link(tmp_path: Path) -> None:
    path, out, elsewhere = film(tmp_path / "a.png"), tmp_path / "out", tmp_path / "elsewhere"
    elsewhere.mkdir()
    out.mkdir()
    (out / "a").symlink_to(elsewhere)
    assert names([path], out)[str(path)].startswith("a-")
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("made", [["a.txt"], {"a.txt": b"x"}, [(5, b"x")], [("a" * 300, b"x")], [("../a", b"x")]])
def test_files_that_are_none_fail_their_film_alone(tmp_path: Path, made: Any) -> None:
    class Odd(Writer):
        def files(self, result: Segmentation) -> Any:
            return made

    done = predict([film(tmp_path / "a.png")], tmp_path / "out", Odd())
    assert [failure.what.partition(" got ")[0] for failure in done.failures] == [
        f"{tmp_path / 'a.png'}: Odd: expected pairs of a plain file name that no other file has and bytes;"
    ]
