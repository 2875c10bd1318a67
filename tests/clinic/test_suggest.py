"""`cxrkit suggest`: which films are chosen, by what, and what is left of it."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from typer.testing import CliRunner

import cxrkit
from cxrkit.cli.app import app
from cxrkit.plugins import registry
from cxrkit_clinic.looks import Look, look_at
from cxrkit_clinic.suggest import choose


class Outcome:
    def __init__(self, *arguments: object) -> None:
        result = CliRunner().invoke(app, ["suggest", *(str(item) for item in arguments)])
        self.code, self.out, self.err = result.exit_code, result.stdout, " ".join(result.stderr.split())


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that has hardly learned anything: what it sees in films differs all the same."""
    folder = tmp_path_factory.mktemp("weights")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXRKIT_CACHE", str(folder / "cache"))
        settings = {
            "model": {"name": "unet", "base_channels": 4, "depth": 3},
            "data": {"name": "phantom", "count": 6, "size": 64},
            "preprocess": {"size": 32},
            "split": {"test_size": 1, "validation": 0},
            "train": {"steps": 2, "batch_size": 2, "device": "cpu", "precision": "32"},
        }
        return cxrkit.train(settings, out=folder / "run", score=False).path


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five films, one of them twice, one upside down."""
    folder = tmp_path_factory.mktemp("films")
    dataset = registry().get("dataset", "phantom").build(None, count=4, size=64)
    for number, entry in enumerate(dataset.entries()):
        pixels = dataset.read(entry).image
        cv2.imwrite(str(folder / f"{number}.png"), pixels[::-1] if number == 3 else pixels)
    shutil.copyfile(folder / "0.png", folder / "0-again.png")
    return folder


def look(name: str, *features: float, quality: float | None = None) -> Look:
    return Look(Path(name), np.array(features), quality, ())


def test_the_typical_film_comes_first_then_the_farthest() -> None:
    looks = [look("a", 0.0), look("b", 1.0), look("c", 1.1), look("d", 4.2), look("e", 2.0)]
    assert [Path(one.film).name for one in choose(looks, 3, "difference")] == ["e", "d", "a"]
    labelled = [look("x", 4.2), look("y", 0.0)]
    assert [one.film for one in choose(looks, 2, "difference", labelled)] == ["e", "b"]


@given(arrays(float, (7, 2), elements=st.floats(-5, 5, width=16)), st.permutations(range(7)))
def test_a_choice_has_no_film_twice_and_ignores_the_order_of_the_folder(features: np.ndarray, order: list[int]) -> None:
    looks = [look(str(place), *row) for place, row in enumerate(features)]
    chosen = choose(looks, 7, "difference")
    assert sorted(one.film for one in chosen) == [str(place) for place in range(7)]
    assert choose([looks[place] for place in order], 7, "difference") == chosen
    assert choose(looks, 3, "difference") == chosen[:3]
    distances = [one.distance for one in chosen[1:]]
    assert distances == sorted(distances, reverse=True)
    assert len(choose(looks, 99, "difference")) == 7


def test_by_quality_the_worst_come_first() -> None:
    looks = [look("a", quality=0.9), look("b", quality=0.2), look("c", quality=0.2), look("d", quality=1.0)]
    assert [(one.film, one.quality) for one in choose(looks, 3, "quality")] == [("b", 0.2), ("c", 0.2), ("a", 0.9)]


@pytest.mark.pixels
def test_a_suggestion_is_the_same_each_time_and_equal_films_come_last(
    weights: Path, films: Path, tmp_path: Path
) -> None:
    first = Outcome(films, "--count", 4, "--weights", weights, "--out", tmp_path / "out", "--copy", "--json")
    assert first.code == 0, first.err
    chosen = [one["film"] for one in json.loads(first.out)["films"]]
    assert len({*chosen} & {str(films / "0.png"), str(films / "0-again.png")}) == 1
    again = Outcome(films, "--count", 4, "--weights", weights, "--out", tmp_path / "again", "--json")
    assert again.out == first.out
    with (tmp_path / "out" / "suggestions.csv").open() as file:
        assert [row["film"] for row in csv.DictReader(file)] == chosen
    assert [one["film"] for one in json.loads((tmp_path / "out" / "suggestions.json").read_text())["films"]] == chosen
    sheet = cv2.imread(str(tmp_path / "out" / "contact-sheet.png"))
    assert sheet.std() > 10
    assert {path.name for path in (tmp_path / "out" / "images").iterdir()} == {Path(film).name for film in chosen}
    (tmp_path / "out" / "images" / "mine.png").write_bytes(b"")
    assert Outcome(films, "--count", 1, "--weights", weights, "--out", tmp_path / "out", "--copy").code == 0
    assert {path.name for path in (tmp_path / "out" / "images").iterdir()} == {Path(chosen[0]).name, "mine.png"}
    # What is labelled, here two films of the five, isn't suggested again, whatever it is called.
    (tmp_path / "drawn").mkdir()
    shutil.copyfile(films / "1.png", tmp_path / "drawn" / "other-name.png")
    shutil.copyfile(films / "2.png", tmp_path / "drawn" / "2.png")
    for by in ("difference", "quality"):
        more = ("--weights", weights, "--out", tmp_path / "x", "--json", "--by", by, "--labelled", tmp_path / "drawn")
        rest = json.loads(Outcome(films, "--count", 5, *more).out)["films"]
        assert {Path(one["film"]).name for one in rest} == {"0.png", "0-again.png", "3.png"}


def test_features_are_of_the_coarsest_maps_and_hooks_are_taken_away(weights: Path, films: Path) -> None:
    segmenter = cxrkit.load(weights)
    (one, *_), failures = look_at([films / "1.png"], segmenter, "difference")
    assert not failures
    assert one.features.shape == (4 * 2**3,), "the channels below three levels"
    assert all(not module._forward_hooks for module in segmenter.predictor.model.modules())


def test_quality_is_agreement_over_views_of_the_film(weights: Path, films: Path) -> None:
    looks, _ = look_at(sorted(films.glob("*.png"))[:2], cxrkit.load(weights), "quality")
    assert all(one.quality is not None and 0 <= one.quality <= 1 for one in looks)
    assert looks[0].quality == looks[1].quality, "0 and 0-again are the same film"


def test_a_film_that_cannot_be_read_is_left_out_and_named(weights: Path, films: Path, tmp_path: Path) -> None:
    shutil.copytree(films, tmp_path / "films")
    (tmp_path / "films" / "bad.png").write_bytes(b"not a picture")
    done = Outcome(tmp_path / "films", "--count", 9, "--weights", weights, "--out", tmp_path / "films" / "out")
    assert done.code == 3
    assert "bad.png: left out" in done.err
    assert "There are only 5 films" in done.err
    again = Outcome(tmp_path / "films", "--count", 9, "--weights", weights, "--out", tmp_path / "films" / "out")
    assert again.out == done.out, "the contact sheet isn't taken for a film"


@pytest.mark.parametrize("labelled", [False, True])
def test_a_link_that_leads_nowhere_is_left_out_and_named(
    weights: Path, films: Path, tmp_path: Path, labelled: bool
) -> None:
    more: tuple[object, ...] = ()
    for folder in ("films", "drawn"):
        (tmp_path / folder).mkdir()
        shutil.copyfile(films / "1.png", tmp_path / folder / f"{folder}.png")
        (tmp_path / folder / "gone.png").symlink_to(tmp_path / "absent.png")
    shutil.copyfile(films / "2.png", tmp_path / "films" / "2.png")
    if labelled:
        more = ("--labelled", tmp_path / "drawn")
    done = Outcome(tmp_path / "films", "--weights", weights, "--out", tmp_path / "out", "--json", *more)
    assert done.code == 3
    assert "gone.png: left out" in done.err
    left = {"2.png"} if labelled else {"2.png", "films.png"}
    assert {Path(one["film"]).name for one in json.loads(done.out)["films"]} == left


def test_mistakes_are_named(weights: Path, films: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for arguments, code, message in (
        ((tmp_path / "empty",), 3, "no films in this folder"),
        ((tmp_path / "absent",), 3, "there is no such folder"),
        ((films, "--out", films), 2, "is the folder of the films"),
        ((films, "--labelled", films), 3, "all films are labelled already"),
        ((films, "--weights", tmp_path / "absent"), 3, "no such"),
    ):
        done = Outcome(*arguments)
        assert (done.code, message in done.err) == (code, True), done.err
