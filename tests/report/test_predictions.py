"""What `predict` writes, by a network that marks what is bright."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from cxrkit.config import ComponentConfig, PreprocessConfig
from cxrkit.engine.checkpoint import NetworkCard
from cxrkit.engine.observer import Silent
from cxrkit.engine.predict import Segmenter
from cxrkit.engine.weights import WeightsSource
from cxrkit.errors import DataError
from cxrkit.interfaces import Model
from cxrkit.report import predictions
from cxrkit.report.predictions import Predictions, find_films, predict_films

STRUCTURES = ("left_lung", "right_lung", "heart")
SOURCE = WeightsSource("stub", "tests 0", "stub.safetensors", hashlib.sha256(b"").hexdigest(), 7, "0.1")


class Bright(Model):
    """Finds each structure where the film is bright: to the right, to the left, and in the middle."""

    def __init__(self, channels: Sequence[str]) -> None:
        super().__init__(channels)
        self.gain = torch.nn.Parameter(torch.tensor(20.0))

    def forward(self, images: Tensor) -> Tensor:
        logits = (self.gain * (images - 0.5)).repeat(1, len(self.channels), 1, 1)
        third = images.shape[-1] // 3
        for channel, place in enumerate((2, 0, 1)):
            elsewhere = torch.ones(images.shape[-1], dtype=torch.bool)
            elsewhere[place * third : (place + 1) * third] = False
            logits[:, channel, :, elsewhere] = -10
        return logits


def segmenter(*, keep_borders: bool = False) -> Segmenter:
    card = NetworkCard(
        cxrkit="0",
        model=ComponentConfig(name="bright"),
        channels=STRUCTURES,
        preprocess=PreprocessConfig(size=96, clahe=None),
        precision="32",
        package=("tests", "0"),
        step=7,
    )
    return Segmenter(Bright(STRUCTURES), card, device="cpu", keep_borders=keep_borders, source=SOURCE)


def film(path: Path) -> Path:
    pixels = np.tile(np.linspace(0, 60, 192).astype(np.uint8), (192, 1))
    pixels[40:150, 20:60], pixels[100:150, 70:120], pixels[40:150, 130:170] = 250, 250, 250
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels)
    return path


def predict(paths: list[Path], out: Path, **options: bool) -> Predictions:
    chosen, missing = find_films(paths, out)
    return predict_films(
        chosen, segmenter(), out, missing=missing, observer=Silent(), **({"probabilities": False} | options)
    )


def table(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((out / "predictions.csv").open()))


def test_a_frame_changes_nothing_inside_it() -> None:
    pixels = np.random.default_rng(0).integers(20, 200, (96, 80), dtype=np.uint8)
    pixels[0, 0], pixels[-1, -1] = 0, 255
    framed = np.pad(pixels, ((50, 30), (40, 60)))
    plain, found = segmenter()(pixels), segmenter()(framed)
    for name in STRUCTURES:
        assert found.probabilities[name].shape == found.masks[name].shape == framed.shape
        np.testing.assert_array_equal(found.probabilities[name][50:-30, 40:-60], plain.probabilities[name])
        assert not found.masks[name][:50].any()
        assert not found.masks[name][:, -60:].any()
    kept = segmenter(keep_borders=True)(framed)
    assert not np.array_equal(kept.probabilities["heart"][50:-30, 40:-60], plain.probabilities["heart"])


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
    listed = json.loads((tmp_path / "out/predictions.json").read_text())
    assert listed == json.loads(json.dumps(found.as_json()))
    assert listed["weights"] == {
        "name": "stub",
        "package": "tests 0",
        "file": "stub.safetensors",
        "sha256": SOURCE.sha256,
        "step": 7,
        "cxrkit": "0.1",
    }
    extents = listed["films"][0]["extents"]
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
    listed = json.loads((tmp_path / "out/predictions.json").read_text())
    assert (
        [row["film"] for row in listed["failures"]] == [failure.film for failure in found.failures] == [str(paths[1])]
    )


def test_a_film_that_fails_leaves_no_masks_of_an_earlier_call(tmp_path: Path) -> None:
    path, folder = film(tmp_path / "a.png"), tmp_path / "out" / "a"
    predict([path], tmp_path / "out", probabilities=True)
    (folder / "note.txt").write_text("the user's own")
    predict([path], tmp_path / "out")
    assert not list(folder.glob("*-probability.png")), "those of the last call only"
    path.write_bytes(b"no picture")
    predict([path], tmp_path / "out")
    assert [item.name for item in folder.iterdir()] == ["note.txt"]


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
    rows = json.loads((out / "predictions.json").read_text())
    assert [Path(row["folder"]).name for row in rows["films"]] == ["a", "film"]
    assert sorted(item.name for item in tmp_path.iterdir()) == ["films", "out", "victim.png"]
    for row in rows["films"]:
        row["areas"]["../../victim"] = 1
    (out / "predictions.json").write_text(json.dumps(rows))
    films[0].write_bytes(b"no film")
    predict(films, out)
    assert not (out / "a").exists(), "its old masks are gone"
    assert own.read_bytes() == b"mine"


def test_ctrl_c_while_a_film_is_written_leaves_no_half_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    films = [film(tmp_path / "a.png"), film(tmp_path / "b.png")]
    write = predictions._write_png

    def interrupted(path: Path, pixels: np.ndarray) -> None:
        if path.parent.name == "b" and path.stem == "heart":
            raise KeyboardInterrupt
        write(path, pixels)

    monkeypatch.setattr(predictions, "_write_png", interrupted)
    with pytest.raises(KeyboardInterrupt):
        predict(films, tmp_path / "out")
    assert [row["film"] for row in table(tmp_path / "out")] == [str(films[0])]
    assert not (tmp_path / "out" / "b").exists()
