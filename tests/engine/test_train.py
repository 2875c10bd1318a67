from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Annotated

import numpy as np
import pytest
import torch
from pydantic import Field
from torch import Tensor, nn

from cxrkit.data.preprocess import input_levels, to_input
from cxrkit.data.store import Store
from cxrkit.data.stored_films import StoredFilms
from cxrkit.engine import batches
from cxrkit.engine.batches import FilmBatches
from cxrkit.engine.checkpoint import load_state
from cxrkit.engine.evaluate import evaluate_run
from cxrkit.engine.interrupts import stop_requests
from cxrkit.engine.run import RunDirectory
from cxrkit.engine.train import train
from cxrkit.errors import ConfigError, DataError, PluginError, StorageError, TrainingError, TrainingInterruptedError
from cxrkit.interfaces import Batch, Loss
from cxrkit.readings import TrainingReading, ValidationReading
from cxrkit.registry import Registry
from tests.engine.breaking import Killed, StopAt, die, same_result

NewRun = Callable[..., RunDirectory]


SETTINGS = {"augment": ["geometric", "intensity", "mixup"], "train__batch_size": 2}


@pytest.mark.parametrize(("killed_after", "precision"), [(1, "32"), (3, "bf16"), (4, "32"), (6, "32")])
def test_a_killed_run_ends_bit_equal_to_one_that_was_not(
    new_run: NewRun, components: Registry, killed_after: int, precision: str
) -> None:
    straight = new_run("straight", train__precision=precision, **SETTINGS)
    train(straight, components)
    broken = new_run("broken", train__precision=precision, **SETTINGS)
    with pytest.raises(Killed):
        train(broken, components, StopAt(killed_after, die))
    torch.rand(killed_after)  # a new process has another global generator
    train(broken, components)
    same_result(straight, broken)


def test_ctrl_c_saves_and_says_how_to_go_on(new_run: NewRun, components: Registry) -> None:
    straight, stopped = new_run("straight"), new_run("stopped")
    train(straight, components)
    with pytest.raises(TrainingInterruptedError, match="after step 3 of 6") as caught:
        train(stopped, components, StopAt(3, lambda: os.kill(os.getpid(), signal.SIGINT)))
    assert f"cxrkit train --resume {stopped.path}" in caught.value.remedy
    assert caught.value.exit_code == 130
    assert load_state(stopped.state_file).step == 3
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    train(stopped, components)
    same_result(straight, stopped)


@pytest.mark.slow
def test_kill_9_in_the_middle_and_resume(new_run: NewRun, components: Registry) -> None:
    loss = ["dice", {"name": "critic", "base_channels": 2, "network_steps": 2, "spectral_norm": True}]
    settings = {"loss": loss, "train__steps": 30, "train__checkpoint_every": 4}
    straight, killed = (new_run(name, **settings) for name in ("straight", "killed"))
    train(straight, components)
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nimport torch\ntorch.set_num_threads(1)\n"
        "from cxrkit.engine.run import RunDirectory\nfrom cxrkit.engine.train import train\n"
        "from cxrkit.files import atomic_path\n"
        "from cxrkit.plugins import registry\n"
        "class Kill:\n"
        "    def stage(self, name, total): self.name = name\n"
        "    def advance(self, done, note=''):\n"
        "        if self.name == 'Training' and done == 22:\n"
        "            with atomic_path(Path(sys.argv[1]) / 'checkpoints' / 'state.safetensors'):\n"
        "                os.kill(os.getpid(), signal.SIGKILL)\n"
        "    def say(self, message): pass\n"
        "train(RunDirectory.open(Path(sys.argv[1])), registry(), Kill())\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(killed.path)], check=False, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert load_state(killed.state_file).step == 20
    assert len([*killed.path.rglob(".*")]) == 1, "the state that was being written"
    train(killed, components)
    same_result(straight, killed)
    assert [*killed.path.rglob(".*")] == []


def test_a_finished_run_is_not_trained_again(new_run: NewRun, components: Registry) -> None:
    run = new_run("run")
    train(run, components)
    before = run.state_file.stat().st_mtime_ns
    train(run, components, StopAt(6, lambda: None))
    assert run.state_file.stat().st_mtime_ns == before


