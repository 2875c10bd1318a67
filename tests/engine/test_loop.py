"""When a training reads the device, and what it says then; and steps whose operations are compiled."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cxrkit.config import RunConfig
from cxrkit.engine.checkpoint import load_state
from cxrkit.engine.loop import TrainingLoop
from cxrkit.engine.rehearsal import Rehearsal
from cxrkit.engine.run import RunDirectory
from cxrkit.engine.train import train
from cxrkit.errors import AnotherEndedError, ConfigError, TrainingError, TrainingInterruptedError
from cxrkit.interfaces import Loss
from cxrkit.readings import TrainingReading
from cxrkit.registry import Registry
from tests.engine.breaking import same_result

Tiny = Callable[..., RunConfig]
NewRun = Callable[..., RunDirectory]
Add = Callable[[str, str, object], None]


class NanFromThirdStep(Loss):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        self.calls += 1
        return (logits.sigmoid() - targets).square().mean() * (1 if self.calls < 3 else torch.nan)


@pytest.fixture
def loop(tiny: Tiny, components: Registry, add: Add) -> Callable[..., TrainingLoop]:
    """A loop on random films."""
    add("loss", "diverging", NanFromThirdStep)
    return lambda **overrides: Rehearsal(tiny(**overrides), components).loop


def test_a_divergence_between_two_looks_names_its_first_step(loop: Callable[..., TrainingLoop]) -> None:
    diverging = loop(loss="diverging")
    for _ in range(5):
        diverging.update()
    with pytest.raises(TrainingError, match=r"^Step 3 of .*: the loss is nan"):
        diverging.look(threading.Event())


@pytest.mark.parametrize(("mine", "theirs"), [("dice", "diverging"), ("diverging", "dice")])
def test_a_divergence_of_one_process_ends_all(loop: Callable[..., TrainingLoop], mine: str, theirs: str) -> None:
    this, other = loop(loss=mine), loop(loss=theirs)
    for one in (this, other):
        for _ in range(3):
            one.update()
    others = torch.cat([torch.stack(other.unread).double(), torch.zeros(3, 1)], dim=1)
    this.fabric = SimpleNamespace(  # type: ignore[assignment]
        world_size=2, device=torch.device("cpu"), all_reduce=lambda rows, reduce_op: (rows + others) / 2
    )
    with pytest.raises(TrainingError, match=r"^Step 3 of"):
        this.look(threading.Event())


@pytest.mark.parametrize(("processes", "step"), [(1, 1), (2, 3)])
def test_several_processes_stop_only_where_all_look(
    loop: Callable[..., TrainingLoop], monkeypatch: pytest.MonkeyPatch, processes: int, step: int
) -> None:
    """A Ctrl-C reaches them at different times; one that looked alone would wait for the others."""
    training, stop, looks = loop(train__validate_every=100, train__checkpoint_every=3), threading.Event(), list[int]()
    training.steps = 6
    training.fabric = SimpleNamespace(  # type: ignore[assignment]
        world_size=processes, is_global_zero=False, device=SimpleNamespace(type="cuda")
    )
    monkeypatch.setattr(training, "_any_failed", lambda mine: False)

    def look(asked: threading.Event) -> TrainingReading:
        looks.append(training.step)
        training.stopping = asked.is_set()
        return TrainingReading(training.step, loss=0.5, train_dsc=0.5, lr=1e-3, seconds=1.0)

    monkeypatch.setattr(training, "update", lambda: setattr(training, "step", training.step + 1))
    monkeypatch.setattr(training, "look", look)
    stop.set()
    with pytest.raises(TrainingInterruptedError, match=f"after step {step} of 6"):
        training.go(stop)
    assert looks == [step]


@pytest.mark.parametrize("flags", [0.0, 1.0])
def test_what_the_first_process_fails_at_ends_the_others(loop: Callable[..., TrainingLoop], flags: float) -> None:
    further, told = loop(), list[float]()
    further.fabric = SimpleNamespace(  # type: ignore[assignment]
        world_size=2,
        is_global_zero=False,
        device=torch.device("cpu"),
        all_reduce=lambda flag, reduce_op: (told.append(float(flag)), flag + flags)[1],
    )
    if flags:
        with pytest.raises(AnotherEndedError):
            further._validate()
    else:
        further._validate()
    assert told == [0.0]
    with pytest.raises(ZeroDivisionError), further._first_process_works():
        raise ZeroDivisionError
    assert told == [0.0, 1.0], "the others were told"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch compiles for the CPU with a C++ compiler")
def test_compiled_steps_are_the_ordinary_ones(new_run: NewRun, components: Registry) -> None:
    shallow = {"model__depth": 1, "train__steps": 2, "augment": ["mixup"]}
    eager, compiled = (new_run(mode, train__compile=mode, **shallow) for mode in ("off", "on"))
    for run in (eager, compiled):
        train(run, components)
    losses = [[r.loss for r in run.metrics() if isinstance(r, TrainingReading)] for run in (eager, compiled)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    states = [load_state(run.state_file).tensors for run in (eager, compiled)]
    assert states[0].keys() == states[1].keys(), "a compiled run continues without, and the other way round"


def test_without_a_gpu_auto_changes_nothing(new_run: NewRun, components: Registry) -> None:
    off, auto = (new_run(mode, train__compile=mode) for mode in ("off", "auto"))
    for run in (off, auto):
        train(run, components)
    same_result(off, auto)


def test_a_network_that_cannot_be_compiled_is_the_users_affair(
    new_run: NewRun, components: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._dynamo.exc import TorchDynamoException

    def without_compiler(network: nn.Module, **options: Any) -> nn.Module:
        def fail(module: nn.Module, given: Any) -> None:
            raise TorchDynamoException("No working C++ compiler found")

        network.register_forward_pre_hook(fail)
        return network

    monkeypatch.setattr(torch, "compile", without_compiler)
    with pytest.raises(ConfigError, match="can't be compiled here: No working C") as caught:
        train(new_run("run", train__compile="on"), components)
    assert "--compile auto or off" in caught.value.remedy
    run = new_run("other", train__compile="on")
    monkeypatch.setattr(components.get("model", "unet").target, "cannot_compile", "odd::one isn't known.")
    with pytest.raises(ConfigError, match=r"unet can't be compiled: odd::one isn't known\.\nUse --compile auto or off"):
        train(run, components)
