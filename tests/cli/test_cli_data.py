from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

SMALL = ["--set", "data.count=3", "--set", "data.size=64"]


@pytest.fixture
def folder(tmp_path):
    """Two films with masks of a heart; the mask of the second one is not a mask."""
    random = np.random.default_rng(0)
    for name in ("one", "two"):
        for place in ("images", "masks/heart"):
            (tmp_path / place).mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 255, (150, 150), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{name}.png")
        mask = np.zeros((150, 150), np.uint8)
        mask[40:90, 40:90] = 255
        Image.fromarray(pixels if name == "two" else mask).save(tmp_path / "masks" / "heart" / f"{name}.png")
    return tmp_path


def test_prepare_makes_the_store_and_finds_it_again(cxrkit) -> None:
    first = cxrkit("data", "prepare", "--size", 32, *SMALL, "--json")
    assert first.code == 0, first.err
    content = json.loads(first.out)
    assert (content["films"], content["size"]) == (3, 32)
    again = cxrkit("data", "prepare", "--size", 32, *SMALL)
    assert "Preparing films" not in again.err
    assert content["store"] in again.out
    assert content["fingerprint"] in again.out


def test_check_passes_films_that_are_well(cxrkit) -> None:
    outcome = cxrkit("data", "check", "--set", "data.count=2", "--json")
    assert outcome.code == 0
    assert json.loads(outcome.out)["counts"]["error"] == 0


def test_check_tells_errors_and_exits_with_3(cxrkit, folder) -> None:
    outcome = cxrkit("data", "check", "--data", folder)
    assert outcome.code == 3
    assert "1 error" in outcome.out
    assert str(folder / "masks" / "heart" / "two.png") in outcome.out
    content = json.loads(cxrkit("data", "check", "--data", folder, "--json", "--quiet").out)
    assert content["findings"][0]["severity"] == "error"


def test_a_folder_without_films_is_an_error_of_the_data(cxrkit, tmp_path) -> None:
    assert cxrkit("data", "check", "--data", tmp_path).code == 3


def test_masks_without_a_film_are_a_warning_of_check_and_a_line_elsewhere(cxrkit, folder) -> None:
    (folder / "images" / "two.png").unlink()
    told = "1 mask has no film and is not used: two."
    outcome = cxrkit("data", "check", "--data", folder, "--json", "--quiet")
    assert (outcome.code, outcome.err) == (0, "")
    (warning,) = [item for item in json.loads(outcome.out)["findings"] if item["severity"] == "warning"]
    assert warning["message"].endswith(told)
    outcome = cxrkit("data", "prepare", "--data", folder, "--size", 32, "--quiet")
    assert (outcome.code, outcome.err) == (0, f"Warning: {folder / 'masks'}: {told}\n")


def test_list_names_datasets_and_what_the_cache_holds(cxrkit) -> None:
    cxrkit("data", "prepare", "--size", 32, *SMALL)
    content = json.loads(cxrkit("data", "list", "--json").out)
    assert {"folder", "jsrt", "phantom"} <= {item["name"] for item in content["datasets"]}
    assert any(item["file"].startswith("phantom-32-") for item in content["stores"])
    assert "phantom-32-" in cxrkit("data", "list").out


def test_stores_that_are_half_written_are_not_listed(cxrkit, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CXRKIT_CACHE", str(tmp_path))
    (tmp_path / ".phantom-32-abc.1234.h5").write_bytes(b"half")
    assert json.loads(cxrkit("data", "list", "--json").out)["stores"] == []
    (tmp_path / "phantom-32-abc.h5").write_bytes(b"whole")
    (store,) = json.loads(cxrkit("data", "list", "--json").out)["stores"]
    assert store["file"] == "phantom-32-abc.h5"


def test_an_empty_cache_is_reported_as_empty(cxrkit, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CXRKIT_CACHE", str(tmp_path / "none"))
    assert f"No prepared films in {tmp_path / 'none'} yet." in cxrkit("data", "list").out


def test_a_place_may_stand_alone_or_behind_its_flag_but_not_both(cxrkit, tmp_path) -> None:
    missing = tmp_path / "nowhere"
    for verb in ("check", "prepare"):
        assert cxrkit("data", verb, missing).err == cxrkit("data", verb, "--data", missing).err
        both = cxrkit("data", verb, missing, "--data", "phantom")
        assert both.code == 2
        assert "were both given" in both.err


def test_an_address_is_not_a_file(cxrkit, tmp_path) -> None:
    for words in (("predict", "https://example.org/film.png"), ("data", "check", "https://example.org/films")):
        assert "Only files are read: download it first" in cxrkit(*words, "--quiet").err
