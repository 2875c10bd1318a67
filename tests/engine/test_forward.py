from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

from cxrkit.config import LossConfig
from cxrkit.engine.forward import WeightedSum, apply_model, augment_batch, batch_loss, build_loss, probabilities
from cxrkit.errors import ContractError
from cxrkit.interfaces import Augment, Batch, Loss, Model, Partner, SideOutputs
from cxrkit.registry import Registry


class Squared(Loss):
    def __init__(self, power: float = 2.0) -> None:
        super().__init__()
        self.power = power

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return (logits.sigmoid() - targets).abs().pow(self.power).mean()


class Pointwise(Model):
    size_multiple = 8

    def __init__(self, channels: tuple[str, ...], out: int | None = None) -> None:
        super().__init__(channels)
        self.conv = nn.Conv2d(1, out or len(channels), 1)
        self.seen: tuple[int, ...] = ()

    def forward(self, images: Tensor) -> Tensor:
        self.seen = tuple(images.shape)
        return self.conv(images)


@pytest.mark.parametrize("size", [(16, 16), (17, 30), (1, 1), (24, 9)])
def test_images_are_padded_to_the_multiple_and_cut_back(size: tuple[int, int]) -> None:
    model = Pointwise(("a", "b"))
    images = torch.randn(2, 1, *size)
    logits = apply_model(model, images, size_multiple=8, channels=2)
    assert tuple(logits.shape) == (2, 2, *size)
    assert model.seen[2] % 8 == 0
    assert model.seen[3] % 8 == 0
    assert torch.allclose(logits, model.conv(images), atol=1e-6)


def test_a_wrong_output_says_what_was_expected() -> None:
    with pytest.raises(ContractError, match=r"Pointwise: expected logits of shape \(1, 2, 8, 8\), came shape \(1, 3"):
        apply_model(Pointwise(("a", "b"), out=3), torch.zeros(1, 1, 8, 8), size_multiple=8, channels=2)


def test_probabilities_are_the_same_in_any_batches() -> None:
    model = Pointwise(("a", "b")).eval()
    images = torch.randn(5, 1, 8, 8)
    whole, parts = probabilities(model, images, 5), probabilities(model, images, 2)
    assert torch.allclose(whole, parts, atol=1e-6)
    assert whole.min() >= 0
    assert whole.max() <= 1


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


def test_sides_lose_the_padding_as_the_main_output_does() -> None:
    class Pyramid(Pointwise):
        def forward(self, images: Tensor) -> SideOutputs:
            main = images.repeat(1, 2, 1, 1)
            return SideOutputs(main, (nn.functional.avg_pool2d(main, 8),))

    ramp = torch.arange(20.0).view(1, 1, 1, 20).expand(1, 1, 20, 20).contiguous()
    output = apply_model(Pyramid(("a", "b")), ramp, size_multiple=8, channels=2)
    assert isinstance(output, SideOutputs)
    assert output.sides[0].shape == output.main.shape == (1, 2, 20, 20)
    # Away from the border, the coarse ramp lies on the fine one.
    assert torch.allclose(output.sides[0][..., 4:12], output.main[..., 4:12], atol=0.01)
    unpadded = apply_model(Pyramid(("a", "b")), ramp[..., :16, :16], size_multiple=8, channels=2)
    assert isinstance(unpadded, SideOutputs)
    assert unpadded.sides[0].shape == (1, 2, 2, 2)


def test_a_loss_that_is_no_scalar_says_so() -> None:
    class Vector(Squared):
        def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
            return (logits - targets).mean((1, 2, 3))

    batch = Batch(torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4))
    with pytest.raises(ContractError, match=r"Vector: expected a scalar, came shape \(2,\)"):
        batch_loss(Vector(), torch.zeros(2, 1, 4, 4), batch)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda batch: (batch.images, batch.targets), "expected a cxrkit.Batch, came a tuple"),
        (lambda batch: batch.with_(targets=batch.targets[:, :1]), r"expected targets of shape \(2, 3, 4, 4\)"),
        (lambda batch: batch.with_(images=batch.images[:1]), r"expected images of shape \(2, 1, 4, 4\)"),
    ],
    ids=["tuple", "channels", "films"],
)
def test_an_augment_that_breaks_its_contract_is_named(change: Callable[[Batch], Batch], message: str) -> None:
    class Careless(Augment):
        def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
            return change(batch)

    with pytest.raises(ContractError, match=f"Careless: {message}"):
        augment_batch([Careless()], Batch(torch.zeros(2, 1, 4, 4), torch.zeros(2, 3, 4, 4)), torch.Generator())


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
