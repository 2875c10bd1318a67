"""Training on a CUDA device: what it computes doesn't depend on how its operations are launched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from cxrkit.config import RunConfig
    from cxrkit.engine.run import RunDirectory

pytestmark = pytest.mark.cuda
Tiny = Callable[..., "RunConfig"]

AUGMENTS: dict[str, list[str]] = {"none": [], "mixup": ["mixup"], "all": ["geometric", "intensity", "mixup"]}


@contextmanager
def one_way_of_computing() -> Iterator[None]:
    """Let convolutions give the same in each run, and in full float32."""
    import torch

    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield


def train(folder: Path, config: RunConfig, observer: Any = None) -> RunDirectory:
    """Train a run, or continue with it."""
    from cxrkit.engine.run import RunDirectory
    from cxrkit.engine.train import train as run_training
    from cxrkit.plugins import registry

    run = RunDirectory.open(folder) if folder.is_dir() else RunDirectory.create(folder, config)
    with one_way_of_computing():
        run_training(run, registry(), observer)
    return run


def losses(run: RunDirectory) -> list[float]:
    records = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    return [record["loss"] for record in records if "loss" in record]


def difference(one: RunDirectory, other: RunDirectory) -> float:
    """The last weights' distance in relation to their length."""
    from safetensors.torch import load_file

    a, b = (load_file(run.path / "checkpoints" / "last.safetensors") for run in (one, other))
    numbers = [name for name in a if a[name].is_floating_point()]
    apart = sum(float(((a[name].double() - b[name].double()) ** 2).sum()) for name in numbers)
    length = sum(float((a[name].double() ** 2).sum()) for name in numbers)
    return (apart / length) ** 0.5


def test_a_run_trains_in_bf16_and_is_scored(tmp_path: Path, tiny: Tiny) -> None:
    from cxrkit import api

    trained = api.train(tiny(train__precision="auto", train__steps=60, train__lr=3e-3), out=tmp_path / "run")
    provenance = json.loads((trained.path / "provenance.json").read_text())
    assert provenance["precision"] == "bf16"
    assert trained.evaluation is not None
    assert len(trained.evaluation.films) == 3
    assert trained.evaluation.paper("dsc").mean() > 0.5


def test_bf16_is_near_float32(tmp_path: Path, tiny: Tiny) -> None:
    single, half = (train(tmp_path / p, tiny(train__precision=p)) for p in ("32", "bf16"))
    assert losses(half) == pytest.approx(losses(single), rel=0.05)


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_a_recorded_or_compiled_step_is_the_ordinary_one(tmp_path: Path, tiny: Tiny, mode: str) -> None:
    eager, other = (train(tmp_path / m, tiny(train__compile=m, augment=["mixup"])) for m in ("off", mode))
    assert losses(other) == pytest.approx(losses(eager), rel=1e-3)
    assert difference(eager, other) < 5e-3


