"""The model suite passes a plain network and finds each fault, by the right check and in words that help."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import numpy as np
import pytest
import torch
from pydantic import Field
from torch import Tensor, nn

from cxrkit.errors import ContractError, PluginError
from cxrkit.interfaces import Model, SideOutputs
from cxrkit.registry import Component
from cxrkit.testing import ConformanceError, check_loss, check_model, models

Judge = Callable[..., dict[str, str]]


class Good(Model):
    """Two convolutions at half resolution, with batch norm."""

    size_multiple = 2

    def __init__(
        self, channels: Sequence[str], *, width: Annotated[int, Field(ge=1, description="feature channels")] = 4
    ) -> None:
        super().__init__(channels)
        self.down = nn.Conv2d(1, width, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.up = nn.ConvTranspose2d(width, len(channels), 2, stride=2)

    def forward(self, images: Tensor) -> Any:
        return self.up(torch.relu(self.norm(self.down(images))))


def test_a_plain_network_passes(failures: Judge) -> None:
    assert failures("model", Good) == {}


class Supervised(Good):
    """With deep supervision."""

    def __init__(self, channels: Sequence[str]) -> None:
        super().__init__(channels)
        self.side = nn.Conv2d(4, len(channels), 1)

    def forward(self, images: Tensor) -> Any:
        features = torch.relu(self.norm(self.down(images)))
        return SideOutputs(self.up(features), (self.side(features),)) if self.training else self.up(features)


class InstanceNormalised(Good):
    """Deep enough that instance norm meets few pixels."""

    size_multiple = 16

    def __init__(self, channels: Sequence[str]) -> None:
        super().__init__(channels)
        self.deep = nn.Conv2d(4, 4, 3, stride=8, padding=1)
        self.normed = nn.InstanceNorm2d(4)
        self.back = nn.ConvTranspose2d(4, 4, 8, stride=8)

    def forward(self, images: Tensor) -> Any:
        features = torch.relu(self.norm(self.down(images)))
        return self.up(features + self.back(self.normed(self.deep(features))))


@pytest.mark.parametrize("network", [Supervised, InstanceNormalised])
def test_other_sound_networks_pass(failures: Judge, network: type[Model]) -> None:
    assert failures("model", network) == {}


class ZeroScores(Good):
    """Starts from zero scores, as FCN does, so that at first no gradient reaches what is below."""

    def __init__(self, channels: Sequence[str]) -> None:
        super().__init__(channels)
        nn.init.zeros_(self.up.weight)


class NarrowAndBiased(Good):
    """Has one hidden unit, whose ReLU is dead for half of all films, and a bias that the normalisation takes away."""

    def __init__(self, channels: Sequence[str]) -> None:
        super().__init__(channels)
        self.down = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.weigh = nn.Sequential(nn.Linear(4, 1, bias=False), nn.ReLU(), nn.Linear(1, 4, bias=False), nn.Sigmoid())

    def forward(self, images: Tensor) -> Any:
        features = torch.relu(self.norm(self.down(images)))
        return self.up(features * self.weigh(features.mean((2, 3)))[:, :, None, None])


class Gated(Good):
    """Lets in a branch by a factor that starts at zero (ReZero)."""

    def __init__(self, channels: Sequence[str]) -> None:
        super().__init__(channels)
        self.branch = nn.Conv2d(4, 4, 1)
        self.factor = nn.Parameter(torch.zeros(1))

    def forward(self, images: Tensor) -> Any:
        features = torch.relu(self.norm(self.down(images)))
        return self.up(features + self.factor * self.branch(features))


@pytest.mark.parametrize("network", [ZeroScores, NarrowAndBiased, Gated])
def test_gradients_that_are_zero_at_first_only_are_no_fault(
    failures: Judge, monkeypatch: pytest.MonkeyPatch, network: type[Model]
) -> None:
    monkeypatch.setattr(models, "CHECKS", (models.gradients_reach_every_parameter,))
    assert failures("model", network) == {}


class ForgetsChannels(Good):
    """Doesn't pass its channels on."""

    def __init__(self, channels: Sequence[str]) -> None:
        super().__init__(channels)
        self.channels = ("mask",)


class OddMultiple(Good):
    """Says a size multiple that is no whole number."""

    size_multiple = 2.0  # type: ignore[assignment]


class Small(Good):
    """Returns logits at half the images' size."""

    def forward(self, images: Tensor) -> Any:
        return super().forward(images)[..., ::2, ::2]


class SidesAlways(Supervised):
    """Returns side outputs in evaluation too."""

    def forward(self, images: Tensor) -> Any:
        features = torch.relu(self.norm(self.down(images)))
        return SideOutputs(self.up(features), (self.side(features),))


