"""`cxrkit evaluate` of anything on anything, and `cxrkit measure`."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest

from cxrkit.engine.checkpoint import load_tensors, save_network
from cxrkit.metrics.overlap import dice
from cxrkit.plugins import registry

LUNGS = {"left_lung": "left_lung", "right_lung": "right_lung"}


def write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels)


@pytest.fixture(scope="module")
def make_data(tmp_path_factory: pytest.TempPathFactory):
    """Writes three films of a seed with masks of structures, under other names perhaps, as a folder."""

    def make(named: Mapping[str, str], seed: int = 7, size: int = 96) -> Path:
        root = tmp_path_factory.mktemp("hospital")
        dataset = registry().get("dataset", "phantom").build(None, count=3, size=size, seed=seed)
        for entry in dataset.entries():
            sample = dataset.read(entry)
            write(root / "images" / f"{entry.id}.png", sample.image)
            for structure, name in named.items():
                write(root / "masks" / name / f"{entry.id}.png", sample.masks[structure].astype(np.uint8) * 255)
        return root

    return make


@pytest.fixture(scope="module")
def whole(make_data) -> Path:
    return make_data({**LUNGS, "heart": "heart"})


@pytest.fixture(scope="module")
def weights(cxrkit, trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    assert cxrkit("export", trained[0], file).code == 0
    return file


def scores_of(outcome) -> dict:
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


def values(content: dict, measure: str) -> dict[tuple[str, str], float]:
    films = content["evaluation"]["films"]
    return {(film["id"], name): one[measure] for film in films for name, one in film["structures"].items()}


def test_masks_that_predict_wrote_have_the_scores_of_their_network(cxrkit, weights, whole, tmp_path) -> None:
    assert cxrkit("predict", whole / "images", "--weights", weights, "--out", tmp_path / "masks", "-q").code == 0
    network = scores_of(cxrkit("evaluate", weights, "--data", whole, "--json"))
    drawn = scores_of(cxrkit("evaluate", "--masks", tmp_path / "masks", "--data", whole, "--json"))
    for measure in ("dice", "hd95"):
        assert values(drawn, measure) == values(network, f"{measure}_after")
    ratios = [[film["ctr"] for film in one["evaluation"]["films"]] for one in (network, drawn)]
    assert ratios[0] == ratios[1]
    for (film, structure), found in values(drawn, "dice").items():
        if structure != "lungs":
            ours = cv2.imread(str(tmp_path / "masks" / film / f"{structure}.png"), 0) > 0
            true = cv2.imread(str(whole / "masks" / structure / f"{film}.png"), 0) > 0
            assert found == dice(ours, true), "at the film's own size"
    assert drawn["failures"] == []
    assert drawn["summary"]["cardiothoracic_ratio"]["films"] + drawn["summary"]["cardiothoracic_ratio"]["missing"] == 3


def test_the_true_masks_are_perfect_in_every_layout(cxrkit, whole, tmp_path) -> None:
    for number, film in enumerate(sorted(path.stem for path in (whole / "images").iterdir())):
        classes = np.zeros((96, 96), np.uint8)
        for value, name in enumerate(("left_lung", "right_lung", "heart"), 1):
            mask = cv2.imread(str(whole / "masks" / name / f"{film}.png"), 0)
            write(tmp_path / "per-film" / film / f"{name}.png", mask)
            classes[mask > 0] = value
        write(tmp_path / "labels" / f"{film}.png", classes)
        assert number < 3
    folders = [whole, whole / "masks", tmp_path / "per-film"]
    for folder in folders:
        found = scores_of(cxrkit("evaluate", "--masks", folder, "--data", whole, "--json"))
        assert set(values(found, "dice").values()) == set(values(found, "nsd").values()) == {1.0}
        about = found["summary"]["cardiothoracic_ratio"]
        assert (about["bias"], about["limits"], about["variation"], about["same_side"]) == (0, [0, 0], 0, 1)
    labels = ("--labels", "left_lung=1,right_lung=2,heart=3")
    found = scores_of(cxrkit("evaluate", "--masks", tmp_path / "labels", *labels, "--data", whole, "--json"))
    # One pixel has one class number: where the heart lies over a lung, the lung isn't there.
    assert {one for (_, name), one in values(found, "dice").items() if name == "heart"} == {1.0}


def test_several_are_scored_side_by_side_on_the_same_films(cxrkit, trained, weights, whole, tmp_path) -> None:
    shutil.copytree(whole / "masks", tmp_path / "person")
    missing = next((tmp_path / "person" / "heart").iterdir())
    missing.unlink()
    given = (trained[0], weights, "--masks", tmp_path / "person", "--data", whole)
    outcome = cxrkit("evaluate", *given, "--out", tmp_path / "out")
    assert outcome.code == 3
    assert f"film '{missing.stem}' has no mask of 'heart'" in outcome.err
    assert "2 " in outcome.out.splitlines()[0], "the film is left out of all"
    for name in ("heart", "lungs"):
        assert sum(line.startswith(f"{name}\t") for line in outcome.out.splitlines()) == 3
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"table.md", "tiny.json", "tiny.safetensors.csv", "person.csv", "overlays-person.png"} <= left
    table = (tmp_path / "out" / "table.md").read_text()
    assert "| heart |" in table
    assert missing.stem in table
    found = json.loads(cxrkit("evaluate", *given, "--json").out)
    assert [one["run"] for one in found["scores"]] == [*map(str, (trained[0], weights, tmp_path / "person"))]
    run, file, _ = found["scores"]
    assert values(run, "iou") == pytest.approx(values(file, "iou"), abs=0.05), "16-bit weights of one network"


def test_what_one_side_lacks_is_left_out_and_named(cxrkit, trained, weights, make_data) -> None:
    lungs = make_data({**LUNGS, "heart": "aorta"})
    for scored in (weights, trained[0]):
        outcome = cxrkit("evaluate", scored, "--data", lungs, "--json")
        assert {name for _, name in values(scores_of(outcome), "dice")} == {"left_lung", "right_lung", "lungs"}
        assert f"heart left out, of which {lungs} has no masks" in outcome.err
        assert f"aorta left out, which {scored} doesn't have" in outcome.err
        one = cxrkit("evaluate", scored, "--data", lungs, "--structures", "left_lung", "--json")
        assert {name for _, name in values(scores_of(one), "dice")} == {"left_lung"}
        wrong = cxrkit("evaluate", scored, "--data", lungs, "--structures", "heart")
        assert wrong.code == 3
        assert f"--structures heart: {lungs} has no 'heart'" in wrong.err


def test_masks_of_both_lungs_together_are_compared_with_their_union(cxrkit, trained, weights, make_data) -> None:
    apart = make_data(LUNGS)
    together = make_data({"heart": "lungs"})
    for film in (apart / "images").iterdir():
        both = [cv2.imread(str(apart / "masks" / name / film.name), 0) for name in LUNGS]
        write(together / "masks" / "lungs" / film.name, np.maximum(*both))
    for scored in (weights, trained[0]):
        found = scores_of(cxrkit("evaluate", scored, "--data", together, "--json"))
        expected = scores_of(cxrkit("evaluate", scored, "--data", apart, "--json"))
        union = {key: value for key, value in values(expected, "dice_after").items() if key[1] == "lungs"}
        assert values(found, "dice_after") == union
        assert found["summary"]["honest"].keys() == {"lungs"}


TWINS = "'left_lung', and .* of 'lung_left': they seem to mean the same.*"


@pytest.mark.parametrize(
    ("named", "networks", "folders"),
    [
        (
            {"left_lung": "lung_left", "heart": "heart"},
            f"{TWINS} list those to score: --structures heart",
            f"{TWINS} there is none in common to score",
        ),
        ({"left_lung": "lung_left"}, *2 * [f"{TWINS} there is none in common to score"]),
        ({"heart": "aorta"}, *2 * ["no structure in common"]),
    ],
)
def test_contradictory_names_and_nothing_in_common_are_refused(
    cxrkit, trained, weights, make_data, tmp_path, named, networks, folders
) -> None:
    data = make_data(named)
    write(tmp_path / "masks" / "left_lung" / "a.png", np.eye(4, dtype=np.uint8))
    for *scored, message in (
        (weights, networks),
        (trained[0], networks),
        ("--masks", tmp_path / "masks", folders),
    ):
        outcome = cxrkit("evaluate", *scored, "--data", data)
        assert outcome.code == 3
        assert outcome.exception is None or isinstance(outcome.exception, SystemExit)
        assert re.search(message, " ".join(outcome.err.split()))
    if "heart" in named.values():
        assert cxrkit("evaluate", weights, "--data", data, "--structures", "heart").code == 0


def test_a_runs_own_training_films_are_left_out(cxrkit, trained, tmp_path) -> None:
    data = ("--data", "phantom", "--set", "data.count=12", "--set", "data.size=64")
    split = json.loads((trained[0] / "split.json").read_text())
    new = {*split["test"], *split["left_out"]}
    found = scores_of(cxrkit("evaluate", trained[0], "--full-size", *data, "--json"))
    assert {film["id"] for film in found["evaluation"]["films"]} == new
    checkpoint = trained[0] / "checkpoints" / "last.safetensors"
    other = scores_of(cxrkit("evaluate", checkpoint, *data, "--json"))
    assert {film["id"] for film in other["evaluation"]["films"]} == new, "the file's run is known"
    chosen = ("--split", trained[0] / "split.json")
    test = scores_of(cxrkit("evaluate", "lungs-heart", *data, *chosen, "--json"))
    assert [film["id"] for film in test["evaluation"]["films"]] == split["test"]
    wrong = cxrkit("evaluate", "lungs-heart", "--data", "phantom", "--set", "data.count=2", *chosen)
    assert wrong.code == 3
    assert "aren't in the data" in wrong.err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "nothing to score"),
        (("lungs-heart",), 2, "weights without a run have no films of their own"),
        (("lungs-hart", "--data", "phantom"), 2, "Did you mean 'lungs-heart'"),
        (("--masks", "nowhere", "--data", "phantom"), 3, "nowhere: there is no such folder"),
        (("--masks", "nowhere"), 2, "--masks was given without --data"),
        (("lungs-heart", "--data", "phantom", "--postprocess", "auto"), 2, "validation films"),
        (("lungs-heart", "--data", "phantom", "--part", "train"), 2, "--split FILE"),
        (("--masks", ".", "--labels", "heart:1", "--data", "phantom"), 2, "left_lung=1"),
    ],
)
def test_wrong_questions_get_an_answer(cxrkit, arguments, code, message, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = cxrkit("evaluate", *arguments)
    assert (outcome.code, message in outcome.err + str(outcome.exception)) == (code, True), outcome.err


def test_masks_are_measured_without_a_network(cxrkit, tmp_path) -> None:
    masks = {name: np.zeros((100, 200), np.uint8) for name in ("left_lung", "right_lung", "heart")}
    masks["right_lung"][10:80, 20:60] = masks["left_lung"][10:80, 140:180] = masks["heart"][50:90, 80:144] = 255
    for name, mask in masks.items():
        write(tmp_path / "masks" / "a" / f"{name}.png", mask)
        write(tmp_path / "masks" / "empty" / f"{name}.png", mask * 0)
        write(tmp_path / "masks" / "odd" / f"{name}.png", mask[:, : 100 + len(name)])
    table = tmp_path / "table.csv"
    outcome = cxrkit("measure", tmp_path / "masks", "--spacing", "0.5", "--out", table, "--json")
    assert outcome.code == 3, "one film's masks differ in size"
    assert "'odd' differ in size" in outcome.err
    found = json.loads(outcome.out)
    assert [film["film"] for film in found["films"]] == ["a", "empty"]
    assert [failure["film"] for failure in found["failures"]] == ["odd"]
    a, empty = found["films"]
    assert a["cardiothoracic_ratio"] == 64 / 160
    assert (a["heart_width_mm"], a["thorax_width_mm"]) == (32, 80)
    assert (a["areas"]["heart"], a["areas_mm2"]["heart"]) == (64 * 40, 640)
    assert a["boxes"]["heart"] == {"left": 80, "top": 50, "right": 143, "bottom": 89}
    assert a["extents_mm"]["heart"] == [32, 20]
    assert (empty["cardiothoracic_ratio"], empty["boxes"]["heart"]) == (None, None)
    rows = list(csv.DictReader(table.open()))
    assert [row["film"] for row in rows] == ["a", "empty", "odd"]
    assert (rows[0]["cardiothoracic_ratio"], rows[0]["heart_width_px"], rows[0]["heart_box_left"]) == (
        "0.4",
        "64",
        "80",
    )
    assert rows[2]["error"]
    plain = cxrkit("measure", tmp_path / "masks")
    assert "0.400\t64 px\t160 px" in plain.out


def test_several_datasets_are_kept_apart(cxrkit, weights, whole, make_data, tmp_path) -> None:
    data = ("--data", whole, "--data", make_data(LUNGS, seed=8))
    found = scores_of(cxrkit("evaluate", weights, *data, "--json"))
    per_dataset = found["summary"]["datasets"].values()
    assert [sorted(one["honest"]) for one in per_dataset] == [
        ["heart", "left_lung", "lungs", "right_lung"],
        ["left_lung", "lungs", "right_lung"],
    ]
    assert [one["films"] for one in per_dataset] == [3, 3]
    outcome = cxrkit("evaluate", "--masks", whole, *data, "--json")
    assert outcome.code == 0, "both have films of these names"
    assert json.loads(outcome.out)["summary"]["films"] == 6


def test_labels_and_tolerance_are_not_silently_ignored(cxrkit, trained, whole) -> None:
    for arguments, message in (
        ((trained[0], "--data", whole, "--tolerance", "1"), "Add --full-size"),
        ((trained[0], "--data", whole, "--labels", "heart=1"), "say how masks are read"),
    ):
        outcome = cxrkit("evaluate", *arguments)
        assert outcome.code == 2
        assert message in outcome.err
    usual, wide = (
        scores_of(cxrkit("evaluate", trained[0], "--full-size", "--data", whole, *more, "--json"))
        for more in ((), ("--tolerance", "40"))
    )
    assert (usual["evaluation"]["tolerance"], wide["evaluation"]["tolerance"]) == (2, 40)
    assert sum(values(usual, "nsd").values()) < sum(values(wide, "nsd").values())


def test_the_mean_of_several_networks_stands_beside_one(cxrkit, trained, weights, whole, tmp_path) -> None:
    other = tmp_path / "other.safetensors"
    tensors, card = load_tensors(weights)
    changed = {name: value * 1.1 if value.is_floating_point() else value for name, value in tensors.items()}
    save_network(other, changed, card)
    found = scores_of(cxrkit("evaluate", weights, "--weights", weights, "--weights", other, "--data", whole, "--json"))
    one, mean = found["scores"]
    assert mean["run"] == f"{weights} + {other}"
    assert values(mean, "iou") == pytest.approx(values(one, "iou"), abs=0.2), "a network and nearly the same one"
    assert values(mean, "iou") != values(one, "iou")
    assert cxrkit("evaluate", trained[0], "--weights", weights).code == 2, "they need --data"
