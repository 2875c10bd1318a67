from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cxrkit.config import RunConfig
from cxrkit.engine.run import RunDirectory
from cxrkit.errors import ConfigError, DataError, StorageError
from cxrkit.readings import TrainingReading, ValidationReading


def reading(step: int) -> TrainingReading:
    return TrainingReading(step, loss=1.0, train_dsc=0.5, lr=1e-3, seconds=2.0)


def test_the_configuration_comes_back(tmp_path: Path, tiny: Callable[..., RunConfig]) -> None:
    run = RunDirectory.create(tmp_path / "run", tiny(loss="dice + 0.5*bce"))
    assert RunDirectory.open(run.path).config() == tiny(loss="dice + 0.5*bce")


def test_an_occupied_place_is_left_alone(tmp_path: Path, tiny: Callable[..., RunConfig]) -> None:
    RunDirectory.create(tmp_path / "run", tiny())
    with pytest.raises(ConfigError, match="a run in that place") as caught:
        RunDirectory.create(tmp_path / "run", tiny())
    assert "--resume" in caught.value.remedy
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(ConfigError, match="something in that place"):
        RunDirectory.create(tmp_path / "mine", tiny())
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError):
        RunDirectory.create(tmp_path / "file", tiny())


def test_what_a_killed_start_left_behind_does_not_occupy_the_place(
    tmp_path: Path, tiny: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def kill(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", kill)
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        with pytest.raises(Killed):
            RunDirectory.create(tmp_path / "run", tiny())
    assert list((tmp_path / "run").iterdir())
    assert RunDirectory.create(tmp_path / "run", tiny()).config() == tiny()


def test_a_run_that_came_to_nothing_can_be_taken_back(tmp_path: Path, tiny: Callable[..., RunConfig]) -> None:
    begun = RunDirectory.create(tmp_path / "run", tiny())
    (begun.path / "split.json").write_text("{}")
    begun.log(reading(10))
    begun.discard()
    assert not begun.path.exists()
    kept = RunDirectory.create(tmp_path / "run", tiny())
    (kept.path / "notes.txt").write_text("mine")
    kept.discard()
    assert [item.name for item in kept.path.iterdir()] == ["notes.txt"]


def test_a_run_with_a_checkpoint_is_never_taken_back(tmp_path: Path, tiny: Callable[..., RunConfig]) -> None:
    run = RunDirectory.create(tmp_path / "run", tiny())
    (run.path / "checkpoints").mkdir()
    run.discard()
    assert run.config() == tiny()


def test_an_impossible_folder_is_reported(tmp_path: Path, tiny: Callable[..., RunConfig]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="part of the path is a file"):
        RunDirectory.create(tmp_path / "file" / "run", tiny())


def test_what_is_not_a_run_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no config\.yaml"):
        RunDirectory.open(tmp_path)
    with pytest.raises(DataError, match="provenance"):
        RunDirectory(tmp_path).provenance()
    with pytest.raises(DataError, match="no weights"):
        RunDirectory(tmp_path).weights()


def test_a_line_cut_by_a_kill_is_left_out(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    for step in (10, 20, 30):
        run.log(reading(step))
    with (tmp_path / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 40, "lo')
    assert [each.step for each in run.metrics()] == [10, 20, 30]
    run.forget_metrics_after(20)
    assert [each.step for each in run.metrics()] == [10, 20]
    assert (tmp_path / "metrics.jsonl").read_text().count("\n") == 2


def test_readings_of_earlier_versions_are_read(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 10, "loss": 0.5, "train_dsc": 0.25, "lr": 0.001, "seconds": 1.5}\n'
        '{"step": 10, "validation": {"dsc": 0.5, "iou": 0.25, "dice": 0.75}, "on": "test"}\n'
    )
    assert list(RunDirectory(tmp_path).metrics()) == [
        TrainingReading(step=10, loss=0.5, train_dsc=0.25, lr=0.001, seconds=1.5),
        ValidationReading(step=10, validation={"dsc": 0.5, "iou": 0.25, "dice": 0.75}, on="test"),
    ]


@pytest.mark.parametrize("damage", [b"\xff\xfe\x00", b"[1]\n", b'{"step": "x"}\n', b'{"step": 20}\n'])
def test_damaged_readings_and_records_are_reported(tmp_path: Path, damage: bytes) -> None:
    run = RunDirectory(tmp_path)
    run.log(reading(10))
    with (tmp_path / "metrics.jsonl").open("ab") as stream:
        stream.write(damage)
    assert [each.step for each in run.metrics()] == [10]
    (tmp_path / "provenance.json").write_bytes(damage)
    with pytest.raises(DataError, match="not a readable record"):
        run.provenance()


def test_folders_are_numbered(tmp_path: Path, tiny: Callable[..., RunConfig]) -> None:
    made = [RunDirectory.create_named(tiny(augment=["mixup"]), tmp_path).path.name for _ in range(2)]
    assert made == ["unet-dice-mixup-1", "unet-dice-mixup-2"]


def test_runs_that_begin_at_once_have_their_own_folders(
    tmp_path: Path, tiny: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "exists", lambda _: False)  # as if each had looked before any wrote
    runs = [RunDirectory.create_named(tiny(seed=seed), tmp_path) for seed in range(3)]
    assert [run.config().seed for run in runs] == [0, 1, 2]
    with pytest.raises(ConfigError, match="a run in that place"):
        RunDirectory.create(runs[0].path, tiny(seed=7))
    assert runs[0].config().seed == 0


def test_a_disk_without_hard_links_will_do(
    tmp_path: Path, tiny: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    run = RunDirectory.create(tmp_path / "run", tiny(seed=3))
    assert run.config().seed == 3
    assert [item.name for item in run.path.iterdir()] == ["config.yaml"]
