"""A training state belongs to its run, and a damaged one is an error for the user."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from cxrkit.config import make_config, resolve
from cxrkit.engine.checkpoint import load_network, load_state
from cxrkit.engine.run import RunDirectory
from cxrkit.engine.train import train
from cxrkit.errors import DataError
from cxrkit.plugins import load_plugins
from cxrkit.registry import Registry
from tests.engine.breaking import Killed, StopAt, die, same_result
from tests.engine.conftest import TINY

NewRun = Callable[..., RunDirectory]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed after the third of four steps; its state is that of the second."""
    registry = load_plugins().registry
    config = make_config(TINY, overrides={"train.steps": 4})
    run = RunDirectory.create(tmp_path_factory.mktemp("state") / "run", resolve(config, registry))
    with pytest.raises(Killed):
        train(run, registry, StopAt(3, die))
    return run.path


@pytest.fixture
def stopped(trained: Path, tmp_path: Path) -> RunDirectory:
    """The same run in a folder of its own."""
    return RunDirectory(shutil.copytree(trained, tmp_path / "run"))


def rewrite(file: Path, change: Callable[[dict[str, Tensor], dict[str, Any]], object]) -> None:
    """Change a state's tensors and what it says of itself, as if it had been written so: without a checksum."""
    with safe_open(file, framework="pt") as opened:
        card = json.loads((opened.metadata() or {})["cxrkit"])
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    del card["checksum"]
    change(tensors, card)
    save_file(tensors, file, metadata={"cxrkit": json.dumps(card)})


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"seed": 1}, "settings.seed: 1 there, 0 here"),
        ({"train__steps": 8, "loss": "bce"}, "settings.train.steps: 8 there, 4 here"),
        ({"data__count": 15}, "films.fingerprint"),
    ],
)
def test_the_state_of_another_run_is_refused(
    stopped: RunDirectory, new_run: NewRun, components: Registry, changed: Mapping[str, Any], named: str
) -> None:
    other = new_run("other", **{"train__steps": 4} | dict(changed))
    with pytest.raises(Killed):
        train(other, components, StopAt(3, die))
    shutil.copy(other.state_file, stopped.state_file)
    with pytest.raises(DataError, match="another run") as caught:
        train(stopped, components)
    assert named in caught.value.what
    assert "begin the run again" in caught.value.remedy


def test_a_run_that_moved_and_a_state_without_identity_go_on(new_run: NewRun, components: Registry) -> None:
    straight, cut = new_run("straight"), new_run("cut")
    train(straight, components)
    with pytest.raises(Killed):
        train(cut, components, StopAt(3, die))
    moved = RunDirectory(cut.path.rename(cut.path.parent / "moved"))
    rewrite(moved.state_file, lambda tensors, card: card.pop("identity"))
    train(moved, components)
    same_result(straight, moved)


@pytest.mark.parametrize("at", [0.2, 0.5, 0.99])
def test_a_flipped_byte_is_found(stopped: RunDirectory, at: float) -> None:
    content = bytearray(stopped.state_file.read_bytes())
    content[int(at * len(content))] ^= 1
    stopped.state_file.write_bytes(content)
    with pytest.raises(DataError, match=r"state\.safetensors"):
        load_state(stopped.state_file)


def without(name: str) -> Callable[[dict[str, Tensor], dict[str, Any]], object]:
    return lambda tensors, card: tensors.pop(next(key for key in tensors if name in key))


def replaced(name: str, by: Callable[[Tensor], Tensor]) -> Callable[[dict[str, Tensor], dict[str, Any]], object]:
    def change(tensors: dict[str, Tensor], card: dict[str, Any]) -> None:
        key = next(key for key in tensors if name in key)
        tensors[key] = by(tensors[key])

    return change


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors, card: tensors.clear(),
        lambda tensors, card: tensors.update({"strange.w": torch.zeros(1)}),
        lambda tensors, card: tensors.update({"optimizer.x.step": torch.zeros(())}),
        lambda tensors, card: tensors.update({"optimizer.999.step": torch.zeros(())}),
        lambda tensors, card: card.update(step=-1),
        lambda tensors, card: card.update(step="many"),
        lambda tensors, card: card.update(best=[1]),
        lambda tensors, card: card.update(best={"a": 1}),
        lambda tensors, card: card.update(identity=3),
        without("network."),
        without("exp_avg"),
        replaced("network.", lambda value: value[:1]),
        replaced("network.", lambda value: value.to(torch.int64)),
        replaced("exp_avg", lambda value: value.reshape(-1)[:1].clone()),
        replaced("average.", lambda value: value > 0),
    ],
)
def test_what_does_not_fit_is_told(
    stopped: RunDirectory, components: Registry, change: Callable[[dict[str, Tensor], dict[str, Any]], object]
) -> None:
    rewrite(stopped.state_file, change)
    with pytest.raises(DataError, match=r"state\.safetensors: (not a|the) training state") as caught:
        train(stopped, components)
    assert "begin the run again" in caught.value.remedy


@pytest.mark.parametrize(
    "kind", [torch.bool, torch.int64, torch.uint8, torch.complex64, torch.float8_e4m3fn, torch.int16]
)
def test_weights_of_another_kind_of_number_are_refused(
    stopped: RunDirectory, components: Registry, kind: torch.dtype
) -> None:
    file = stopped.weights("last")
    with safe_open(file, framework="pt") as opened:
        metadata, tensors = opened.metadata(), {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    name = next(name for name in tensors if name.endswith("weight"))
    save_file(tensors | {name: tensors[name].to(kind)}, file, metadata=metadata)
    with pytest.raises(DataError, match=name):
        load_network(file, components)
    save_file(tensors | {name: tensors[name].half()}, file, metadata=metadata)
    assert load_network(file, components)
