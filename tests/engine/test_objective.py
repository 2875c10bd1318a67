from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from cxrkit.config import LossConfig
from cxrkit.engine.objective import WeightedSum, batch_loss, build_loss, soft_dice
from cxrkit.errors import ConfigError, ContractError
from cxrkit.interfaces import Batch, Loss, Partner, SideOutputs
from cxrkit.plugins import registry
from cxrkit.registry import Registry


class Squared(Loss):
    def __init__(self, power: float = 2.0) -> None:
        super().__init__()
        self.power = power

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return (logits.sigmoid() - targets).abs().pow(self.power).mean()


@pytest.mark.parametrize("weights", [(0.3, 0.3, 0.3), (0.1, 0.9, 0.4)])
def test_mixed_losses_are_the_weighted_mean_over_films(weights: tuple[float, ...]) -> None:
    logits, targets, others = torch.randn(3, 2, 4, 4), torch.rand(3, 2, 4, 4), torch.rand(3, 2, 4, 4)
    loss, share = Squared(), torch.tensor(weights)
    mixed = batch_loss(loss, logits, Batch(torch.zeros(3, 1, 4, 4), targets, Partner(others, share)))
    expected = torch.stack(
        [share[i] * loss(logits[i], targets[i]) + (1 - share[i]) * loss(logits[i], others[i]) for i in range(3)]
    ).mean()
    assert torch.allclose(mixed, expected)


def test_one_weight_for_the_batch_mixes_losses_of_the_whole_batch() -> None:
    class Pooled(Loss):
        """Not a mean over films, as Dice isn't."""

        def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
            return (logits * targets).sum().square()

    logits, targets, others = torch.randn(3, 2, 4, 4), torch.rand(3, 2, 4, 4), torch.rand(3, 2, 4, 4)
    images, weight, loss = torch.zeros(3, 1, 4, 4), torch.full((3,), 0.3), Pooled()
    whole = batch_loss(loss, logits, Batch(images, targets, Partner(others, weight, whole=True)))
    assert torch.allclose(whole, 0.3 * loss(logits, targets) + 0.7 * loss(logits, others))
    # Weights that merely happen to be equal don't change what is computed.
    apart = batch_loss(loss, logits, Batch(images, targets, Partner(others, weight)))
    one = [slice(i, i + 1) for i in range(3)]
    films = [0.3 * loss(logits[i], targets[i]) + 0.7 * loss(logits[i], others[i]) for i in one]
    assert torch.allclose(apart, torch.stack(films).mean())
    assert not torch.allclose(apart, whole)


def test_side_outputs_are_compared_at_their_size() -> None:
    logits, targets = torch.randn(2, 1, 8, 8), torch.zeros(2, 1, 8, 8)
    targets[:, :, :4] = 1
    side = torch.full((2, 1, 2, 2), -50.0)
    side[:, :, :1] = 50.0  # a perfect coarse prediction adds nothing
    loss = Squared()
    total = loss.total(SideOutputs(logits, (side,)), targets, torch.zeros(2, 1, 8, 8))
    assert torch.allclose(total, loss(logits, targets))
    worse = loss.total(SideOutputs(logits, (-side,)), targets, torch.zeros(2, 1, 8, 8))
    assert torch.allclose(worse, loss(logits, targets) + 1)


def test_a_loss_that_is_not_a_scalar_is_reported() -> None:
    class Vector(Squared):
        def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
            return (logits - targets).mean((1, 2, 3))

    batch = Batch(torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4))
    with pytest.raises(ContractError, match=r"Vector: expected a scalar, got shape \(2,\)"):
        batch_loss(Vector(), torch.zeros(2, 1, 4, 4), batch)


def test_a_weighted_sum_adds_its_terms() -> None:
    logits, targets, images = torch.randn(2, 1, 4, 4), torch.rand(2, 1, 4, 4), torch.zeros(2, 1, 4, 4)
    terms = [(0.25, Squared()), (2.0, Squared(1.0))]
    expected = sum(weight * loss(logits, targets) for weight, loss in terms)
    assert torch.allclose(WeightedSum(terms)(logits, targets), torch.as_tensor(expected))
    assert torch.allclose(WeightedSum(terms).total(logits, targets, images), torch.as_tensor(expected))
    assert WeightedSum(terms).own_loss(logits, targets, images) is None


def test_losses_are_built_by_name(components: Registry) -> None:
    channels, dice = ("heart", "background"), LossConfig(name="dice")
    assert type(build_loss([dice], components, channels)).__name__ == "DiceLoss"
    assert isinstance(build_loss([dice, LossConfig(name="bce", weight=0.5)], components, channels), WeightedSum)


