"""Updates and predictions on random films: that they are a training's, and what can't be rehearsed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from cxrkit.config import RunConfig
from cxrkit.engine import rehearsal as rehearsing
from cxrkit.engine.capture import CapturedPass
from cxrkit.engine.rehearsal import Rehearsal
from cxrkit.engine.trial import Trial
from cxrkit.errors import ConfigError, DataError, TrainingError
from cxrkit.interfaces import Loss, Model
from cxrkit.registry import Registry

Tiny = Callable[..., RunConfig]
Add = Callable[[str, str, object], None]


class Counted(Model):
    """A network whose cost is known: a 3 × 3 convolution of 1 to 8 channels, and a 1 × 1 one to the outputs."""

    def __init__(self, channels: Sequence[str]) -> None:
        super().__init__(channels)
        self.layers = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, len(channels), 1))
        self.fixed = nn.Parameter(torch.zeros(100), requires_grad=False)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers(images)
        return logits


class Attending(Model):
    """Attention over the pixels of a film that is pooled to 4 × 4, of 8 features in two heads."""

    def __init__(self, channels: Sequence[str]) -> None:
        super().__init__(channels)
        self.inward, self.outward = nn.Conv2d(1, 8, 1), nn.Conv2d(8, len(channels), 1)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, images: Tensor) -> Tensor:
        pixels = self.inward(nn.functional.adaptive_avg_pool2d(images, 4)).flatten(2).mT
        mixed = self.attention(pixels, pixels, pixels, need_weights=False)[0].mT.unflatten(2, (4, 4))
        return nn.functional.interpolate(self.outward(mixed), images.shape[-2:])


class Recurrent(Model):
    """An LSTM of 6 features that reads a film's 32 rows, and a 1 × 1 convolution to the outputs."""

    def __init__(self, channels: Sequence[str]) -> None:
        super().__init__(channels)
        self.reader, self.outward = nn.LSTM(32, 6, batch_first=True), nn.Conv2d(6, len(channels), 1)

    def forward(self, images: Tensor) -> Tensor:
        read = self.reader(images[:, 0])[0].mT.unsqueeze(3)
        return self.outward(read).expand(-1, -1, -1, images.shape[3])


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("standardise", [True, False])
def test_random_films_look_like_a_stores(tiny: Tiny, components: Registry, background: bool, standardise: bool) -> None:
    config = tiny(background=background, preprocess__standardise=standardise, augment=["mixup"])
    resident = Rehearsal(config, components).loop.batches.resident
    assert resident is not None
    batches = resident.batch(background=background)
    assert batches.images.shape == (4, 1, 32, 32), "two draws for each film of the batch"
    assert batches.targets.shape == (4, 4 if background else 3, 32, 32)
    assert batches.targets.unique().tolist() == [0, 1]
    assert batches.targets[:, :3].mean((0, 2, 3)).min() > 0.01, "every structure is somewhere"
    if background:
        assert torch.equal(batches.targets[:, 3], 1 - batches.targets[:, :3].amax(dim=1))
    assert batches.images.mean().item() == pytest.approx(0.0 if standardise else 0.5, abs=0.05)
    assert batches.images.std().item() == pytest.approx(1.0 if standardise else 12**-0.5, abs=0.05)


def test_an_update_is_one_of_the_training_and_a_prediction_changes_nothing(tiny: Tiny, components: Registry) -> None:
    rehearsal = Rehearsal(tiny(train__warmup=0), components)
    loop = rehearsal.loop
    weights = {name: value.clone() for name, value in loop.network.state_dict().items()}
    assert rehearsal.update() > 0
    assert any(not torch.equal(weights[name], value) for name, value in loop.network.state_dict().items())
    assert (loop.step, int(loop.average.n_averaged)) == (1, 1)
    for network in (loop.network, loop.average):
        before = {name: value.clone() for name, value in network.state_dict().items()}
        assert rehearsal.predict() > 0
        assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize(("precision", "ema"), [("32", 0.99), ("bf16", 0.99), ("bf16", 0.0)])
