"""What a search makes of its trials, with a launcher that runs nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cxrkit import comparisons
from cxrkit.ablation import search as searching
from cxrkit.ablation.plan import make_plan
from cxrkit.ablation.ranges import Range, Space
from cxrkit.ablation.search import SearchResult, check_search, search
from cxrkit.ablation.study import distributions, open_study
from cxrkit.engine.run import RunDirectory
from cxrkit.errors import ConfigError, TrainingError
from cxrkit.interfaces import Job
from cxrkit.plugins import registry
from tests.ablation.faking import BASE, Fake
from tests.ablation.launching import FakeLauncher

pytest.importorskip("optuna", reason="optuna isn't installed (pip install 'cxrkit[search]')")


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "_POLL_SECONDS", 0)


def space(*ranges: Range, **content: Any) -> Space:
    base = {**BASE, "split": {"validation": 2}}
    return Space(make_plan({"base": base, **content}), ranges or (Range("train.lr", 1e-4, 1e-1, log=True),))


def folder_of(job: Job) -> Path:
    return Path(job.command[job.command.index("--out" if "--out" in job.command else "--resume") + 1])


def rate(job: Job) -> float:
    return RunDirectory(folder_of(job)).config().train.lr


def begin(job: Job) -> None:
    """Leave what a training leaves at its start."""
    if "--config" in job.command:
        folder_of(job).mkdir(parents=True, exist_ok=True)
        shutil.copy(job.command[job.command.index("--config") + 1], folder_of(job) / "config.yaml")


def validate(job: Job, step: int, dice: float) -> None:
    """Leave a validation."""
    with (folder_of(job) / "metrics.jsonl").open("a") as stream:
        scores = {"dsc": 0.5, "iou": 0.5, "dice": dice}
        stream.write(json.dumps({"step": step, "validation": scores, "on": "validation"}) + "\n")


def judged(dice: Callable[[float], float]) -> Callable[[Job], int]:
    """An ending that leaves a validation whose Dice coefficient is that of the learning rate."""

    def end(job: Job) -> int:
        begin(job)
        validate(job, 100, dice(rate(job)))
        return 0

    return end


class Told:
    def __init__(self) -> None:
        self.lines: list[tuple[int, str]] = []

    def trial(self, number: int, state: str, settings: Any, score: float | None) -> None:
        self.lines.append((number, state.split(":")[0]))


def run(where: Space, trials: int, path: Path, launcher: FakeLauncher, listener: Any = None) -> SearchResult:
    return search(where, trials, path, launcher, registry(), listener)


def test_the_trial_with_the_best_validation_wins(tmp_path: Path) -> None:
    launcher = FakeLauncher(judged(lambda lr: 1 - abs(lr - 0.01)))
    found = run(space(), 6, tmp_path, launcher)
    assert (found.complete, found.failed) == (6, 0)
    assert launcher.most == 2
    rates = [rate(one.job) for one in launcher.jobs]
    assert found.settings["train.lr"] == min(rates, key=lambda lr: abs(lr - 0.01))
    assert yaml.safe_load(found.config_file.read_text())["train"]["lr"] == found.settings["train.lr"]


def test_trials_never_score_the_test_films(tmp_path: Path) -> None:
    launcher = FakeLauncher(judged(lambda lr: lr))
    run(space(), 2, tmp_path, launcher)
    assert all("--no-score" in one.job.command for one in launcher.jobs)


def test_trials_that_fail_are_counted_with_what_they_said(tmp_path: Path) -> None:
    good = judged(lambda lr: lr)

    def end(job: Job) -> int:
        if "trial-0001" in job.name:
            job.log.write_text("Error: the loss is nan.\n")
            return 1
        return good(job)

    found = run(space(), 4, tmp_path, FakeLauncher(end))
    assert (found.complete, found.failed) == (3, 1)
    assert "the loss is nan." in found.table.read_text()


def test_without_any_trial_that_ended_it_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="None of the 2 trials was completed"):
        run(space(), 2, tmp_path, FakeLauncher(lambda job: 1))


def test_settings_that_are_refused_together_fail_their_trial_and_nothing_else(tmp_path: Path) -> None:
    where = space()
    told = Told()
    reg = registry()
    planned = searching.planned_trial

    def refusing(space: Space, number: int, chosen: Any, registry: Any) -> Any:
        if number == 1 and chosen["train.lr"] != 0.1:  # not what is tried before the search begins
            raise ConfigError("these don't go together.", "Choose others.")
        return planned(space, number, chosen, registry)

    launcher = FakeLauncher(judged(lambda lr: lr))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(searching, "planned_trial", refusing)
        found = search(where, 4, tmp_path, launcher, reg, told)
    assert (found.complete, found.failed) == (3, 1)
    assert (1, "failed") in told.lines
    assert all(trial.state.is_finished() for trial in open_study(where, tmp_path).get_trials())


def test_every_level_is_tried_for_its_settings_before_the_first_trial(tmp_path: Path) -> None:
    where = space(
        Range("model.lstm_filters", 4, 8),
        factors={"network": {"a": {"model": "attn-bcdu"}, "b": {"model": "unet"}, "c": {"model": "attn-bcdu"}}},
    )
    with pytest.raises(ConfigError, match="lstm_filters"):
        check_search(where, tmp_path, registry())


def test_a_search_goes_on_with_the_trials_that_a_kill_left(tmp_path: Path) -> None:
    launcher = FakeLauncher(judged(lambda lr: lr))

    def dies(job: Job) -> int:
        raise RuntimeError("kill -9")

    with pytest.raises(RuntimeError):
        run(space(), 4, tmp_path, FakeLauncher(dies, room=1))
    told = Told()
    found = run(space(), 4, tmp_path, launcher, told)
    assert told.lines[0] == (0, "continued")
    assert found.complete == 4
    assert [name for name in launcher.started if "trial-0000" in name]


def test_trials_that_lag_behind_are_stopped(tmp_path: Path) -> None:
    def during(job: Job) -> None:
        number = int(job.name.split("trial-")[1][:4])
        begin(job)
        validate(job, 10, 0.9 if number < 6 else 0.1)

    launcher = FakeLauncher(judged(lambda lr: 0.9), room=1, polls=3, during=during)
    found = run(space(), 8, tmp_path, launcher)
    assert (found.complete, found.pruned) == (6, 2)
    assert [one.stopped for one in launcher.jobs] == [False] * 6 + [True] * 2


def test_a_trial_whose_settings_were_half_drawn_when_the_search_was_killed_fails(tmp_path: Path) -> None:
    where = space(factors={"loss": ["dice", "bce"]})
    study = open_study(where, tmp_path)
    first = dict(list(distributions(where).items())[:1])
    study.ask(first)  # as if the process had died before the others
    found = run(where, 3, tmp_path, FakeLauncher(judged(lambda lr: lr)))
    assert (found.complete, found.failed) == (2, 1)
    assert "killed while the settings were being drawn" in found.table.read_text()


@pytest.mark.parametrize("seeds", [2, [3, 4]])
def test_several_seeds_are_refused(tmp_path: Path, seeds: Any) -> None:
    with pytest.raises(ConfigError, match="each trial has one seed, but 2 were given"):
        check_search(space(seeds=seeds), tmp_path, registry())


@pytest.mark.parametrize("trials", [0, -5])
def test_a_number_of_trials_below_one_is_refused(tmp_path: Path, trials: int) -> None:
    with pytest.raises(ConfigError, match="must be at least 1"):
        run(space(), trials, tmp_path, FakeLauncher(judged(lambda lr: lr)))
    assert not list(tmp_path.iterdir())


def test_test_films_that_were_scored_are_not_looked_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def evaluate(*_: Any, **__: Any) -> Any:
        raise AssertionError("the test films were looked at")

    monkeypatch.setattr(comparisons, "evaluate", evaluate)
    fake = Fake(tmp_path, {"loss": ["dice", "bce"]})
    scores = comparisons.evaluate_once(fake.score("dice", [0.9] * 3), None)
    assert scores is not None
    assert len(scores.films) == 3
    with pytest.raises(AssertionError, match="looked at"):
        comparisons.evaluate_once(fake.begin("bce"), None)