def test_losses_hear_of_the_channels(components: Registry, add: Callable[..., None]) -> None:
    heard: list[tuple[str, ...]] = []

    class Listening(Squared):
        def prepare(self, channels: Sequence[str]) -> None:
            heard.append(tuple(channels))

    add("loss", "listening", lambda: Listening())
    build_loss([LossConfig(name="listening", weight=2.0)], components, ("heart", "background"))
    assert heard == [("heart", "background")]


# Unknown masks. The formulas are written out here once more, with a weight of 0 or 1 a mask.

Weighted = Callable[[Tensor, Tensor, Tensor], Tensor]


def tversky(alpha: float, beta: float, power: float, pooled: bool) -> Weighted:
    def loss(logits: Tensor, targets: Tensor, known: Tensor) -> Tensor:
        p, dims = logits.sigmoid(), ((0, 1, 2, 3) if pooled else (0, 2, 3))
        missed, wrong = ((known * part).sum(dims) for part in ((1 - p) * targets, p * (1 - targets)))
        errors = alpha * missed + beta * wrong
        distance = errors / ((known * p * targets).sum(dims) + errors + 0.1)
        line = distance * 1e-4 ** (power - 1)
        return torch.where(distance < 1e-4, line, distance.clamp(min=1e-4) ** power).sum()

    return loss


def cross_entropy(logits: Tensor, targets: Tensor, known: Tensor) -> Tensor:
    values = known * F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return values.sum() / (known.sum() * logits[0, 0].numel()).clamp(min=1)


REFERENCES: dict[str, tuple[str, dict[str, Any], Weighted]] = {
    "dice": ("dice", {}, tversky(0.5, 0.5, 1, False)),
    "dice pooled": ("dice", {"reduction": "pooled"}, tversky(0.5, 0.5, 1, True)),
    "tversky": ("tversky", {}, tversky(0.6, 0.4, 1, False)),
    "focal": ("focal-tversky", {}, tversky(0.6, 0.4, 0.675, False)),
    "focal pooled": ("focal-tversky", {"reduction": "pooled"}, tversky(0.6, 0.4, 0.675, True)),
    "bce": ("bce", {}, cross_entropy),
}


@st.composite
def problems(draw: st.DrawFn) -> tuple[Tensor, tuple[Tensor, ...], Tensor, Tensor]:
    """Logits, side logits, targets (NaN where unknown) and which masks are known."""
    films, channels = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    rows = st.lists(st.booleans(), min_size=channels, max_size=channels)
    known = torch.tensor(draw(st.lists(rows, min_size=films, max_size=films)))
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))

    def logits(side: int) -> Tensor:
        drawn = 3 * torch.randn(films, channels, side, side, generator=random, dtype=torch.float64)
        return drawn.requires_grad_(True)

    targets = torch.rand(films, channels, 8, 8, generator=random, dtype=torch.float64).round(decimals=1)
    sides = tuple(logits(side) for side in draw(st.sampled_from([(), (4,), (4, 2)])))
    return logits(8), sides, torch.where(known[:, :, None, None], targets, torch.nan), known


def gradients(value: Tensor, *logits: Tensor) -> list[Tensor]:
    found = torch.autograd.grad(value, logits, allow_unused=True)
    return [torch.zeros_like(part) if slope is None else slope for part, slope in zip(logits, found, strict=True)]


