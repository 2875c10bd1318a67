"""The critic: its size, what it sees, when it learns, and what it says of itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cxrkit.engine.objective import batch_loss, build_loss
from cxrkit.engine.own_training import own_loss
from cxrkit.errors import ConfigError, ContractError
from cxrkit.interfaces import Batch, Loss, Partner, SideOutputs
from cxrkit.plugins import registry
from cxrkit.readings import TrainingReading

CHANNELS = ("left_lung", "right_lung", "heart", "background")


def critic(channels: int = 4, **options: Any) -> Any:
    torch.manual_seed(0)
    loss = registry().get("loss", "critic").build(**{"base_channels": 2} | options)
    loss.prepare(CHANNELS[:channels])
    return loss


def films(count: int = 3, side: int = 32) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, hard targets and images."""
    random = torch.Generator().manual_seed(1)
    logits, images = (torch.randn(count, c, side, side, generator=random) for c in (4, 1))
    return 3 * logits, (torch.randn(count, 4, side, side, generator=random) > 0).float(), images


@pytest.mark.parametrize(("sees", "weights"), [("masks", 256_057), ("masks-and-film", 256_457)])
def test_it_has_scans_weights(sees: str, weights: int) -> None:
    assert sum(value.numel() for value in critic(sees=sees, base_channels=8).parameters()) == weights


def test_it_learns_to_tell_drawn_masks_from_predicted_ones_and_the_network_to_deceive_it() -> None:
    loss, (logits, targets, images) = critic(network_steps=1), films()
    optimizer = torch.optim.Adam(loss.parameters(), 1e-2)
    for _ in range(25):
        optimizer.zero_grad()
        loss.own_loss(logits, targets, images).backward()
        optimizer.step()
    readings = loss.own_readings()
    assert loss.own_readings()["critic_accuracy"].isnan(), "nothing since the last reading"
    assert 0.6 < readings["critic_accuracy"] <= 1
    logits.requires_grad_(True)
    before = loss.total(logits, targets, images)
    (slope,) = torch.autograd.grad(before, logits)
    assert loss.total(logits - 30 * slope / slope.norm(), targets, images) < before
    optimizer.zero_grad(set_to_none=True)
    loss.total(logits, targets, images).backward()
    assert all(value.grad is None for value in loss.parameters()), "the network's update isn't the critic's"
    assert all(value.requires_grad for value in loss.parameters())


def test_the_networks_update_changes_nothing_of_the_critic() -> None:
    loss, (logits, targets, images) = critic(spectral_norm=True), films()
    before = {name: value.clone() for name, value in loss.state_dict().items()}
    loss.train().total(logits, targets, images)
    assert all(torch.equal(value, before[name]) for name, value in loss.state_dict().items())
    loss.own_loss(logits, targets, images)
    assert any(not torch.equal(value, before[name]) for name, value in loss.state_dict().items() if "_u" in name)


def test_only_what_it_is_to_see_matters() -> None:
    logits, targets, images = films()
    for sees, matters in (("masks", False), ("masks-and-film", True)):
        loss = critic(sees=sees)
        values = {float(loss.total(logits, targets, films_)) for films_ in (images, 0 * images)}
        assert (len(values) == 2) == matters
    plain, side = critic(), torch.randn(3, 4, 8, 8)
    assert plain.total(SideOutputs(logits, (side,)), targets, images) == plain.total(logits, targets, images)


def test_it_joins_at_its_start_and_learns_every_few_updates() -> None:
    loss, (logits, targets, images) = critic(start=4, network_steps=3), films()
    learns, judges = [], []
    for step in range(12):
        loss.updates_made = step
        judges.append(bool(loss.total(logits, targets, images) > 0))
        learns.append(loss.learns_now())
    assert judges == [step >= 4 for step in range(12)]
    assert [step for step, does in enumerate(learns) if does] == [4, 7, 10]


def test_outlines_of_drawn_masks_alone_are_softened() -> None:
    seen: list[Tensor] = []
    loss, (logits, targets, images) = critic(soften=2), films()
    loss.critic.register_forward_pre_hook(lambda _, shown: seen.append(shown[0]))
    loss.own_loss(logits, targets, images)
    drawn, predicted = seen
    assert torch.equal(predicted, logits.sigmoid())
    inner = targets[:, :, 10:15, 10:15].mean((2, 3))
    torch.testing.assert_close(drawn[:, :, 12, 12], inner)
    ones = torch.ones_like(targets)
    loss.own_loss(logits, ones, images)
    assert torch.equal(seen[2], ones), "a film's border is no outline"


def steepness(loss: Any) -> float:
    """The norm of the gradient of the critic's answers by the masks that it judges."""
    logits, _, images = films()
    masks = logits.sigmoid().requires_grad_(True)
    (slope,) = torch.autograd.grad(loss._judge(masks, images).sum(), masks)
    return float(slope.norm())


def test_spectral_norm_bounds_how_steep_a_critic_gets() -> None:
    bounded, free = critic(spectral_norm=True), critic()
    for loss in (bounded, free):
        loss.eval()  # no further step of the power iteration
    before = steepness(bounded), steepness(free)
    with torch.no_grad():
        for loss in (bounded, free):
            for parameter in loss.critic.parameters():
                if parameter.dim() > 1:
                    parameter.mul_(100)
    assert steepness(bounded) == pytest.approx(before[0], rel=1e-3)
    assert steepness(free) > 10 * before[1]
    layers = [
        layer.weight.detach()
        for layer in bounded.critic.modules()
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear)
    ]
    norms = [float(torch.linalg.matrix_norm(weight.flatten(1), ord=2)) for weight in layers]
    assert norms == pytest.approx([1] * len(norms), abs=0.05)


