"""`train --init`: what fits of other weights is taken, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cxrkit.engine.checkpoint import load_tensors, save_network
from cxrkit.engine.run import RunDirectory
from cxrkit.engine.starting import begin_with, read_start
from cxrkit.engine.train import train
from cxrkit.errors import ConfigError, DataError
from cxrkit.registry import Registry
from tests.engine.breaking import Killed, StopAt, die, same_result

NewRun = Callable[..., RunDirectory]
LUNGS_HEART = ["left_lung", "right_lung", "heart"]


class Heard:
    """An observer that keeps what it hears."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def stage(self, name: str, total: int) -> None: ...

    def advance(self, done: int, note: str = "") -> None: ...

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def begun(new_run: NewRun, components: Registry) -> RunDirectory:
    run = new_run("begun", structures=LUNGS_HEART, train__steps=2)
    train(run, components)
    return run


def start_of(given: RunDirectory | str, registry: Registry, *channels: str, model: str = "unet", **parameters: int):
    """A network of these channels before and after it began with other weights, and what was said of it."""
    component = registry.get("model", model)
    parameters = parameters or {"base_channels": 4, "depth": 2}
    network = component.build(channels, **parameters)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    path = given if isinstance(given, str) else str(given.path)
    said = begin_with(read_start(path, registry), network, component, parameters)
    return before, network.state_dict(), said


def test_a_network_of_the_same_channels_takes_everything(begun: RunDirectory, components: Registry) -> None:
    _, after, said = start_of(begun, components, *LUNGS_HEART, "background")
    saved, _ = load_tensors(begun.weights())
    assert all(torch.equal(after[name], saved[name]) for name in saved)
    assert "100.0 %" in said
    assert "afresh" not in said


def test_a_head_takes_the_channels_that_both_have_by_name(begun: RunDirectory, components: Registry) -> None:
    """The same number of channels, other structures in another order: a head of the same shape that doesn't fit."""
    before, after, said = start_of(begun, components, "heart", "left_clavicle", "right_lung", "background")
    saved, card = load_tensors(begun.weights())
    heads = [name for name in saved if saved[name].shape[:1] == (4,) and "head" in name]
    assert heads
    for name in heads:
        theirs = saved[name]
        for row, channel in enumerate(("heart", None, "right_lung", "background")):
            expected = before[name][row] if channel is None else theirs[card.channels.index(channel)]
            assert torch.equal(after[name][row], expected)
    body = [name for name in saved if name not in heads]
    assert all(torch.equal(after[name], saved[name]) for name in body)
    assert "taken for heart, right_lung, background; it begins afresh for left_clavicle" in said


def test_another_depth_takes_what_fits_and_names_the_rest(begun: RunDirectory, components: Registry) -> None:
    before, after, said = start_of(begun, components, *LUNGS_HEART, "background", base_channels=4, depth=3)
    saved, _ = load_tensors(begun.weights())
    fits = {name for name in after if name in saved and saved[name].shape == after[name].shape}
    assert 0 < len(fits) < len(after)
    assert all(torch.equal(after[name], saved[name] if name in fits else before[name]) for name in after)
    assert "afresh begin" in said


def test_weights_that_fit_nothing_are_refused(begun: RunDirectory, components: Registry) -> None:
    with pytest.raises(ConfigError, match="nothing of these weights of unet fits unet") as caught:
        start_of(begun, components, *LUNGS_HEART, "background", base_channels=6, depth=2)
    assert "--model unet --set model.base_channels=4 --set model.depth=" in caught.value.remedy


def test_training_begins_with_them_and_records_it(begun: RunDirectory, new_run: NewRun, components: Registry) -> None:
    settings = {"structures": LUNGS_HEART, "train__init": str(begun.path), "train__steps": 1, "train__lr": 1e-12}
    run, heard = new_run("next", **settings), Heard()
    train(run, components, heard)  # type: ignore[arg-type]
    saved, mine = load_tensors(begun.weights())[0], load_tensors(run.weights("last"))[0]
    learnt = [name for name in saved if "running" not in name and "num_batches" not in name]
    assert all(torch.allclose(mine[name], saved[name], atol=1e-6) for name in learnt)
    assert any("100.0 % of the weights are taken" in text for text in heard.said)
    record = run.provenance().init
    assert record is not None
    assert (record.file, record.step) == (str(begun.weights()), 2)
    assert run.config().train.init == str(begun.path)


def test_test_films_that_the_first_training_saw_are_reported(
    begun: RunDirectory, new_run: NewRun, components: Registry
) -> None:
    run, heard = new_run("next", structures=LUNGS_HEART, train__init=str(begun.path), seed=5, train__steps=1), Heard()
    train(run, components, heard)  # type: ignore[arg-type]
    assert any("of the 3 test films trained or chose the weights of --init" in text for text in heard.said)


def test_a_killed_run_continues_without_the_weights(begun: RunDirectory, new_run: NewRun, components: Registry) -> None:
    settings = {"structures": LUNGS_HEART, "train__init": str(begun.path)}
    straight, broken = new_run("straight", **settings), new_run("broken", **settings)
    train(straight, components)
    with pytest.raises(Killed):
        train(broken, components, StopAt(3, die))
    begun.path.rename(begun.path.with_name("elsewhere"))
    train(broken, components)
    same_result(straight, broken)


def test_a_run_that_saved_nothing_begins_with_the_same_weights_or_not_at_all(
    begun: RunDirectory, new_run: NewRun, components: Registry
) -> None:
    run = new_run("next", structures=LUNGS_HEART, train__init=str(begun.path))
    with pytest.raises(Killed):
        train(run, components, StopAt(1, die))
    tensors, card = load_tensors(begun.weights())
    save_network(begun.weights(), tensors, card.model_copy(update={"step": 9}))
    with pytest.raises(DataError, match=r"the weights of --init .* have changed"):
        train(run, components)


def test_weights_that_are_not_there_are_named(tmp_path: Path, components: Registry) -> None:
    onnx = tmp_path / "network.onnx"
    onnx.write_bytes(b"x")
    for given, message in {
        str(tmp_path / "file.safetensors"): "there is no such file",
        "lung-hearts": "there is no such run or file, and no weights of that name",
        str(onnx): "a .onnx file can't be trained on",
    }.items():
        with pytest.raises((ConfigError, DataError), match=message):
            read_start(given, components)
