"""The loss suite passes a plain loss and finds each fault."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cxrkit.interfaces import Loss

Judge = Callable[..., dict[str, str]]


class Good(Loss):
    """Binary cross-entropy."""

    def forward(self, logits: Tensor, targets: Tensor) -> Any:
        return F.binary_cross_entropy_with_logits(logits, targets)


class Critic(Good):
    """With a critic that sees masks one by one, and learns to tell drawn from predicted."""

    def __init__(self) -> None:
        super().__init__()
        self.critic = nn.Conv2d(1, 1, 5)

    def judge(self, masks: Tensor) -> Tensor:
        return self.critic(masks.flatten(0, 1).unsqueeze(1)).mean()

    def total(self, output: Any, targets: Tensor, images: Tensor) -> Tensor:
        main = output if isinstance(output, Tensor) else output.main
        return super().total(output, targets, images) - 0.01 * self.judge(main.sigmoid())

    def own_loss(self, logits: Tensor, targets: Tensor, images: Tensor) -> Tensor | None:
        return self.judge(logits.sigmoid()) - self.judge(targets)


class DiceOf(Good):
    """A Dice loss over some dimensions."""

    dims: tuple[int, ...] = (0, 2, 3)

    def each(self, logits: Tensor, targets: Tensor) -> Tensor:
        p = logits.sigmoid()
        return 1 - (2 * (p * targets).sum(self.dims) + 1) / ((p + targets).sum(self.dims) + 1)

    def forward(self, logits: Tensor, targets: Tensor) -> Any:
        return self.each(logits, targets).sum()


class MeanOfDice(DiceOf):
    """The mean over channels."""

    def forward(self, logits: Tensor, targets: Tensor) -> Any:
        return self.each(logits, targets).mean()


def stating(base: type[Good], reduction: str, **members: Any) -> type[Good]:
    return type(f"{base.__name__} {reduction}", (base,), {"__doc__": base.__doc__, "reduction": reduction, **members})


STATED = [
    stating(Good, "pooled"),
    stating(DiceOf, "per-class"),
    stating(MeanOfDice, "per-class-mean"),
    stating(DiceOf, "pooled", dims=(0, 1, 2, 3)),
    stating(MeanOfDice, "pooled", dims=(2, 3)),  # of each mask
]


@pytest.mark.parametrize("loss", [Good, Critic, *STATED])
def test_sound_losses_pass(failures: Judge, skips: Judge, loss: type[Loss]) -> None:
    assert failures("loss", loss) == {}
    assert ("unknown masks are left out" in skips("loss", loss)) == (loss in (Good, Critic))


MISSTATED = [
    stating(DiceOf, "pooled"),
    stating(DiceOf, "per-class-mean"),
    stating(MeanOfDice, "per-class"),
    stating(DiceOf, "per-class", dims=(1, 2, 3)),
]


@pytest.mark.parametrize("loss", MISSTATED)
def test_a_reduction_that_the_loss_does_not_have_is_found(failures: Judge, loss: type[Loss]) -> None:
    assert "the value and slope of the known masks alone" in failures("loss", loss)["unknown masks are left out"]


class PerFilm(Good):
    """Doesn't reduce over films."""

    def forward(self, logits: Tensor, targets: Tensor) -> Any:
        return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean((1, 2, 3))


class PlainNumber(Good):
    """Returns a number of Python."""

    def forward(self, logits: Tensor, targets: Tensor) -> Any:
        return super().forward(logits, targets).item()


class NoSmoothing(Good):
    """Divides by the masks' size."""

    def forward(self, logits: Tensor, targets: Tensor) -> Any:
        return 1 - (logits.sigmoid() * targets).sum() / targets.sum()


class LogOfSigmoid(Good):
    """Takes a logarithm of what may be zero."""

    def forward(self, logits: Tensor, targets: Tensor) -> Any:
        p = logits.sigmoid()
        return -(targets * p.log() + (1 - targets) * (1 - p).log()).mean()


class RootAtZero(Good):
    """The root of a Dice loss: its slope at a perfect overlap is infinite."""

    def forward(self, logits: Tensor, targets: Tensor) -> Any:
        p = logits.sigmoid()
        return (1 - (2 * (p * targets).sum() + 1) / (p.sum() + targets.sum() + 1)).clamp(min=0).sqrt()


class CutOff(Good):
    """Thresholds its prediction."""

    def forward(self, logits: Tensor, targets: Tensor) -> Any:
        return ((logits > 0).float() - targets).abs().mean()


class UpsideDown(Good):
    """Is a score."""

    def forward(self, logits: Tensor, targets: Tensor) -> Any:
        return -super().forward(logits, targets)


class FirstFilm(Good):
    """Looks at the first film only."""

    def forward(self, logits: Tensor, targets: Tensor) -> Any:
        return super().forward(logits[:1], targets[:1])


class FourChannels(Good):
    """Takes four channels only."""

    def forward(self, logits: Tensor, targets: Tensor) -> Any:
        weights = torch.ones(4).view(1, 4, 1, 1)
        return (weights * F.binary_cross_entropy_with_logits(logits, targets, reduction="none")).mean()

    def __call__(self, logits: Tensor, targets: Tensor) -> Any:
        if logits.shape[1] != 4:
            raise ValueError(f"4 channels are needed, not {logits.shape[1]}")
        return super().__call__(logits, targets)


class InPlace(Good):
    """Thresholds its targets in place."""

    def forward(self, logits: Tensor, targets: Tensor) -> Any:
        return super().forward(logits, targets.round_())


class NoTotal(Good):
    """Forgets that there may be side outputs."""

    def total(self, output: Any, targets: Tensor, images: Tensor) -> Tensor:
        return self(output, targets)


class Untrained(Good):
    """Has parameters that nothing trains."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))


class HalfTrained(Critic):
    """Has a second critic that its own loss forgets."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Conv2d(1, 1, 1)


class CriticByValue(Critic):
    """Its own loss is a vector."""

    def own_loss(self, logits: Tensor, targets: Tensor, images: Tensor) -> Tensor | None:
        return self.critic(targets[:, :1]).mean((1, 2, 3))


FAULTS: list[tuple[type[Loss], str, str]] = [
    (PerFilm, "values are finite scalars", "Tensor float32 (2,)"),
    (PlainNumber, "values are finite scalars", "a float"),
    (NoSmoothing, "values are finite scalars", "empty masks"),
    (LogOfSigmoid, "values are finite scalars", "certain"),
    (RootAtZero, "gradients are finite", "a perfect and certain prediction"),
    (CutOff, "gradients are finite", "thresholds"),
    (UpsideDown, "better predictions do not cost more", "(logits, targets)"),
    (FirstFilm, "the order of films does not matter", "another order"),
    (FourChannels, "it takes any shape", "4 channels are needed"),
    (InPlace, "logits and targets stay as they were", "underscore"),
    (NoTotal, "whole outputs have a total", ""),
    (Untrained, "its own loss trains its own parameters", "None, with scale to train"),
    (HalfTrained, "its own loss trains its own parameters", "other.weight"),
    (CriticByValue, "its own loss trains its own parameters", "the loss's own training"),
]


@pytest.mark.parametrize(("loss", "check", "words"), FAULTS, ids=[fault[0].__name__ for fault in FAULTS])
def test_each_fault_is_found(failures: Judge, loss: type[Loss], check: str, words: str) -> None:
    found = failures("loss", loss)
    assert check in found
    assert words in found[check]