class OneSide(Supervised):
    """Gives its side head one channel."""

    def forward(self, images: Tensor) -> Any:
        output = super().forward(images)
        return SideOutputs(output.main, (output.sides[0].sum(1, keepdim=True),)) if self.training else output


class Probabilities(Good):
    """Ends in a sigmoid."""

    def forward(self, images: Tensor) -> Any:
        return super().forward(images).sigmoid()


class Positive(Good):
    """Ends in a ReLU."""

    def forward(self, images: Tensor) -> Any:
        return super().forward(images).relu()


class LogProbabilities(Good):
    """Ends in a log-softmax."""

    def forward(self, images: Tensor) -> Any:
        return super().forward(images).log_softmax(1)


class Unused(Good):
    """Has a layer that nothing uses."""

    def __init__(self, channels: Sequence[str]) -> None:
        super().__init__(channels)
        self.forgotten = nn.Conv2d(1, 1, 1)


class TimesZero(Gated):
    """Multiplies a branch by a zero that never changes."""

    def forward(self, images: Tensor) -> Any:
        features = torch.relu(self.norm(self.down(images)))
        return self.up(features + 0 * self.factor * self.branch(features))


class Clipped(Good):
    """Clips what a layer gives to a range that it never reaches."""

    def __init__(self, channels: Sequence[str]) -> None:
        super().__init__(channels)
        self.shift = nn.Parameter(torch.zeros(4, 1, 1))

    def forward(self, images: Tensor) -> Any:
        return super().forward(images) + (self.shift - 9).relu()


class InfiniteSlope(Good):
    """Takes a root at zero."""

    def forward(self, images: Tensor) -> Any:
        logits = super().forward(images)
        return logits + (0 * logits).sqrt() if self.training else logits


class AlwaysDropout(Good):
    """Keeps dropping out in evaluation."""

    def forward(self, images: Tensor) -> Any:
        return nn.functional.dropout(super().forward(images), 0.5)


class DrawsInEvaluation(Good):
    """Draws a number that changes nothing."""

    def forward(self, images: Tensor) -> Any:
        np.random.rand()
        return super().forward(images)


class WorksInPlace(Good):
    """Standardises its input in place."""

    def forward(self, images: Tensor) -> Any:
        return super().forward(images.sub_(images.mean()))


class BatchStatistics(Good):
    """Normalises over the batch, also in evaluation."""

    def __init__(self, channels: Sequence[str]) -> None:
        super().__init__(channels)
        self.norm = nn.BatchNorm2d(4, track_running_stats=False)


class Tied(Good):
    """Keeps one tensor under two names."""

    def __init__(self, channels: Sequence[str]) -> None:
        super().__init__(channels)
        self.again = nn.ConvTranspose2d(4, len(channels), 2, stride=2)
        self.again.weight = self.up.weight

    def forward(self, images: Tensor) -> Any:
        return super().forward(images) + self.again.bias.view(1, -1, 1, 1)


class Unsaved(Good):
    """Draws weights that it doesn't keep."""

    def __init__(self, channels: Sequence[str]) -> None:
        super().__init__(channels)
        self.mixing = torch.rand(4, 1, 1)

    def forward(self, images: Tensor) -> Any:
        return self.up(torch.relu(self.norm(self.down(images))) * self.mixing)


class GrowsLater(Good):
    """Makes a layer at the first film."""

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return {**super().state_dict(*args, **kwargs), "late.weight": torch.zeros(1)}


class NumpyWeights(Good):
    """Draws its weights from generators of its own."""

    def __init__(self, channels: Sequence[str]) -> None:
        super().__init__(channels)
        with torch.no_grad():
            drawn = np.random.default_rng().normal(size=tuple(self.down.weight.shape))
            self.down.weight.copy_(torch.from_numpy(drawn))


class Double(Good):
    """Insists on float32."""

    def forward(self, images: Tensor) -> Any:
        features = torch.relu(self.norm(self.down(images)))
        return self.up(features) + torch.einsum("bchw,c->b", features, torch.ones(4)).view(-1, 1, 1, 1).mul(
            0 if features.dtype == torch.float32 else torch.nan
        )


class Views(Good):
    """Relies on the order of memory."""

    def forward(self, images: Tensor) -> Any:
        features = torch.relu(self.norm(self.down(images)))
        return self.up(features.view(len(images), -1).view_as(features))


class DecidesByValues(Good):
    """Treats bright films differently."""

    def forward(self, images: Tensor) -> Any:
        logits = super().forward(images)
        return logits if images.abs().mean() > 0 else -logits


class DiffersCompiled(Good):
    """Gives other logits once it is compiled."""

    def forward(self, images: Tensor) -> Any:
        return super().forward(images) + float(torch.compiler.is_dynamo_compiling())


