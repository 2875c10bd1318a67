"""The three verbs of a run, from end to end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from cxrkit.config import make_config
from cxrkit.yaml_text import read_yaml


def test_training_without_data_says_so_and_shows_where_everything_is(trained) -> None:
    run, outcome = trained
    assert outcome.code == 0, outcome.err
    assert "No --data was given: training on built-in synthetic radiographs" in outcome.err
    assert "3 test films, honest protocol" in outcome.out
    assert "Paper's protocol" in outcome.out
    for name in ("table.md", "curves.png", "overlays.png"):
        assert str(run / "report" / name) in outcome.err
        assert (run / "report" / name).is_file()
    assert f"cxrkit predict FILM.png --weights {run}" in outcome.err


def test_progress_goes_to_stderr_and_results_to_stdout(trained) -> None:
    _, outcome = trained
    assert "Training: 4/4 (100 %), loss" in outcome.err
    assert "Training" not in outcome.out


def test_the_resolved_configuration_is_what_dry_run_prints(cxrkit, trained) -> None:
    run, _ = trained
    outcome = cxrkit("train", "--config", run / "config.yaml", "--dry-run")
    assert outcome.code == 0
    assert make_config(yaml.safe_load(outcome.out)) == make_config(read_yaml(run / "config.yaml"))


def test_a_dry_run_leaves_nothing_behind(cxrkit, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = cxrkit("train", "--model", "unet", "--loss", "dice + 0.5*bce", "--mixup", 0.2, "--dry-run")
    content = yaml.safe_load(outcome.out)
    assert content["model"]["name"] == "unet"
    assert [item["name"] for item in content["loss"]] == ["dice", "bce"]
    assert content["augment"][-1]["delta"] == 0.2
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_finds_a_batch_that_the_films_do_not_fill(cxrkit, tmp_path) -> None:
    small = ["--data", "phantom", "--set", "data.count=6", "--model", "unet", "--size", 32]
    outcome = cxrkit("train", *small, "--batch-size", 9, "--out", tmp_path / "run", "--dry-run")
    assert outcome.code == 3
    assert "too few for batches of 9" in outcome.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--model", "attn-bdcu"], 4, "Did you mean 'attn-bcdu'"),
        (["--loss", "focal_tversky"], 4, "Did you mean 'focal-tversky'"),
        (["--loss", "dice +"], 2, "not a sum of losses"),
        (["--loss", "focal-tverski"], 4, "Did you mean 'focal-tversky'"),
        (["--augment", "mixupp"], 4, "Did you mean 'mixup'"),
        (["--logger", "tensorbord"], 4, "Did you mean 'tensorboard'"),
        (["--set", "model.depht=3"], 2, "Did you mean 'depth'"),
        (["--set", "model.depth"], 2, "not an assignment"),
        (["--set", "trian.steps=3"], 2, "Did you mean 'train'"),
        (["--steps", "0"], 2, "train.steps"),
        (["--steps", "5", "--epochs", "5"], 2, "--steps and --epochs"),
        (["--data", "nowhere"], 2, "no such file or folder"),
        (["--config", "nowhere.yaml"], 2, "no such configuration file"),
        (["--resume", "nowhere"], 3, "there is no run in that place"),
        (["--resume", "nowhere", "--lr", "0.1", "--set", "seed=1"], 2, "--lr, --set would change"),
    ],
)
def test_mistakes_are_reported_with_their_remedy(cxrkit, tmp_path, monkeypatch, arguments, code, message) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = cxrkit("train", *arguments)
    assert outcome.code == code
    assert message in outcome.err
    assert "Traceback" not in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_an_occupied_folder_is_left_alone(cxrkit, trained) -> None:
    run, _ = trained
    outcome = cxrkit("train", "--out", run)
    assert outcome.code == 2
    assert f"cxrkit train --resume {run}" in outcome.err


def test_a_finished_run_can_be_resumed_and_quietly_gives_json(cxrkit, trained) -> None:
    run, _ = trained
    outcome = cxrkit("train", "--resume", run, "--quiet", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.err == ""
    content = json.loads(outcome.out)
    assert content["run"] == str(run)
    assert content["summary"]["films"] == 3


def test_evaluate_prints_json_with_both_protocols(cxrkit, trained) -> None:
    run, _ = trained
    outcome = cxrkit("evaluate", run, "--part", "validation", "--checkpoint", "last", "--json", "--device", "cpu")
    assert outcome.code == 0, outcome.err
    summary = json.loads(outcome.out)["summary"]
    assert (summary["part"], summary["films"], summary["selected_on"]) == ("validation", 2, "nothing")
    assert set(summary["honest"]) == {"left_lung", "right_lung", "heart", "lungs"}
    assert 0 <= summary["paper"]["dsc"]["mean"] <= 1
    assert (run / "evaluation" / "validation-last.csv").is_file()
    assert (run / "report" / "table-validation-last.md").is_file()


def test_evaluate_on_other_data_scores_all_of_it(cxrkit, trained) -> None:
    run, _ = trained
    other = ("--data", "phantom", "--set", "data.count=4", "--set", "data.seed=9", "--set", "data.size=64")
    outcome = cxrkit("evaluate", run, *other, "--device", "cpu")
    assert outcome.code == 0, outcome.err
    assert "4 phantom films, honest protocol" in outcome.out
    assert len(list((run / "report").glob("table-phantom-????????.md"))) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "phantom", "--part", "train"], "leave out --part"),
        (["--set", "data.count=4"], "--set was given without --data"),
        (["--data", "phantom", "--set", "seed=4"], "only the data's parameters"),
        (["--data", "phantom", "--set", "data.cuont=4"], "Did you mean 'count'"),
    ],
)
def test_what_evaluate_cannot_combine_is_reported(cxrkit, trained, arguments, message) -> None:
    run, _ = trained
    outcome = cxrkit("evaluate", run, *arguments)
    assert outcome.code == 2
    assert message in outcome.err


def test_evaluate_without_a_run_is_reported(cxrkit, tmp_path) -> None:
    outcome = cxrkit("evaluate", tmp_path)
    assert outcome.code == 3
    assert "there is no run in that place" in outcome.err


def test_predict_writes_masks_of_the_films_size_and_an_overlay(cxrkit, trained, film, tmp_path) -> None:
    run, _ = trained
    out = tmp_path / "found"
    outcome = cxrkit("predict", film, "--weights", run, "--out", out, "--probabilities", "--device", "cpu")
    assert outcome.code == 0, outcome.err
    assert str(film) in outcome.out
    folder = out / film.stem
    for name in ("left_lung.png", "right_lung.png", "heart.png", "overlay.png", "heart-probability.png"):
        with Image.open(folder / name) as picture:
            assert picture.size == (80, 60)
    assert set(np.unique(np.asarray(Image.open(folder / "heart.png")))) <= {0, 255}
    assert (out / "predictions.csv").is_file()


def test_a_bad_film_does_not_stop_the_others(cxrkit, trained, film, tmp_path) -> None:
    run, _ = trained
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"not a picture")
    weights = run / "checkpoints" / "last.safetensors"
    outcome = cxrkit("predict", bad, film, "--weights", weights, "--out", tmp_path / "out", "--json", "--quiet")
    assert outcome.code == 3
    content = json.loads(outcome.out)
    assert [Path(row["film"]).name for row in content["films"]] == [film.name]
    assert [Path(row["film"]).name for row in content["failures"]] == ["bad.png"]
    assert outcome.err.startswith(f"Error: {bad}")


def test_predict_without_weights_uses_those_that_come_with_cxrkit_and_says_so(cxrkit, film, tmp_path) -> None:
    outcome = cxrkit("predict", film, "--out", tmp_path / "found")
    assert outcome.code == 0, outcome.err
    assert "Weights: lungs-heart of cxrkit" in outcome.err
    assert "not for diagnosis" in " ".join(outcome.err.split())
    assert (tmp_path / "found" / "predictions.csv").is_file()


def test_a_wrong_path_is_reported_before_anything_else(cxrkit, tmp_path) -> None:
    outcome = cxrkit("predict", tmp_path / "gone.png", "--out", tmp_path / "out")
    assert outcome.code == 3
    assert outcome.err.startswith(f"Error: {tmp_path / 'gone.png'}: there is no such file")


def test_doubtful_films_are_counted_and_their_warnings_shown(cxrkit, film, tmp_path) -> None:
    outcome = cxrkit("predict", film, "--out", tmp_path / "out")
    assert "the film is small: 80 × 60 pixels" in outcome.out
    assert "1 film segmented; 1 with warnings" in outcome.err
    outcome = cxrkit("predict", film, "--out", tmp_path / "out", "--json", "-q")
    assert json.loads(outcome.out)["weights"]["name"] == "lungs-heart"
    assert json.loads(outcome.out)["films"][0]["warnings"]


def test_strict_counts_warnings_as_failures(cxrkit, film, tmp_path) -> None:
    assert cxrkit("predict", film, "--out", tmp_path / "out", "--strict", "-q").code == 3
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 80), dtype=np.uint8)).save(tmp_path / "b.png")
    outcome = cxrkit("predict", film, tmp_path / "b.png", "--out", tmp_path / "out", "--resume", "--workers", 2)
    assert outcome.code == 0, outcome.err
    assert "2 films segmented, 1 of them earlier; 2 with warnings" in outcome.err


def test_predict_writes_exactly_what_is_named(cxrkit, film, tmp_path) -> None:
    options = ("--out", tmp_path, "--device", "cpu", "--write", "overlay")
    outcome = cxrkit("predict", film, *options, "--set", "writer.overlay.legend=false", "--json", "--quiet")
    [row] = json.loads(outcome.out)["films"]
    assert row["files"] == ["overlay.png"]
    outcome = cxrkit("predict", film, *options, "--set", "writer.masks.legend=false")
    assert outcome.code == 2
    assert "only parameters of the chosen writers can be set here (overlay)" in outcome.err


def test_predict_with_unknown_weights_names_those_there_are(cxrkit, film) -> None:
    outcome = cxrkit("predict", film, "--weights", "lungs-hart")
    assert outcome.code == 2
    assert "lungs-heart" in outcome.err


def test_predict_refuses_weights_of_another_kind(cxrkit, film) -> None:
    outcome = cxrkit("predict", film, "--weights", film)
    assert outcome.code == 2
    assert "no weights file of a kind that is known here" in outcome.err
