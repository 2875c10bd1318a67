"""What becomes of a plan's runs, with a launcher that runs nothing."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from cxrkit.ablation import coordinate
from cxrkit.ablation.coordinate import Progress, run_plan
from cxrkit.errors import TrainingInterruptedError
from cxrkit.interfaces import Job
from tests.ablation.faking import Fake
from tests.ablation.launching import FakeLauncher

ARMS = ("dice", "bce", "tversky")


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordinate, "_POLL_SECONDS", 0)


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    return Fake(tmp_path, {"loss": list(ARMS)}, seeds=2)


def scored(fake: Fake):
    """An ending that leaves scores."""

    def end(job: Job) -> int:
        arm, seed = job.name.split(", seed ")
        fake.score(arm, [0.9] * 4, int(seed))
        return 0

    return end


def run(fake: Fake, launcher: FakeLauncher, **more) -> None:
    run_plan(fake.path, list(fake.runs.values()), launcher, "fake", **more)


def states(fake: Fake) -> dict[str, str]:
    return {f"{run.arm.slug}, {run.seed}": run.state for run in fake.results().runs}


def test_all_runs_end_with_no_more_side_by_side_than_there_is_room(fake: Fake) -> None:
    launcher = FakeLauncher(scored(fake), room=2)
    run(fake, launcher)
    assert len(launcher.jobs) == 6
    assert launcher.most == 2
    assert set(states(fake).values()) == {"finished"}


def test_what_is_finished_is_not_started_again_and_what_died_is_resumed(fake: Fake) -> None:
    fake.score("dice", [0.9] * 4, 0)
    begun = fake.begin("bce", 1)
    launcher = FakeLauncher(scored(fake))
    run(fake, launcher)
    assert len(launcher.jobs) == 5
    commands = {one.job.name: one.job.command for one in launcher.jobs}
    resumed = [name for name, command in commands.items() if "--resume" in command]
    assert len(resumed) == 1
    assert str(begun) in commands[resumed[0]]


def test_a_run_that_fails_and_one_that_cannot_be_started_stop_nothing(fake: Fake) -> None:
    good = scored(fake)

    def end(job: Job) -> int:
        if "bce" in job.name:
            job.log.write_text("Error: the loss is nan.\n")
            return 1
        return good(job)

    launcher = FakeLauncher(end, refused=("dice, seed 0",))
    run(fake, launcher)
    assert states(fake) == {
        "dice, 0": "failed",
        "dice, 1": "finished",
        "bce, 0": "failed",
        "bce, 1": "failed",
        "tversky, 0": "finished",
        "tversky, 1": "finished",
    }
    errors = [result.error for result in fake.results().runs if result.error]
    assert any(error.startswith("no worker for dice, seed 0") for error in errors)
    assert errors.count("the loss is nan.") == 2


def test_a_training_without_scores_has_failed(fake: Fake) -> None:
    launcher = FakeLauncher(lambda job: 0)
    run(fake, launcher)
    assert "finished" not in states(fake).values()


def test_ctrl_c_stops_every_job_and_waits_for_it(fake: Fake) -> None:
    class Pressing:
        def update(self, progress: Progress) -> None:
            if progress.count("running") == 2 and not progress.count("finished"):
                os.kill(os.getpid(), signal.SIGINT)

    launcher = FakeLauncher(scored(fake), polls=99)
    with pytest.raises(TrainingInterruptedError, match="0 of 6 runs are finished, and the others are saved"):
        run(fake, launcher, listener=Pressing())
    assert [one.status for one in launcher.jobs] == [130, 130]


def test_an_error_of_the_listener_leaves_no_job_running(fake: Fake) -> None:
    class Broken:
        def update(self, progress: Progress) -> None:
            if progress.count("running") == 2:
                raise RuntimeError("the terminal is gone")

    launcher = FakeLauncher(scored(fake), polls=99)
    with pytest.raises(RuntimeError):
        run(fake, launcher, listener=Broken())
    assert all(one.stopped for one in launcher.jobs)


def test_the_listener_hears_every_state(fake: Fake) -> None:
    heard: list[dict[str, int]] = []

    class Listening:
        def update(self, progress: Progress) -> None:
            heard.append({state: progress.count(state) for state in ("waiting", "running", "finished")})

    run(fake, FakeLauncher(scored(fake)), listener=Listening())
    assert heard[0] == {"waiting": 4, "running": 2, "finished": 0}
    assert heard[-1] == {"waiting": 0, "running": 0, "finished": 6}