class ForgetsCompiled(Good):
    """Leaves a parameter without a gradient once it is compiled."""

    def __init__(self, channels: Sequence[str]) -> None:
        super().__init__(channels)
        self.shift = nn.Parameter(torch.zeros(1))

    def forward(self, images: Tensor) -> Any:
        logits = super().forward(images)
        return logits if torch.compiler.is_dynamo_compiling() else logits + self.shift


class SaysWhy(DecidesByValues):
    """Says that it can be neither exported nor compiled."""

    cannot_export = "it decides by values"
    cannot_compile = "the operator odd::one isn't known"


FAULTS: list[tuple[type[Model], str, str]] = [
    (ForgetsChannels, "it builds for any channels", "super().__init__(channels)"),
    (OddMultiple, "it builds for any channels", "size_multiple"),
    (Small, "logits have the images size", "(2, 4, 32, 32)"),
    (SidesAlways, "side outputs come in training only", "a SideOutputs"),
    (OneSide, "side outputs come in training only", "side logits (2, 4, h, w)"),
    (Probabilities, "outputs are logits", "Leave out the sigmoid"),
    (Positive, "outputs are logits", "above"),
    (LogProbabilities, "outputs are logits", "below"),
    (Unused, "gradients reach every parameter", "forgotten.weight, forgotten.bias (2 of 7)"),
    (TimesZero, "gradients reach every parameter", "zeros for factor, branch.weight, branch.bias (3 of 8)"),
    (Clipped, "gradients reach every parameter", "only zeros for shift (1 of 6)"),
    (InfiniteSlope, "gradients reach every parameter", "finite gradients"),
    (AlwaysDropout, "evaluation repeats itself", "self.training"),
    (DrawsInEvaluation, "evaluation repeats itself", "draw no random numbers"),
    (WorksInPlace, "evaluation repeats itself", "in place"),
    (BatchStatistics, "films do not influence each other", "running statistics"),
    (Tied, "weights survive safetensors", "under one name"),
    (Unsaved, "weights survive safetensors", "parameter or buffer"),
    (GrowsLater, "weights survive safetensors", "in the constructor"),
    (NumpyWeights, "the seed decides the initial weights", "torch's global generator"),
    (Double, "it trains under autocast", "float32"),
    (Views, "it takes channels last", "view"),
    (DecidesByValues, "it exports", "`cannot_export = "),
    (DecidesByValues, "it compiles", "`cannot_compile = "),
    (ForgetsCompiled, "it compiles", "the gradient of shift from one of the two only"),
    (DiffersCompiled, "it compiles", "from the compiled network; got a difference of"),
]


@pytest.mark.parametrize(
    ("network", "check", "words"), FAULTS, ids=[f"{one.__name__}-{check}" for one, check, _ in FAULTS]
)
def test_each_fault_is_found(
    failures: Judge, monkeypatch: pytest.MonkeyPatch, network: type[Model], check: str, words: str
) -> None:
    wanted = tuple(one for one in models.CHECKS if one.__name__ == check.replace(" ", "_"))
    monkeypatch.setattr(models, "CHECKS", wanted)
    assert words in failures("model", network)[check]


def test_a_network_may_say_why_it_cannot_be_exported_or_compiled(failures: Judge, skips: Judge) -> None:
    assert failures("model", SaysWhy) == {}
    found = skips("model", SaysWhy)
    assert "it decides by values" in found["it exports"]
    assert "odd::one" in found["it compiles"]


def test_check_model_takes_a_class_and_parameters() -> None:
    check_model(Good)
    check_model(Good, {"width": 2})
    with pytest.raises(ConformanceError, match="Expected logits") as caught:
        check_model(Probabilities)
    assert isinstance(caught.value, ContractError)
    assert caught.value.expected
    assert caught.value.got
    assert caught.value.remedy
    assert any("outputs are logits" in note for note in caught.value.__notes__)


def test_check_model_takes_a_registered_name() -> None:
    with pytest.raises(PluginError, match="no model called 'no-such-net'"):
        check_model("no-such-net")


def test_suites_are_for_their_kind_only() -> None:
    component = Component("model", "good-net", Good, "a summary", "dist", "1.0")
    check_model(component)
    with pytest.raises(ConformanceError, match="Call check_model instead"):
        check_loss(component)


@pytest.mark.parametrize("arguments", ["self, images, masks", "self", "self, *, images"])
def test_a_wrong_forward_is_one_finding_with_a_remedy(failures, skips, arguments: str) -> None:
    made: dict[str, Any] = {}
    exec(f"def forward({arguments}):\n    raise AssertionError", made)
    network = type("Network", (Good,), {"forward": made["forward"], "__doc__": "A network."})
    (message,) = failures("model", network).values()
    assert "Expected a method forward(self, images" in message
    assert f"got forward({arguments})" in message
    assert "settings are keyword-only parameters of the constructor" in message
    assert "see above" in skips("model", network)["outputs are logits"]
