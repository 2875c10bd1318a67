"""`--data`, given twice."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxrkit.yaml_text import read_yaml

LUNGS = ("left_lung", "right_lung")


@pytest.fixture
def lungs(tmp_path: Path) -> Path:
    """A folder of eight films of noise, with masks of the lungs alone."""
    random, root = np.random.default_rng(0), tmp_path / "lungs"
    for number in range(8):
        for part in ("images", *(f"masks/{name}" for name in LUNGS)):
            (root / part).mkdir(parents=True, exist_ok=True)
            pixels = np.zeros((40, 40), np.uint8)
            pixels[8:30, (24 if "left" in part else 6) : (34 if "left" in part else 16)] = 255
            if part == "images":
                pixels = random.integers(0, 255, (40, 40), dtype=np.uint8)
            Image.fromarray(pixels).save(root / part / f"{number}.png")
    return root


def test_a_dry_run_prints_settings_that_say_the_same_again(cxrkit, lungs: Path, tmp_path: Path) -> None:
    flags = ["--size", 32, "--model", "unet", "--set", "model.base_channels=4", "--device", "cpu", "--batch-size", 2]
    own = ["--set", "data.phantom.count=12", "--set", "data.phantom.size=64", "--set", "data.lungs.weight=2"]
    said = cxrkit("train", "--data", "phantom", "--data", lungs, *own, *flags, "--dry-run", "-q")
    assert said.code == 0, said.err
    file = tmp_path / "settings.yaml"
    file.write_text(said.out)
    first, second = read_yaml(file)["data"]
    assert (first["alias"], first["count"]) == ("phantom", 12)
    assert (second["alias"], second["root"], second["weight"]) == ("lungs", str(lungs), 2.0)
    assert cxrkit("train", "--config", file, "--dry-run", "-q").out == said.out


def test_a_parameter_that_one_of_the_datasets_lacks_is_reported(cxrkit, lungs: Path) -> None:
    said = cxrkit("data", "check", "--data", "phantom", "--data", lungs, "--set", "data.count=4", "-q")
    assert said.code == 2
    assert "'folder' has no parameter 'count'" in said.err or "no parameter 'count'" in said.err


def test_check_and_prepare_take_several_places(cxrkit, lungs: Path) -> None:
    small = ["--set", "data.phantom.count=3", "--set", "data.phantom.size=64", "-q", "--json"]
    found = json.loads(cxrkit("data", "check", "phantom", lungs, *small).out)["findings"]
    notes = [one["message"] for one in found if "with masks of" in one["message"]]
    assert notes == [
        "8 films, with masks of left_lung on 8, right_lung on 8.",
        "3 films, with masks of left_lung on 3, right_lung on 3, heart on 3.",
    ]
    made = json.loads(cxrkit("data", "prepare", "phantom", lungs, "--size", 32, *small).out)
    assert (made["films"], made["structures"]) == (11, [*LUNGS, "heart"])
    assert {name: part["films"] for name, part in made["datasets"].items()} == {"phantom": 3, "lungs": 8}
    assert len({part["store"] for part in made["datasets"].values()}) == 2


def test_a_run_is_scored_on_several_datasets(cxrkit, trained, lungs: Path) -> None:
    run, _ = trained
    own = ["--set", "data.phantom.count=3", "--set", "data.phantom.seed=9", "--set", "data.phantom.size=64"]
    said = cxrkit("evaluate", run, "--data", "phantom", "--data", lungs, *own, "--json", "-q")
    assert said.code == 0, said.err
    summary = json.loads(said.out)["summary"]
    assert {name: one["films"] for name, one in summary["datasets"].items()} == {"phantom": 3, "lungs": 8}
    assert "heart" in summary["datasets"]["phantom"]["honest"]
    assert "heart" not in summary["datasets"]["lungs"]["honest"]
    assert summary["films"] == 11
