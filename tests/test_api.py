"""The Python API on a run that is trained once for the whole file."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import cxrkit
from cxrkit import api, inference
from cxrkit.config import DataConfig, make_config
from cxrkit.data.splits import Split
from cxrkit.engine.observer import Silent
from cxrkit.errors import ConfigError, CxrkitError, DataError, StorageError, TrainingInterruptedError
from cxrkit.yaml_text import read_yaml

SETTINGS = {
    "model": {"name": "unet", "base_channels": 8, "depth": 3},
    "loss": "dice + bce",
    "data": {"name": "phantom", "count": 24, "size": 64},
    "preprocess": {"size": 64},
    "split": {"test_size": 5, "validation": 3},
    "train": {"steps": 100, "lr": 1e-2, "batch_size": 4, "precision": "32", "device": "cpu"},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> cxrkit.api.TrainedRun:
    return cxrkit.train(make_config(SETTINGS), out=tmp_path_factory.mktemp("api") / "run")


def test_a_run_leaves_all_that_the_design_promises(trained: cxrkit.api.TrainedRun) -> None:
    there = {str(path.relative_to(trained.path)) for path in trained.path.rglob("*") if path.is_file()}
    assert {
        "config.yaml",
        "provenance.json",
        "split.json",
        "metrics.jsonl",
        "checkpoints/best.safetensors",
        "checkpoints/last.safetensors",
        "checkpoints/state.safetensors",
        "evaluation/test-best.json",
        "evaluation/test-best.csv",
        "report/agreement.png",
        "report/table.md",
        "report/curves.png",
        "report/overlays.png",
    } <= there
    assert not [name for name in there if Path(name).name.startswith(".")]


def test_training_helped(trained: cxrkit.api.TrainedRun) -> None:
    assert trained.evaluation is not None
    assert trained.evaluation.values("lungs", "dice").mean() > 0.85


def test_the_saved_configuration_runs_again(trained: cxrkit.api.TrainedRun, tmp_path: Path) -> None:
    again = cxrkit.train(make_config(read_yaml(trained.path / "config.yaml")), out=tmp_path / "again")
    for name in ("best", "last"):
        file = f"checkpoints/{name}.safetensors"
        assert (again.path / file).read_bytes() == (trained.path / file).read_bytes()


def test_evaluation_of_other_parts_and_other_films(trained: cxrkit.api.TrainedRun) -> None:
    train_part = cxrkit.evaluate(trained.path, part="train")
    assert len(train_part.films) == 24 - 5 - 3
    other = cxrkit.evaluate(trained.path, data=DataConfig(name="phantom", count=3, seed=9, size=64))
    assert len(other.films) == 3
    assert other.part == "phantom"
    assert re.fullmatch(r"phantom-[0-9a-f]{8}", other.stem)
    assert (trained.path / "evaluation" / f"{other.stem}-best.csv").is_file()
    report = (trained.path / "report" / "table.md").read_text()
    last = cxrkit.evaluate(trained.path, checkpoint="last")
    assert (trained.path / "report" / "table.md").read_text() == report
    assert (trained.path / "report" / "table-last.md").is_file()
    assert (last.weights, last.selected_on) == ("last", "nothing")


def test_other_data_is_scored_without_the_films_that_trained(trained: cxrkit.api.TrainedRun) -> None:
    class Hearing(Silent):
        def __init__(self) -> None:
            self.said: list[str] = []

        def say(self, message: str) -> None:
            self.said.append(message)

    own, heard = make_config(read_yaml(trained.path / "config.yaml")).data, Hearing()
    split = Split.load(trained.path / "split.json")
    found = cxrkit.evaluate(trained.path, data=own, observer=heard)
    assert {film.id for film in found.films} == {*split.test, *split.left_out}
    assert any("trained or validated on 19 of the 24 films" in said for said in heard.said)
    test = cxrkit.evaluate(trained.path)
    assert {film.id: film.dsc for film in test.films} == pytest.approx({film.id: film.dsc for film in found.films})


def write_film(path: Path, shape: tuple[int, int], seed: int = 0) -> Path:
    noise = np.random.default_rng(seed).integers(0, 4096, (8, 8), dtype=np.uint16)
    cv2.imwrite(str(path), cv2.resize(noise, shape[::-1], interpolation=cv2.INTER_CUBIC))
    return path


@pytest.mark.parametrize("shape", [(64, 64), (90, 130), (201, 77)])
def test_masks_come_back_at_the_films_own_size(
    trained: cxrkit.api.TrainedRun, tmp_path: Path, shape: tuple[int, int]
) -> None:
    segmenter = cxrkit.load(trained.path)
    assert segmenter.structures == ("left_lung", "right_lung", "heart")
    path = write_film(tmp_path / "film.png", shape)
    found = segmenter(path)
    for name in segmenter.structures:
        assert found.masks[name].shape == shape
        assert found.masks[name].dtype == bool
        assert 0 <= found.probabilities[name].min() <= found.probabilities[name].max() <= 1
    array = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    for name, mask in segmenter(array).masks.items():
        assert np.array_equal(mask, found.masks[name])


def test_prediction_agrees_with_evaluation(trained: cxrkit.api.TrainedRun) -> None:
    from cxrkit.metrics.overlap import dice
    from cxrkit.plugins import registry

    dataset = registry().get("dataset", "phantom").build(None, count=24, size=64)
    entries = {entry.id: entry for entry in dataset.entries()}
    segmenter = cxrkit.load(trained.path, keep_spots=True)  # scores are of whole masks
    assert trained.evaluation is not None
    for film in trained.evaluation.films:
        sample = dataset.read(entries[film.id])
        # Predicting takes the machine's precision (bf16 perhaps), evaluation the run's: a pixel may differ.
        predicted = segmenter(sample.image).masks["heart"]
        assert dice(predicted, sample.masks["heart"]) == pytest.approx(film.structures["heart"].dice, abs=0.02)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4, 3), np.uint8),
        np.zeros((4, 4), np.int64),
        np.full((8, 8), np.nan, np.float32),
        np.zeros((0, 0), np.uint8),
        np.full((8, 8), 7, np.uint8),
        np.eye(8, dtype=np.uint8),
        [[1, 2], [3, 4]],
        None,
    ],
    ids=["colour", "int64", "nan", "empty", "constant", "mask", "list", "none"],
)
def test_arrays_that_are_no_films_are_refused(trained: cxrkit.api.TrainedRun, array: Any) -> None:
    with pytest.raises(DataError, match="array"):
        cxrkit.load(trained.path)(array)


def test_weights_that_are_not_finite_are_reported(trained: cxrkit.api.TrainedRun, tmp_path: Path) -> None:
    segmenter = cxrkit.load(trained.path)
    for parameter in segmenter.predictor.model.parameters():
        parameter.data.fill_(float("nan"))
    with pytest.raises(DataError, match="not finite"):
        segmenter(write_film(tmp_path / "film.png", (64, 64)))


def test_predicting_goes_on_after_a_bad_film(trained: cxrkit.api.TrainedRun, tmp_path: Path) -> None:
    folder = tmp_path / "films"
    (folder / "sub").mkdir(parents=True)
    write_film(folder / "a.png", (50, 60))
    write_film(folder / "sub" / "a.png", (70, 60), seed=1)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    result = inference.predict([folder], trained.path, tmp_path / "out", probabilities=True)
    assert [failure.film for failure in result.failures] == [str(folder / "broken.png")]
    assert len(result.rows) == 2
    assert len({row.folder for row in result.rows}) == 2
    mask = cv2.imread(str(tmp_path / "out" / "a" / "heart.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (50, 60)
    assert set(np.unique(mask)) <= {0, 255}
    probability = cv2.imread(str(tmp_path / "out" / "a" / "heart-probability.png"), cv2.IMREAD_UNCHANGED)
    assert probability.dtype == np.uint16
    assert cv2.imread(str(tmp_path / "out" / "a" / "overlay.png")).shape[2] == 3
    rows = list(csv.DictReader((tmp_path / "out" / "predictions.csv").open()))
    listed = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [row["film"] for row in rows if not row["error"]] == [row["film"] for row in listed["films"]]
    assert int(rows[0]["heart_pixels"]) == int((mask > 0).sum())


def test_predicting_that_is_stopped_tells_what_was_done(trained: cxrkit.api.TrainedRun, tmp_path: Path) -> None:
    class Impatient(Silent):
        def advance(self, done: int, note: str = "") -> None:
            if done == 2:
                raise KeyboardInterrupt

    films = [write_film(tmp_path / f"{name}.png", (32, 32)) for name in "abc"]
    with pytest.raises(KeyboardInterrupt):
        inference.predict(films, trained.path, tmp_path / "out", observer=Impatient())
    rows = list(csv.DictReader((tmp_path / "out" / "predictions.csv").open()))
    assert [row["film"] for row in rows] == [str(path) for path in films[:2]]
    assert len(json.loads((tmp_path / "out" / "predictions.json").read_text())["films"]) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="only there a name may be any bytes")
def test_films_whose_name_is_not_text_are_segmented(trained: cxrkit.api.TrainedRun, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"film\xff.png")
    write_film(tmp_path / "film.png", (32, 32)).rename(odd)
    assert not inference.predict([odd], trained.path, tmp_path / "out").failures
    assert (tmp_path / "out" / odd.stem / "heart.png").is_file()
    assert os.fsencode(odd) in (tmp_path / "out" / "predictions.csv").read_bytes()


def test_former_results_are_not_taken_for_films(trained: cxrkit.api.TrainedRun, tmp_path: Path) -> None:
    write_film(tmp_path / "film.png", (32, 32))
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="folder of the films"):
        inference.predict([tmp_path], trained.path, tmp_path / "." / "")
    for _ in range(2):
        result = inference.predict([tmp_path], trained.path, tmp_path / "out")
        assert [row.film for row in result.rows] == [str(tmp_path / "film.png")]
        assert [failure.film for failure in result.failures] == [str(tmp_path / "gone.png")]


def test_predicting_nothing_is_an_error(trained: cxrkit.api.TrainedRun, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no films in this folder"):
        inference.predict([tmp_path], trained.path, tmp_path / "out")
    with pytest.raises(DataError, match="No films were given"):
        inference.predict([], trained.path, tmp_path / "out")


def test_settings_may_be_a_mapping_or_a_file(tmp_path: Path) -> None:
    short = SETTINGS | {"train": SETTINGS["train"] | {"steps": 1}}
    (tmp_path / "settings.yaml").write_text(json.dumps(short))  # JSON is YAML
    for name, settings in (("mapping", short), ("file", tmp_path / "settings.yaml")):
        run = cxrkit.train(settings, out=tmp_path / name)
        assert (run.path / "config.yaml").read_text() == (tmp_path / "mapping" / "config.yaml").read_text()
    with pytest.raises(ConfigError, match="no setting 'modle'"):
        cxrkit.train({"modle": "unet"}, out=tmp_path / "wrong")


def test_a_start_that_fails_leaves_its_folder_free(tmp_path: Path) -> None:
    few = SETTINGS | {"train": SETTINGS["train"] | {"steps": 1, "batch_size": 20}}
    with pytest.raises(DataError, match="too few for batches of 20"):
        cxrkit.train(few, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert cxrkit.train(few | {"train": few["train"] | {"batch_size": 4}}, out=tmp_path / "run").evaluation


def test_other_films_may_be_named_as_on_the_command_line(trained: cxrkit.api.TrainedRun, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file or folder"):
        cxrkit.evaluate(trained.path, data=tmp_path / "nothing")
    with pytest.raises(ConfigError, match="no such file or folder"):
        cxrkit.evaluate(trained.path, data=Path("phantom"))  # a place, not the dataset of that name


def test_resume_takes_no_other_settings(trained: cxrkit.api.TrainedRun) -> None:
    with pytest.raises(ConfigError, match="with its own settings"):
        cxrkit.train(make_config(SETTINGS), resume=trained.path)
    again = cxrkit.train(resume=trained.path)
    assert again.evaluation == trained.evaluation


def test_a_run_whose_films_were_moved_says_where_to_write_their_place(
    trained: cxrkit.api.TrainedRun, tmp_path: Path
) -> None:
    run = shutil.copytree(trained.path, tmp_path / "run")
    moved = {**SETTINGS, "data": {"name": "folder", "root": str(tmp_path / "films")}}
    (run / "config.yaml").write_text(json.dumps(moved))
    for attempt in (lambda: cxrkit.evaluate(run), lambda: cxrkit.train(resume=run)):
        with pytest.raises(DataError, match="no longer exists") as caught:
            attempt()
        assert str(tmp_path / "films") in caught.value.what
        assert str(run / "config.yaml") in caught.value.remedy
    assert cxrkit.evaluate(run, data=DataConfig(name="phantom", count=2, size=64)).films


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), StorageError("The disk is full.", "Free some space.")])
def test_a_training_whose_scoring_fails_says_that_it_is_saved(
    trained: cxrkit.api.TrainedRun, monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    def fail(*arguments: object, **more: object) -> None:
        raise fault

    monkeypatch.setattr(api, "evaluate", fail)
    with pytest.raises(CxrkitError) as caught:
        cxrkit.train(resume=trained.path)
    assert f"cxrkit evaluate {trained.path}" in caught.value.remedy
    assert caught.value.exit_code == (130 if isinstance(fault, KeyboardInterrupt) else 6)


def test_a_full_disk_tells_how_to_go_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*arguments: object) -> None:
        raise StorageError("The disk is full.", "Free some space.")

    monkeypatch.setattr(api, "run_training", fail)
    with pytest.raises(StorageError) as caught:
        cxrkit.train(SETTINGS, out=tmp_path / "run")
    assert caught.value.remedy == f"Free some space. Then continue with: cxrkit train --resume {tmp_path / 'run'}"


def test_a_runs_configuration_holds_from_any_working_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def stop(*arguments: object) -> None:
        raise TrainingInterruptedError("stopped")

    monkeypatch.setattr(api, "run_training", stop)
    monkeypatch.chdir(tmp_path)
    relative = {"data": {"name": "folder", "root": "films"}, "split": {"file": "split.json"}}
    with pytest.raises(TrainingInterruptedError):
        cxrkit.train(relative, out="run")
    saved = make_config(read_yaml(tmp_path / "run" / "config.yaml"))
    assert saved.data.root == tmp_path / "films"
    assert saved.split.file == tmp_path / "split.json"


def test_a_weights_file_alone_is_enough(trained: cxrkit.api.TrainedRun, tmp_path: Path) -> None:
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes((trained.path / "checkpoints" / "best.safetensors").read_bytes())
    film = write_film(tmp_path / "film.png", (64, 64))
    one, other = cxrkit.load(alone)(film), cxrkit.load(trained.path)(film)
    assert np.array_equal(one.probabilities["heart"], other.probabilities["heart"])


def test_a_raw_jsrt_film_is_segmented_at_its_own_size(trained: cxrkit.api.TrainedRun, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 4096, (32, 32), dtype=np.uint16)
    cv2.resize(noise, (2048, 2048), interpolation=cv2.INTER_NEAREST).astype(">u2").tofile(tmp_path / "JPCLN001.IMG")
    result = inference.predict([tmp_path], trained.path, tmp_path / "out")
    assert [(row.film, result.failures) for row in result.rows] == [(str(tmp_path / "JPCLN001.IMG"), ())]
    mask = cv2.imread(str(tmp_path / "out" / "JPCLN001" / "heart.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (2048, 2048)


def test_prepare_and_check() -> None:
    config = make_config({"data": {"name": "phantom", "count": 4}, "preprocess": {"size": 32}})
    assert len(api.prepare(config)) == 4
    assert all(finding.severity != "error" for finding in api.check(config))


def test_what_dicom_headers_say_reaches_the_check_and_the_training(tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    examples = pytest.importorskip("pydicom.examples")
    for number, view in enumerate(("PA", "LL")):
        dataset = pydicom.dcmread(examples.get_path("ct"))
        dataset.Modality, dataset.ViewPosition = "DX", view
        for folder in ("images", "masks/heart"):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        dataset.save_as(tmp_path / f"images/{number}.dcm")
        mask = np.zeros((dataset.Rows, dataset.Columns), np.uint8)
        mask[40:60, 40:60] = 255
        cv2.imwrite(str(tmp_path / f"masks/heart/{number}.png"), mask)
    config = make_config({"data": {"name": "folder", "root": str(tmp_path)}, "preprocess": {"size": 32}})
    assert any("view LL: not frontal" in finding.message for finding in api.check(config))
    for _ in range(2):  # made, and found again
        heard = Heard()
        api.prepare(config, heard)
        assert any("remarks on 1 of the 2 films" in said and "view LL" in said for said in heard.said)


class Heard(Silent):
    """Remembers what an observer is informed of."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, int]] = []
        self.done: list[int] = []
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)

    def stage(self, name: str, total: int) -> None:
        self.stages.append((name, total))

    def advance(self, done: int, note: str = "") -> None:
        self.done.append(done)


def test_real_films_are_checked(wingspan: Path, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        name = f"wingspan_{number:03d}.png"
        for part in ("images", "masks/left_lung", "masks/right_lung", "masks/heart"):
            (tmp_path / part).mkdir(parents=True, exist_ok=True)
            (tmp_path / part / name).symlink_to(wingspan / part / name)
    config = make_config({"data": {"name": "folder", "root": str(tmp_path)}})
    heard = Heard()
    assert not [finding for finding in api.check(config, heard) if finding.severity == "error"]
    assert (heard.stages, heard.done) == ([("Checking films", 3)], [1, 2, 3])
    (tmp_path / "images/wingspan_002.png").unlink()
    assert any("1 mask has no film" in finding.message for finding in api.check(config))