@settings(max_examples=12)
@given(st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=3, max_size=3))
def test_unknown_masks_add_nothing(known: list[list[bool]]) -> None:
    loss, (logits, targets, images) = critic(network_steps=1), films(side=16)
    which = torch.tensor(known)
    places = which[:, :, None, None]

    def values(filling: float) -> tuple[Tensor, Tensor, Tensor]:
        batch = Batch(images, torch.where(places, targets, filling), known=which)
        guessed = torch.where(places, logits, filling if filling == filling else 7.0).requires_grad_(True)
        value, own = batch_loss(loss, guessed, batch), own_loss(loss, guessed.detach(), batch)
        assert (own is None) == (not which.any())
        return value, torch.zeros(()) if own is None else own, torch.autograd.grad(value, guessed)[0]

    for one, other in zip(values(torch.nan), values(3.0), strict=True):
        assert torch.equal(one, other)
        assert one.isfinite().all()
    value, _, slope = values(0.0)
    assert not slope[~which].any()
    some = which.any(1)
    if some.any():  # films of which nothing is known are left out
        batch = Batch(images[some], targets[some], known=which[some])
        torch.testing.assert_close(value, batch_loss(loss, logits[some], batch))
    if which.all():
        torch.testing.assert_close(value, loss.total(logits, targets, images))


@pytest.mark.parametrize("whole", [True, False])
def test_where_losses_are_mixed_it_learns_from_the_mixed_masks(whole: bool) -> None:
    loss, (logits, targets, images) = critic(network_steps=1), films()
    share = torch.tensor([0.3, 0.3, 0.3] if whole else [0.2, 0.5, 1.0])
    batch = Batch(images, targets, Partner(targets.flip(0), share, whole))
    torch.testing.assert_close(batch_loss(loss, logits, batch), loss.total(logits, targets, images))
    mixed = share.view(-1, 1, 1, 1) * targets + (1 - share.view(-1, 1, 1, 1)) * targets.flip(0)
    assert own_loss(loss, logits, batch) == loss.own_loss(logits, mixed, images)


def test_alone_it_is_refused() -> None:
    from cxrkit.config import LossConfig

    with pytest.raises(ConfigError, match="judges masks, but doesn't compare them") as caught:
        build_loss([LossConfig(name="critic", weight=0.01)], registry(), CHANNELS)
    assert "0.01*critic" in caught.value.remedy


def readings(accuracies: list[float], term: float = 0.7, dsc: tuple[float, ...] = (0.9,)) -> list[TrainingReading]:
    own = [{"critic_accuracy": value, "critic_term": term} for value in accuracies]
    scores = [*dsc, *[dsc[-1]] * len(own)]
    return [TrainingReading(10 * n, 1.0, scores[n - 1], 1e-3, 1.0, one) for n, one in enumerate(own, start=1)]


@pytest.mark.parametrize(
    ("weight", "accuracies", "term", "dsc", "words"),
    [
        (0.01, [1.0] * 20, 5.0, (0.9,), "has won"),
        (0.01, [1.0] * 19, 5.0, (0.9,), None),
        (0.01, [1.0] * 19 + [0.9], 5.0, (0.9,), None),
        (0.1, [1.0] * 20, 9.5, (0.9,), "has won"),  # what is left of a small loss is nearly all the critic's
        (0.01, [0.6, 0.4] * 10, 0.7, (0.9,), "has lost"),
        (0.01, [0.8] + [0.5] * 20, 0.7, (0.9,), "has lost"),
        (0.01, [0.6] * 30, 0.7, (0.9,), None),
        (0.01, [0.2] * 10 + [0.7] * 10, 0.7, (0.9,), None),  # it recovers
        (1e4, [0.8] * 2, 0.7, (0.72,), "weight of 10000 is so large"),  # empty masks: the background counts
        (1e4, [0.8] * 2, 0.7, (0.4,), "weight of 10000 is so large that the training diverges"),
        (1e4, [0.8] * 4, 0.7, (0.9, 0.9, 0.7), "weight of 10000 is so large that the training diverges"),
        (1e4, [0.8] * 2, 0.7, (0.9,), None),
        (1e4, [0.8], 0.7, (0.4,), None),
    ],
)
def test_a_critic_that_won_lost_or_outweighs_all_is_reported(
    weight: float, accuracies: list[float], term: float, dsc: tuple[float, ...], words: str | None
) -> None:
    loss: Loss = critic()
    loss.term_weight = weight
    remark = loss.remark(readings(accuracies, term, dsc))
    assert words in remark if words else remark == ""


def test_masks_too_small_to_be_halved_four_times_are_refused() -> None:
    with pytest.raises(ContractError, match="12x40 pixels are too small"):
        critic().own_loss(
            torch.zeros(2, len(CHANNELS), 12, 40), torch.zeros(2, len(CHANNELS), 12, 40), torch.zeros(2, 1, 12, 40)
        )