def test_a_step_with_unknown_masks_is_never_a_recorded_one(
    tmp_path: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from cxrkit_plugins.datasets.phantom import PhantomDataset

    plain = PhantomDataset.entries
    labels = (None, ("left_lung", "right_lung"))
    monkeypatch.setattr(
        PhantomDataset,
        "entries",
        lambda self: [replace(entry, labelled=labels[n % 2]) for n, entry in enumerate(plain(self))],
    )
    eager, other = (train(tmp_path / m, tiny(train__compile=m, augment=["mixup"])) for m in ("off", "auto"))
    assert losses(other) == pytest.approx(losses(eager), rel=1e-3)
    assert difference(eager, other) < 5e-3


@pytest.mark.parametrize("mode", ["off", "auto"])
def test_a_run_that_was_killed_continues_as_if_it_had_not_been(tmp_path: Path, tiny: Tiny, mode: str) -> None:
    from cxrkit.engine.observer import Silent

    class Killing(Silent):
        def advance(self, done: int, note: str = "") -> None:
            if done == 6:  # the last state was saved after step 4
                raise MemoryError("killed")

    config = tiny(train__compile=mode, augment=["mixup"], train__validate_every=100)
    unbroken = train(tmp_path / "unbroken", config)
    with pytest.raises(MemoryError, match="killed"):
        train(tmp_path / "killed", config, Killing())
    resumed = train(tmp_path / "killed", config)
    assert losses(resumed) == pytest.approx(losses(unbroken), rel=1e-3)
    assert difference(unbroken, resumed) < 5e-3


def test_the_same_run_twice_is_the_same(tmp_path: Path, tiny: Tiny) -> None:
    one, other = (train(tmp_path / name, tiny(augment=["mixup"])) for name in ("one", "other"))
    assert difference(one, other) < 1e-4


@pytest.mark.parametrize("mode", ["off", "auto"])
@pytest.mark.parametrize(
    ("model", "augments"),
    [("unet", "none"), ("unet", "mixup"), ("unet", "all"), ("attn-bcdu", "mixup"), ("attn-unet", "none")],
)
def test_no_update_waits_for_the_device(tiny: Tiny, mode: str, model: str, augments: str) -> None:
    import threading

    import torch

    from cxrkit.engine.capture import CapturedPass
    from cxrkit.engine.rehearsal import Rehearsal
    from cxrkit.plugins import registry

    network = {"name": model, "base_channels": 8, "depth": 2}
    config = tiny(model=network, train__compile=mode, train__precision="bf16", augment=AUGMENTS[augments])
    loop = Rehearsal(config, registry()).loop
    for _ in range(6):  # whatever is recorded is so by then
        loop.update()
    loop.look(threading.Event())
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            loop.update()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    loop.look(threading.Event())
    if mode == "auto":
        assert isinstance(loop.forward_backward, CapturedPass)
        assert loop.forward_backward.graph is not None, "the step was recorded"


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_a_loss_that_reads_the_device_is_not_recorded(tmp_path: Path, tiny: Tiny, mode: str) -> None:
    from torch import Tensor

    from cxrkit.config import LossConfig
    from cxrkit.engine.observer import Silent
    from cxrkit.errors import ConfigError
    from cxrkit.interfaces import Loss
    from cxrkit.plugins import registry
    from cxrkit.registry import Component, Registry

    class Reading(Loss):
        capturable = True  # which isn't so

        def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
            return (logits.sigmoid() - targets).square().mean() * (1 + logits.mean().item() ** 2)

    class Listening(Silent):
        def __init__(self) -> None:
            self.messages: list[str] = []

        def say(self, message: str) -> None:
            self.messages.append(message)

    mine = Registry()
    for component in [c for kind in ("model", "dataset", "augment") for c in registry().components(kind)]:
        mine.add(component)
    mine.add(Component("loss", "reading", Reading, "reads", "tests", "1"))
    config, listener = tiny(train__compile=mode).model_copy(update={"loss": [LossConfig(name="reading")]}), Listening()
    from cxrkit.engine.run import RunDirectory
    from cxrkit.engine.train import train as run_training

    run = RunDirectory.create(tmp_path / "run", config)
    if mode == "on":
        with pytest.raises(ConfigError, match="--compile on"):
            run_training(run, mine, listener)
    else:
        run_training(run, mine, listener)
        assert len(losses(run)) == 2
        assert any("recorded" in message for message in listener.messages)


def test_a_divergence_names_the_step_at_which_it_began(tmp_path: Path, tiny: Tiny) -> None:
    from cxrkit.errors import TrainingError

    config = tiny(train__lr=1e30, train__clip_norm=None, train__validate_every=100, train__checkpoint_every=100)
    with pytest.raises(TrainingError, match=r"^Step [2-9] of 12"):
        train(tmp_path / "run", config)


def test_every_network_and_augment_trains(tiny: Tiny) -> None:
    import threading

    from cxrkit.engine.rehearsal import Rehearsal
    from cxrkit.plugins import registry

    components = registry()
    small: dict[str, dict[str, Any]] = {"smp": {}, "attn-bcdu": {"base_channels": 8, "depth": 2}}
    for component in components.components("model"):
        params = small.get(component.name, {"base_channels": 8, "depth": 2})
        config = tiny(model={"name": component.name} | params, train__precision="bf16", augment=AUGMENTS["all"])
        rehearsal = Rehearsal(config, components)
        for _ in range(5):
            rehearsal.loop.update()
        assert rehearsal.loop.look(threading.Event()).loss < 10, component.name


def command(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    small = """--set model.base_channels=8 --set model.depth=2 --loss dice --data phantom --set data.count=14
        --set data.size=64 --set preprocess.size=64 --test-size 3 --validation 2 --steps 4
        --set train.batch_size=2 --set train.device=cuda --quiet"""
    return subprocess.run(
        [sys.executable, "-m", "cxrkit", *flags, *small.split()],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_one_process_trains_as_several_would(tmp_path: Path) -> None:
    done = command(tmp_path, "train", "--model", "unet", "--set", "train.strategy=ddp", "--out", "run")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "evaluation" / "test-best.json").is_file()


def test_more_devices_than_there_are(tmp_path: Path) -> None:
    import torch

    count = torch.cuda.device_count()
    done = command(tmp_path, "train", "--model", "unet", "--devices", str(count + 1), "--out", "run")
    assert done.returncode != 0
    assert f"this machine has {count} CUDA devices" in " ".join(done.stderr.split())


def test_runs_share_a_device(tmp_path: Path) -> None:
    done = command(
        tmp_path, "ablate", "--model", "unet", "--mixup", "0,0.2", "--set", "launcher.per_gpu=2", "--out", "ablation"
    )
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "ablation").rglob("test-best.json"))) == 2