def test_a_prediction_is_of_the_network_that_is_kept_in_the_precision_of_the_training(
    tiny: Tiny, components: Registry, monkeypatch: pytest.MonkeyPatch, precision: str, ema: float
) -> None:
    rehearsal = Rehearsal(tiny(train__precision=precision, train__ema=ema), components)
    seen: list[tuple[nn.Module, bool, bool, torch.dtype]] = []

    def spy(network: nn.Module, images: Tensor, batch_size: int) -> None:
        assert (len(images), batch_size) == (1, 1)
        autocast = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")
        seen.append((network, network.training, *autocast))

    monkeypatch.setattr(rehearsing, "probabilities", spy)
    rehearsal.update()
    rehearsal.predict()
    kept = rehearsal.loop.average.module if ema else rehearsal.loop.network
    assert seen == [(kept, False, precision == "bf16", torch.bfloat16)]


def test_clocks_are_read_when_the_device_has_done_its_work(
    tiny: Tiny, components: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    rehearsal, calls = Rehearsal(tiny(), components), list[str]()

    def clock() -> float:
        calls.append("clock")
        return float(len(calls))

    monkeypatch.setattr(rehearsing, "synchronise", lambda device: calls.append("wait"))
    monkeypatch.setattr(rehearsing, "time", SimpleNamespace(perf_counter=clock))
    monkeypatch.setattr(rehearsing, "probabilities", lambda *given, **more: calls.append("predict"))
    monkeypatch.setattr(rehearsal.loop, "update", lambda: calls.append("update"))
    monkeypatch.setattr(rehearsal.loop, "look", lambda stop: calls.append("look"))
    assert rehearsal.update() == 3
    assert calls == ["wait", "clock", "update", "wait", "clock", "look"]
    calls.clear()
    assert rehearsal.predict() == 2
    assert calls == ["wait", "clock", "predict", "clock"]


def test_parameters_and_multiply_adds_are_those_on_paper(tiny: Tiny, components: Registry, add: Add) -> None:
    add("model", "counted", Counted)
    rehearsal = Rehearsal(tiny(model="counted"), components)
    assert rehearsal.parameters == (9 * 8 + 8) + (8 * 4 + 4)
    assert rehearsal.multiply_adds() == 32 * 32 * (9 * 8 + 8 * 4)


def test_the_peak_is_the_arms_own(tiny: Tiny, components: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    rehearsal, calls = Rehearsal(tiny(), components), list[str]()
    assert rehearsal.warm_up() is None, "a CPU keeps no account"
    assert rehearsal.loop.step > 0

    def peak(device: torch.device) -> int:
        calls.append("read")
        return 250

    rehearsal.device, rehearsal.held = torch.device("cuda"), 30
    monkeypatch.setattr(rehearsal, "update", lambda: calls.append("update"))
    monkeypatch.setattr(rehearsal, "predict", lambda: calls.append("predict"))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 100)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: calls.append("reset"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", peak)
    assert rehearsal.warm_up() == 250 - 70
    assert calls[:5] == ["update", "predict", "reset", "update", "read"], "before a step is recorded as a graph"
    assert calls[5:].count("update") >= CapturedPass.WARM_UP, "until it is recorded"


_QUERIES_KEYS_VALUES_OUTPUTS, _SCORES, _MIXING = 4 * 16 * 8 * 8, 16 * 16 * 8, 16 * 16 * 8
_GATES = 4 * 6 * (32 + 6)  # of an LSTM's step


@pytest.mark.parametrize("precision", ["32", "bf16"])
@pytest.mark.parametrize(
    ("network", "count"),
    [
        (Attending, 16 * 8 + _QUERIES_KEYS_VALUES_OUTPUTS + _SCORES + _MIXING + 16 * 8 * 4),
        (Recurrent, 32 * (_GATES + 6 * 4)),
    ],
)
def test_attention_and_recurrent_layers_are_counted(
    tiny: Tiny, components: Registry, add: Add, network: type[Model], count: int, precision: str
) -> None:
    add("model", "counted", network)
    settings = [torch.backends.mha.get_fastpath_enabled(), torch._C._get_mkldnn_enabled()]
    rehearsal = Rehearsal(tiny(model="counted", train__precision=precision), components)
    assert rehearsal.multiply_adds() == count
    assert [torch.backends.mha.get_fastpath_enabled(), torch._C._get_mkldnn_enabled()] == settings == [True, True]


@pytest.mark.parametrize(("size", "remedy"), [(34, "Use --size 32 or 36."), (18, "Use --size 16 or 20.")])
def test_a_size_that_would_be_padded_is_refused(tiny: Tiny, components: Registry, size: int, remedy: str) -> None:
    with pytest.raises(ConfigError, match=f"--size {size}: is not a multiple of 4") as caught:
        Rehearsal(tiny(preprocess__size=size), components)
    assert caught.value.remedy == remedy


def test_a_batch_too_small_to_be_normalised_is_reported(
    tiny: Tiny, components: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Five times halved, 32 × 32 pixels are one.
    config = tiny(model__depth=5, train__batch_size=1)
    with pytest.raises(ConfigError, match="single values"):
        Rehearsal(config, components)
    monkeypatch.setattr(Trial, "check", lambda *_: None)  # a network that can't be tried without data
    rehearsal = Rehearsal(config, components)
    with pytest.raises(ConfigError, match="single value") as caught:
        rehearsal.update()
    assert "--batch-size of at least 2" in caught.value.remedy


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    ],
)
def test_running_out_of_memory_is_reported(tiny: Tiny, components: Registry, add: Add, error: Exception) -> None:
    class Exhausted(Loss):
        def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
            raise error

    add("loss", "exhausted", Exhausted)
    with pytest.raises(TrainingError, match="isn't enough memory") as caught:
        Rehearsal(tiny(loss="exhausted"), components).update()
    assert "--batch-size" in caught.value.remedy


def test_a_components_own_failure_goes_through(tiny: Tiny, components: Registry, add: Add) -> None:
    class Broken(Loss):
        def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
            raise RuntimeError("size mismatch")

    add("loss", "broken", Broken)
    with pytest.raises(RuntimeError, match="size mismatch"):
        Rehearsal(tiny(loss="broken"), components).update()


def test_updates_that_diverge_are_reported(tiny: Tiny, components: Registry) -> None:
    rehearsal = Rehearsal(tiny(train__lr=1e30, train__warmup=0), components)
    rehearsal.update()  # the loss before the first step is finite yet
    with pytest.raises(TrainingError, match="not finite") as caught:
        rehearsal.update()
    assert "train.lr" in caught.value.remedy


def test_structures_are_asked_for_where_the_data_is_not_there(tiny: Tiny, components: Registry) -> None:
    elsewhere = {"name": "folder", "root": "nowhere"}
    with pytest.raises(DataError, match="without the data") as caught:
        Rehearsal(tiny(data=elsewhere), components)
    assert "--set 'structures=" in caught.value.remedy
    assert caught.value.remedy.endswith("Or: Check the path: --set data.root=DIR.")
    named = Rehearsal(tiny(data=elsewhere, structures=["left_lung", "heart"]), components)
    assert named.loop.films.channels == ("left_lung", "heart", "background")


def test_several_devices_are_refused(tiny: Tiny, components: Registry) -> None:
    with pytest.raises(ConfigError, match="Several devices"):
        Rehearsal(tiny(train__devices=2), components)


def test_a_run_of_several_devices_can_be_measured_on_one(tiny: Tiny, components: Registry) -> None:
    assert Rehearsal(tiny(train__strategy="ddp"), components).update() > 0
