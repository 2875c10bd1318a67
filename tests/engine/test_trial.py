"""What a network can't be given is refused before the first step, with what it can."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from cxrkit.engine.run import RunDirectory
from cxrkit.engine.train import train
from cxrkit.engine.trial import Trial
from cxrkit.errors import ConfigError
from cxrkit.interfaces import Model, SideOutputs
from cxrkit.registry import Registry

NewRun = Callable[..., RunDirectory]


def unet(components: Registry, norm: str) -> Model:
    model = components.get("model", "unet").build(("heart",), base_channels=4, depth=4, norm=norm)
    assert isinstance(model, Model)
    return model


@pytest.mark.parametrize(
    ("norm", "films", "remedy"),
    [
        ("batch", 1, "Use at least --size 32 or --batch-size 2."),
        ("instance", 1, "Use at least --size 32."),
        ("instance", 2, "Use at least --size 32."),
    ],
)
def test_single_values_are_not_normalised(components: Registry, norm: str, films: int, remedy: str) -> None:
    trial = Trial(unet(components, norm), "unet")
    with pytest.raises(ConfigError, match=r"norm encoder\.4\.1 would normalise single values") as caught:
        trial.check(films, 16)
    assert caught.value.remedy == remedy
    trial.check(films, 32)


def test_what_can_be_normalised_is_not_refused(components: Registry) -> None:
    Trial(unet(components, "batch"), "unet").check(2, 16)
    Trial(unet(components, "group"), "unet").check(1, 16)


def test_films_that_would_be_padding_for_the_most_part_are_refused(components: Registry) -> None:
    trial = Trial(components.get("model", "unetpp").build(("heart",), base_channels=2, depth=5), "unetpp")
    with pytest.raises(ConfigError, match="22x22 pixels are too small: they are padded to 32x32") as caught:
        trial.check(2, 22)
    assert "--size 32" in caught.value.remedy
    for size in (23, 30, 33):
        trial.check(2, size)


def test_a_batch_of_several_processes_is_that_of_all(components: Registry) -> None:
    with pytest.raises(ConfigError) as caught:
        Trial(unet(components, "batch"), "unet").check(1, 16, processes=3)
    assert "--batch-size 6" in caught.value.remedy


def test_it_is_refused_before_anything_is_written(new_run: NewRun, components: Registry) -> None:
    run = new_run("run", preprocess__size=16, model__depth=4, train__batch_size=1)
    with pytest.raises(ConfigError, match="single values"):
        train(run, components)
    assert not (run.path / "metrics.jsonl").exists()


class OnlyOneSize(Model):
    """Has a position embedding of 24x24 pixels."""

    def __init__(self, channels: tuple[str, ...]) -> None:
        super().__init__(channels)
        self.conv = nn.Conv2d(1, len(channels), 1)
        self.embedding = nn.Parameter(torch.zeros(1, 1, 24, 24))
        self.spare = nn.Linear(1, 1)

    def forward(self, images: Tensor) -> Tensor | SideOutputs:
        logits: Tensor = self.conv(images + self.embedding)
        return logits


def test_weights_of_side_outputs_need_some(new_run: NewRun, components: Registry) -> None:
    run = new_run("run", loss={"name": "dice", "side_weight": 0.5})
    with pytest.raises(ConfigError, match="model 'unet' has no side outputs"):
        train(run, components)
    assert not (run.path / "metrics.jsonl").exists()
    assert not Trial(components.get("model", "unetpp").build(("heart",), base_channels=2), "unetpp").lacks_sides(2, 16)


def test_a_size_that_a_network_does_not_take_is_told_with_one_that_it_does() -> None:
    with pytest.raises(ConfigError, match="doesn't take films of 32x32") as caught:
        Trial(OnlyOneSize(("heart",)), "only-one").check(2, 32)
    assert caught.value.remedy == "Use --size 24."


class Reading(OnlyOneSize):
    """Decides by a value, so that it can't be tried without data."""

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.conv(images)
        return logits if float(images.mean()) < 100 else -logits


def test_a_network_that_cannot_be_tried_is_taken() -> None:
    trial = Trial(Reading(("heart",)), "reading")
    trial.check(2, 32)
    assert trial.leaves_unused(2, 32), "nobody knows"


def test_parameters_that_a_step_does_not_use_are_found(components: Registry) -> None:
    network = OnlyOneSize(("heart",))
    before = torch.get_rng_state()
    assert Trial(network, "only-one").leaves_unused(2, 24)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(value.grad is None and not value.is_meta for value in network.parameters())
    assert not Trial(unet(components, "batch"), "unet").leaves_unused(2, 16)
