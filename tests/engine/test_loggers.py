"""Loggers receive the readings of a training, and none can end it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from cxrkit.engine.run import RunDirectory
from cxrkit.engine.train import train
from cxrkit.errors import ConfigError
from cxrkit.interfaces import Logger
from cxrkit.readings import Reading, TrainingReading, ValidationReading
from cxrkit.registry import Registry
from tests.engine.breaking import Killed, StopAt, die, same_result

NewRun = Callable[..., RunDirectory]
Add = Callable[[str, str, Any], None]


class Recorder(Logger):
    """Keeps what it is called with; fails on request when it does so for the `fails_after`-th time."""

    calls: list[Any]

    def __init__(self, *, fails_after: int | None = None) -> None:
        self.fails_after, self.received = fails_after, 0

    def begin(self, run: Path, settings: Mapping[str, Any], step: int) -> None:
        self.calls.append(("begin", run.name, settings["seed"], step))

    def log(self, reading: Reading) -> None:
        self.received += 1
        if self.received == self.fails_after:
            raise ConnectionError("the server\nis down")
        self.calls.append(reading)

    def end(self) -> None:
        self.calls.append("end")


@pytest.fixture
def recorder(add: Add) -> type[Recorder]:
    """A registered logger, `recorder`, whose calls are in its class."""

    class OfThisTest(Recorder):
        calls: list[Any] = []  # noqa: RUF012

    add("logger", "recorder", OfThisTest)
    return OfThisTest


def test_readings_reach_a_logger_in_their_order(
    new_run: NewRun, components: Registry, recorder: type[Recorder]
) -> None:
    run = new_run("run", logger=["recorder"], train__steps=20, train__validate_every=10)
    train(run, components)
    assert recorder.calls == [("begin", "run", 0, 0), *run.metrics(), "end"]
    assert [type(reading) for reading in recorder.calls[1:-1]] == [TrainingReading, ValidationReading] * 2


def test_a_logger_that_fails_is_reported_once_and_the_training_ends_the_same(
    new_run: NewRun, components: Registry, recorder: type[Recorder]
) -> None:
    without, observer = new_run("without"), StopAt(-1, die)
    train(without, components)
    run = new_run("run", logger=[{"name": "recorder", "fails_after": 2}])
    train(run, components, observer)
    same_result(without, run)
    assert len(recorder.calls) == 2, "it began, received one reading, and was dropped"
    assert [message for message in observer.said if "logger" in message] == [
        "The logger recorder failed, and the training continues without it: ConnectionError: the server is down"
    ]


def test_a_continued_run_begins_its_loggers_with_its_step(
    new_run: NewRun, components: Registry, recorder: type[Recorder]
) -> None:
    run = new_run("run", logger=["recorder"])
    with pytest.raises(Killed):
        train(run, components, StopAt(5, die))
    train(run, components)
    marks = [call if call == "end" else call[-1] for call in recorder.calls if not isinstance(call, Reading)]
    assert marks == [0, "end", 4, "end"]


def test_the_run_records_its_loggers(new_run: NewRun) -> None:
    run = new_run("run", logger=["tensorboard"])
    assert "logger:\n- name: tensorboard\n  flush_seconds: 10\n" in run.config_file.read_text()


@pytest.mark.parametrize(
    ("name", "modules"),
    [("tensorboard", ["torch.utils.tensorboard"]), ("mlflow", ["mlflow", "mlflow.exceptions", "mlflow.tracking"])],
    ids=["tensorboard", "mlflow"],
)
def test_a_logger_without_its_package_is_refused_before_the_first_step(
    new_run: NewRun, components: Registry, monkeypatch: pytest.MonkeyPatch, name: str, modules: list[str]
) -> None:
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)
    run = new_run("run", logger=[name])
    with pytest.raises(ConfigError, match=f"--logger {name}: .* isn't installed") as caught:
        train(run, components, StopAt(0, lambda: pytest.fail("the training began")))
    assert f"pip install 'cxrkit[{name}]'" in caught.value.remedy
    assert not run.state_file.exists()


def curves_of(run: RunDirectory, training: str, validation: str) -> dict[str, list[tuple[int, float]]]:
    """Steps and values that a dashboard should show, by the names that it gives to the curves."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for reading in run.metrics():
        if isinstance(reading, TrainingReading):
            values = {"loss": reading.loss, "dsc": reading.train_dsc, "lr": reading.lr}
            named = {training.format(name): value for name, value in values.items()}
        else:
            named = {validation.format(name): value for name, value in reading.validation.items()}
        for name, value in named.items():
            curves.setdefault(name, []).append((reading.step, pytest.approx(value, rel=1e-6)))
    return curves


def trained_in_two_processes(new_run: NewRun, components: Registry, logger: dict[str, Any]) -> RunDirectory:
    """A run that was killed after 5 of 6 updates, one after its last saved state, and continued."""
    run = new_run("run", logger=[logger])
    with pytest.raises(Killed):
        train(run, components, StopAt(5, die))
    train(run, components)
    return run


def test_tensorboard_shows_the_curves(new_run: NewRun, components: Registry) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = trained_in_two_processes(new_run, components, {"name": "tensorboard"})
    events = accumulator.EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    shown = {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    assert shown == curves_of(run, "training/{}", "validation/{}")
    assert len(shown) == 6


def test_mlflow_shows_settings_and_curves_as_one_run(new_run: NewRun, components: Registry, tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    from mlflow.tracking import MlflowClient

    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    run = trained_in_two_processes(new_run, components, {"name": "mlflow", "tracking_uri": store})
    client = MlflowClient(store)
    experiment = client.get_experiment_by_name("cxrkit")
    (made,) = client.search_runs([experiment.experiment_id])
    assert made.info.run_name == "run"
    assert made.info.status == "FINISHED"
    assert made.data.params["train.steps"] == "6"
    assert made.data.params["model.name"] == "unet"
    shown = {
        name: [(point.step, point.value) for point in client.get_metric_history(made.info.run_id, name)]
        for name in made.data.metrics
    }
    assert shown == curves_of(run, "training_{}", "validation_{}")


def test_a_place_that_mlflow_cannot_use_is_refused(components: Registry) -> None:
    pytest.importorskip("mlflow")
    with pytest.raises(ConfigError, match="MLflow can't use nowhere://") as caught:
        components.get("logger", "mlflow").build(tracking_uri="nowhere://")
    assert "--set logger.mlflow.tracking_uri" in caught.value.remedy
