"""`calibrate`, and what `predict` then says of quality; means of several weights."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxrkit.engine.checkpoint import amend_card, load_tensors, save_network

STRUCTURES = ("left_lung", "right_lung", "heart")


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Five films of noise with masks."""
    random = np.random.default_rng(0)
    for number in range(5):
        for folder in ("images", *(f"masks/{name}" for name in STRUCTURES)):
            pixels = random.integers(0, 255, (60, 64), dtype=np.uint8)
            if folder != "images":
                pixels = np.where(np.hypot(*(np.indices((60, 64)) - 30)) < 9 + len(folder), 255, 0).astype(np.uint8)
            (tmp_path / "films" / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "films" / folder / f"{number}.png")
    return tmp_path / "films"


@pytest.fixture
def two(trained, tmp_path: Path) -> tuple[Path, Path]:
    """Weights, and others that are a little larger."""
    run, _ = trained
    tensors, card = load_tensors(run / "checkpoints" / "best.safetensors")
    paths = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    for path, factor in zip(paths, (1, 1.001), strict=True):
        larger = {name: value * factor if value.is_floating_point() else value for name, value in tensors.items()}
        save_network(path, larger, card)
    return paths


def test_calibrated_weights_say_how_good_masks_may_be(cxrkit, two, films: Path, film: Path, tmp_path: Path) -> None:
    done = cxrkit("calibrate", two[0], "--data", films, "--device", "cpu")
    assert done.code == 0, done.err
    for word in ("structure", "rank correlation", "left lung", "heart"):
        assert word in done.out
    plain = cxrkit("predict", film, "--weights", two[1], "--out", tmp_path / "plain", "--json", "--device", "cpu")
    assert json.loads(plain.out)["films"][0]["quality"] is None
    out = tmp_path / "out"
    found = cxrkit("predict", film, "--weights", two[0], "--out", out, "--device", "cpu")
    assert "lowest estimated" in found.out
    [row] = json.loads((out / "predictions.json").read_text())["films"]
    assert row["quality"].keys() == set(STRUCTURES)
    [cells] = csv.DictReader((out / "predictions.csv").open())
    assert {name: float(cells[f"{name}_quality"]) for name in STRUCTURES} == row["quality"]
    low = {name for name, dice in row["quality"].items() if dice < 0.9}
    assert low == {
        text.partition(":")[0].replace(" ", "_") for text in row["warnings"] if "Dice coefficient is estimated" in text
    }
    fast = cxrkit("predict", film, "--weights", two[0], "--out", out, "--json", "--no-quality", "--device", "cpu")
    assert json.loads(fast.out)["films"][0]["quality"] is None


def test_the_mean_of_several_weights_is_recorded(cxrkit, two, film: Path, tmp_path: Path) -> None:
    both = [argument for path in two for argument in ("--weights", path)]
    found = cxrkit("predict", film, *both, "--tta", "--out", tmp_path / "out", "--json", "--device", "cpu")
    assert found.code == 0, found.err
    weights = json.loads(found.out)["weights"]
    assert [one["file"] for one in weights["members"]] == [str(path) for path in two]
    assert weights["sha256"] not in {one["sha256"] for one in weights["members"]}
    again = cxrkit("predict", film, *both, "--tta", "--out", tmp_path / "out", "--resume", "--device", "cpu")
    assert "1 of them earlier" in again.err + again.out
    other = cxrkit("predict", film, *both, "--out", tmp_path / "out", "--resume", "--device", "cpu")
    assert "1 of them earlier" not in other.err + other.out
    shutil.copy(two[0], tmp_path / "copy.safetensors")
    amend_card(tmp_path / "copy.safetensors", step=9)
    for same in (two[0], tmp_path / "copy.safetensors"):
        twice = cxrkit("predict", film, "--weights", two[0], "--weights", same, "--out", tmp_path / "out")
        assert twice.code == 2
        assert "the same weights are given twice" in twice.err


def test_too_few_films_are_no_calibration(cxrkit, trained) -> None:
    done = cxrkit("calibrate", trained[0])
    assert done.code == 3
    assert "Fewer than 5 of these films have masks" in done.err