@given(
    problems(),
    st.dictionaries(st.sampled_from(sorted(REFERENCES)), st.sampled_from([0.5, 1.0, 2.0]), min_size=1, max_size=3),
    st.sampled_from(["alone", "per film", "per batch"]),
)
def test_unknown_masks_leave_value_and_gradients_of_the_known_ones(
    problem: tuple[Tensor, tuple[Tensor, ...], Tensor, Tensor], terms: dict[str, float], mixing: str
) -> None:
    logits, sides, targets, known = problem
    channels = tuple("abcd"[: logits.shape[1]])
    configs = [LossConfig(name=REFERENCES[key][0], weight=w, **REFERENCES[key][1]) for key, w in terms.items()]
    loss = build_loss(configs, registry(), channels).double()
    weight = known[:, :, None, None].double()

    def expected(of: Tensor, some: slice = slice(None)) -> Tensor:
        clean = torch.where(known[:, :, None, None], of, 0)
        scales = [(part, F.adaptive_avg_pool2d(clean, part.shape[-2:])) for part in (logits, *sides)]
        return torch.stack(
            [w * REFERENCES[k][2](x[some], y[some], weight[some]) for k, w in terms.items() for x, y in scales]
        ).sum()

    images, other, share = (
        torch.zeros(len(logits), 1, 8, 8),
        1 - targets,
        torch.full((len(logits),), 0.3, dtype=torch.float64),
    )
    batch = Batch(images, targets, known=known)
    if mixing == "alone":
        wanted = expected(targets)
    elif mixing == "per batch":
        batch = batch.with_(partner=Partner(other, share, whole=True))
        wanted = 0.3 * expected(targets) + 0.7 * expected(other)
    else:
        batch = batch.with_(partner=Partner(other, share))
        ones = [slice(i, i + 1) for i in range(len(logits)) if known[i].any()]
        films = [0.3 * expected(targets, one) + 0.7 * expected(other, one) for one in ones]
        wanted = torch.stack(films).mean() if films else 0 * expected(targets)
    got = batch_loss(loss, SideOutputs(logits, sides) if sides else logits, batch)
    close = dict(rtol=1e-4, atol=1e-6, check_dtype=False) if sides else dict(rtol=1e-9, atol=1e-12)  # sides: float32
    torch.testing.assert_close(got, wanted, **close)
    for slope, right in zip(gradients(got, logits, *sides), gradients(wanted, logits, *sides), strict=True):
        torch.testing.assert_close(slope, right, **close)
        assert not slope[~known].any()


class Unstated(Squared):
    """A mean over pixels that doesn't say so."""


class Judging(Squared):
    reduction = "pooled"

    def __init__(self) -> None:
        super().__init__()
        self.critic = nn.Conv2d(1, 1, 1)


@pytest.mark.parametrize("loss", [Unstated(), Judging(), WeightedSum([(1.0, Unstated())])])
def test_a_loss_that_cannot_leave_masks_out_is_refused_from_the_first_batch(loss: Loss) -> None:
    batch = Batch(torch.zeros(2, 1, 4, 4), torch.zeros(2, 2, 4, 4), known=torch.ones(2, 2, dtype=torch.bool))
    with pytest.raises(ConfigError, match=r"(Unstated|Judging): this loss can't be used on films of which some lack"):
        batch_loss(loss, torch.zeros(2, 2, 4, 4), batch)


def test_the_training_dice_reads_known_channels_only() -> None:
    logits, targets = 20 * torch.ones(1, 2, 4, 4), torch.ones(1, 2, 4, 4)
    targets[:, 1] = torch.nan
    known = torch.tensor([[True, False]])
    assert soft_dice(logits, Batch(torch.zeros(1, 1, 4, 4), targets, known=known)) == pytest.approx(1)


class TestSideWeights:
    """`loss.side_weight` of any loss, by head."""

    def total(self, config: dict[str, Any], sides: int = 2) -> float:
        torch.manual_seed(0)
        targets = (torch.rand(2, 2, 8, 8) > 0.5).float()
        main, *others = (torch.randn(2, 2, size, size) for size in (8, 4, 2, 1)[: 1 + sides])
        output = SideOutputs(main, tuple(others)) if sides else main
        loss = build_loss([LossConfig(**config)], registry(), ("a", "b"))
        return float(batch_loss(loss, output, Batch(torch.zeros(2, 1, 8, 8), targets)))

    def test_one_weight_for_all_or_one_for_each(self) -> None:
        main, first = self.total({"name": "bce"}, 0), self.total({"name": "bce"}, 1)
        both = self.total({"name": "bce"})
        assert self.total({"name": "bce", "side_weight": 0}) == pytest.approx(main)
        assert self.total({"name": "bce", "side_weight": [0, 3]}) == pytest.approx(main + 3 * (both - first))
        assert self.total({"name": "bce", "side_weight": 0.5}) == pytest.approx(main + 0.5 * (both - main))
        twice = self.total({"name": "bce", "side_weight": [1, 0], "weight": 2})
        assert twice == pytest.approx(2 * first)

    def test_a_critic_judges_no_side_outputs(self) -> None:
        terms = [LossConfig(name="dice"), LossConfig(name="critic", weight=0.01, side_weight=0.5)]
        with pytest.raises(ConfigError, match="critic doesn't judge side outputs"):
            build_loss(terms, registry(), ("a", "b"))

    @pytest.mark.parametrize(("weight", "sides"), [([1, 2, 3], 2), (0.5, 0), ([1], 0)])
    def test_weights_of_heads_that_are_not_there_are_refused(self, weight: Any, sides: int) -> None:
        with pytest.raises(ConfigError, match="side outputs"):
            self.total({"name": "bce", "side_weight": weight}, sides)