class Poisoned(Loss):
    """NaN once `after` losses have been computed."""

    def __init__(self, *, after: Annotated[int, Field(ge=0)] = 3, gradient_only: bool = False) -> None:
        super().__init__()
        self.after, self.gradient_only, self.calls = after, gradient_only, 0

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        self.calls += 1
        if self.calls <= self.after:
            return (logits.sigmoid() - targets).square().mean()
        if self.gradient_only:  # the root's slope at 0 is infinite
            return (logits - logits).sum().sqrt()
        return logits.sum() * math.nan


@pytest.mark.parametrize("gradient_only", [True, False])
def test_nan_stops_says_where_and_keeps_the_last_good_state(
    new_run: NewRun, components: Registry, add: Callable[..., None], gradient_only: bool
) -> None:
    add("loss", "poisoned", Poisoned)
    run = new_run("run", loss=[{"name": "poisoned", "gradient_only": gradient_only}])
    with pytest.raises(TrainingError, match=r"Step 4 of 6: .*poisoned.*last good state is kept") as caught:
        train(run, components)
    assert "--lr" in caught.value.remedy
    state = load_state(run.state_file)
    assert state.step == 2
    assert all(torch.isfinite(value).all() for value in state.tensors.values())


class Critic(Loss):
    """A loss with something of its own to train."""

    own_learning_rate = 1e-2

    def __init__(self) -> None:
        super().__init__()
        self.judge = nn.Linear(1, 1)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return (logits.sigmoid() - targets).square().mean() + 0.01 * self.judge(logits.mean().view(1)).sum()

    def own_loss(self, logits: Tensor, targets: Tensor, images: Tensor) -> Tensor:
        assert not logits.requires_grad
        assert images.shape[1] == 1
        return (self.judge(logits.mean().view(1)) - targets.mean()).square().sum()


def test_a_loss_trains_its_own_parameters_and_resumes(
    new_run: NewRun, components: Registry, add: Callable[..., None]
) -> None:
    add("loss", "judge", Critic)
    straight, broken = (new_run(name, loss=["judge", "dice"]) for name in ("straight", "broken"))
    train(straight, components)
    with pytest.raises(Killed):
        train(broken, components, StopAt(3, die))
    train(broken, components)
    same_result(straight, broken)
    trained = load_state(straight.state_file).tensors["loss.terms.0.judge.weight"]
    torch.manual_seed(0)
    assert not any(torch.equal(trained, Critic().judge.weight) for _ in range(2))


@pytest.mark.slow
def test_ten_films_are_learnt_by_heart(new_run: NewRun, components: Registry) -> None:
    run = new_run("run", train__steps=150, train__lr=1e-2, train__validate_every=150, model__base_channels=8)
    train(run, components)
    dsc = [reading.train_dsc for reading in run.metrics() if isinstance(reading, TrainingReading)]
    assert dsc[0] < 0.7
    assert dsc[-1] > 0.93


def test_protocol_paper_selects_on_the_test_films(new_run: NewRun, components: Registry) -> None:
    run = new_run("run", train__protocol="paper")
    films = train(run, components)
    assert films.split.validation == ()
    assert {reading.on for reading in run.metrics() if isinstance(reading, ValidationReading)} == {"test"}
    assert load_state(run.state_file).best is not None


def test_without_validation_nothing_is_selected(new_run: NewRun, components: Registry) -> None:
    run = new_run("run", split__validation=0)
    train(run, components)
    assert run.weights().stem == "last"
    with pytest.raises(DataError, match="no best weights"):
        run.weights("best")


def test_resuming_on_changed_films_is_refused(
    new_run: NewRun, components: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run("run")
    train(run, components)
    text = run.config_file.read_text()
    seed = "  seed: 0\n"
    assert seed in text
    run.config_file.write_text(text.replace(seed, "  seed: 5\n", 1))
    with pytest.raises(DataError, match="films have changed"):
        train(run, components)


def test_a_run_whose_plugin_is_gone_says_what_to_install(
    new_run: NewRun, components: Registry, add: Callable[..., None]
) -> None:
    add("loss", "judge", Critic)
    run = new_run("run", loss="judge", train__steps=2)
    train(run, components)
    record = run.provenance()
    run.save_provenance(record.model_copy(update={"plugins": {"cxrkit": "0", "their-package": "1.2"}}))
    without = Registry({key: value for key, value in components._components.items() if key != ("loss", "judge")})
    with pytest.raises(PluginError, match="no loss called 'judge'") as caught:
        train(run, without)
    assert caught.value.remedy == "Run: pip install their-package==1.2"
    assert evaluate_run(run, without)[0].films  # scoring needs no loss


def test_mixing_augments_come_last(new_run: NewRun, components: Registry) -> None:
    with pytest.raises(ConfigError, match="come last"):
        train(new_run("run", augment=["mixup", "geometric"]), components)


def test_running_out_of_memory_is_reported(new_run: NewRun, components: Registry, add: Callable[..., None]) -> None:
    def exhausted(**_: object) -> Loss:
        class Exhausted(Loss):
            def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
                raise torch.OutOfMemoryError("CUDA out of memory")

        return Exhausted()

    add("loss", "exhausted", exhausted)
    with pytest.raises(TrainingError, match="out of memory") as caught:
        train(new_run("run", loss="exhausted"), components)
    assert "--batch-size" in caught.value.remedy


def test_films_that_do_not_fit_in_memory_come_from_the_store(
    new_run: NewRun, components: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, streamed = new_run("held"), new_run("streamed")
    train(held, components)
    monkeypatch.setattr(batches, "_free_memory", lambda device: 0.0)
    train(streamed, components)
    same_result(held, streamed)


@pytest.mark.parametrize(("precision", "warned"), [("bf16", True), ("auto", False)])
def test_arithmetic_that_a_cpu_emulates_is_reported(
    new_run: NewRun, components: Registry, monkeypatch: pytest.MonkeyPatch, precision: str, warned: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    listener = StopAt(-1, lambda: None)
    train(new_run("run", train__precision=precision, train__steps=1), components, listener)
    assert any("emulates bf16" in message and "--precision 32" in message for message in listener.said) == warned


def test_epochs_are_an_alternative_to_steps(new_run: NewRun, components: Registry) -> None:
    run = new_run("run", train__epochs=2)  # 9 films, batch 2: 4 steps an epoch
    train(run, components)
    assert load_state(run.state_file).step == 8


def test_a_second_ctrl_c_acts_at_once() -> None:
    with stop_requests() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.is_set()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    seen: list[bool] = []

    def work() -> None:
        with stop_requests() as stop:
            seen.append(stop.is_set())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]


def test_batches_hold_what_the_sampler_chose(new_run: NewRun, components: Registry) -> None:
    run = new_run("run")
    films = train(run, components)
    indices = films.indices(films.split.train)
    for drawn in (len(indices) - 1, len(indices)):  # too few to read all films first, and enough
        chosen_batches = FilmBatches(films, indices, torch.device("cpu"), run.config(), drawn)
        assert (chosen_batches.resident is None) == (drawn < len(indices))
        batch = chosen_batches.take(torch.tensor([3, 0]))
        assert isinstance(batch, Batch)
        places = [chosen_batches.positions[3], chosen_batches.positions[0]]
        stored = films.store.batch(places, background=True, standardise=True)
        assert torch.equal(batch.images, stored.images)
        assert torch.equal(batch.targets, stored.targets)
        assert batch.known is None


def test_a_film_that_cannot_be_read_ahead_is_named_and_the_run_can_be_resumed(
    new_run: NewRun, components: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight, broken = new_run("straight"), new_run("broken")
    train(straight, components)
    monkeypatch.setattr(batches, "fits", lambda needed, device: False)
    films = Store.films

    def fail(store: Store, indices: list[int], **options: bool) -> StoredFilms:
        if len(read) == 5:
            store.path.write_bytes(b"")
        read.append(indices)
        return films(store, indices, **options)

    read: list[list[int]] = []
    with monkeypatch.context() as patched:
        patched.setattr(Store, "films", fail)
        with pytest.raises(StorageError, match="can no longer be read") as caught:
            train(broken, components)
    assert "--resume" in caught.value.remedy
    train(broken, components)
    same_result(straight, broken)


@pytest.mark.parametrize("standardise", [True, False])
def test_a_stores_films_become_what_preprocessing_says(standardise: bool) -> None:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 2**16, (3, 8, 8), dtype=np.uint16)
    pixels[2] = 300
    levels = np.array([input_levels(film, standardise=standardise) for film in pixels])
    films = StoredFilms(
        torch.from_numpy(pixels.view(np.int16)), torch.from_numpy(levels), torch.zeros(3, 0, 8, 8, dtype=torch.bool)
    )
    expected = np.stack([to_input(film, standardise=standardise) for film in pixels])
    assert np.array_equal(films.images().numpy(), expected)
