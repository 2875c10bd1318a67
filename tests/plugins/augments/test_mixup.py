"""Mixup: pairs, shares, and where its randomness comes from."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrkit import Batch, Partner
from cxrkit.errors import ConfigError, ContractError
from cxrkit_plugins.augments.mixup import Mixup

property_test = settings(deadline=None, max_examples=25)
seeds = st.integers(0, 2**31 - 1)
deltas = st.one_of(st.sampled_from([1e-3, 0.01, 0.2, 1.0, 1e3]), st.floats(1e-3, 1e3))


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def films(count: int, seed: int = 0) -> Batch:
    generator = rng(seed)
    images = torch.randn(count, 1, 6, 5, generator=generator)
    return Batch(images, (torch.rand(count, 3, 6, 5, generator=generator) > 0.5).float())


@property_test
@given(st.integers(1, 5), deltas, st.sampled_from(["sample", "batch"]), seeds)
def test_what_comes_out_lies_between_the_two_films(pairs: int, delta: float, per: Any, seed: int) -> None:
    batch = films(2 * pairs, seed)
    mixed = Mixup(delta=delta, per=per)(batch, rng(seed))
    assert len(mixed) == pairs
    assert mixed.partner is None
    weight = Mixup(delta=delta, per=per).draw_weights(pairs, rng(seed)).view(-1, 1, 1, 1)
    for values, out in ((batch.images, mixed.images), (batch.targets, mixed.targets)):
        first, second = values[:pairs], values[pairs:]
        torch.testing.assert_close(out, weight * first + (1 - weight) * second)
        assert bool((out <= torch.maximum(first, second) + 1e-6).all())
        assert bool((out >= torch.minimum(first, second) - 1e-6).all())
    assert bool(((mixed.targets >= 0) & (mixed.targets <= 1)).all())


@property_test
@given(st.integers(1, 6), seeds)
def test_every_film_is_used_exactly_once(pairs: int, seed: int) -> None:
    # Film i is the power 4^i: what it took part in is read off the sums of both shares.
    tags = (4.0 ** torch.arange(2 * pairs)).view(-1, 1, 1, 1).double()
    batch = Batch(tags.expand(-1, 1, 2, 2), torch.zeros(2 * pairs, 1, 2, 2))
    weight = Mixup().draw_weights(pairs, rng(seed)).double()
    mixed = Mixup()(batch, rng(seed)).images[:, 0, 0, 0]
    for i in range(pairs):
        expected = weight[i] * 4.0**i + (1 - weight[i]) * 4.0 ** (i + pairs)
        torch.testing.assert_close(mixed[i], expected)


@property_test
@given(deltas, seeds)
def test_shares_are_shares(delta: float, seed: int) -> None:
    weight = Mixup(delta=delta).draw_weights(64, rng(seed))
    assert weight.dtype == torch.float32
    assert bool(((weight >= 0) & (weight <= 1)).all())


@pytest.mark.parametrize("delta", [1e-3, 0.01, 0.2, 1.0, 10.0])
def test_shares_have_the_mean_and_variance_of_beta(delta: float) -> None:
    weight = Mixup(delta=delta).draw_weights(20_000, rng(1)).double()
    variance = 1 / (4 * (2 * delta + 1))  # of Beta(δ, δ)
    assert float(weight.mean()) == pytest.approx(0.5, abs=0.02)
    assert float(weight.var()) == pytest.approx(variance, rel=0.05)


def test_one_share_a_batch_or_one_a_pair() -> None:
    assert Mixup(per="batch").draw_weights(8, rng()).unique().numel() == 1
    assert Mixup(per="sample").draw_weights(8, rng()).unique().numel() == 8
    films = Batch(torch.rand(4, 1, 2, 2), torch.rand(4, 1, 2, 2))
    for per, whole in (("batch", True), ("sample", False)):
        partner = Mixup(per=per, target="losses")(films, rng()).partner
        assert partner is not None
        assert partner.whole is whole


def test_losses_are_mixed_with_both_targets_kept() -> None:
    batch = films(6)
    mixed = Mixup(target="losses")(batch, rng(3))
    assert mixed.partner is not None
    assert torch.equal(mixed.targets, batch.targets[:3])
    assert torch.equal(mixed.partner.targets, batch.targets[3:])
    assert torch.equal(mixed.images, Mixup(target="labels")(batch, rng(3)).images)
    weight = mixed.partner.weight.view(-1, 1, 1, 1)
    as_labels = weight * mixed.targets + (1 - weight) * mixed.partner.targets
    torch.testing.assert_close(as_labels, Mixup(target="labels")(batch, rng(3)).targets)


@pytest.mark.parametrize("target", ["labels", "losses"])
def test_a_mixture_is_known_where_both_films_are(target: Any) -> None:
    known = torch.tensor([[True, True, False], [True, False, True], [True, False, False], [True, True, True]])
    mixed = Mixup(target=target)(films(4).with_(known=known), rng())
    assert mixed.known is not None
    assert mixed.known.tolist() == [[True, False, False], [True, False, True]]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_films_that_cannot_be_paired_are_refused(count: int) -> None:
    with pytest.raises(ContractError, match=f"got {count} film"):
        Mixup()(films(count), rng())


def test_a_batch_is_not_mixed_twice() -> None:
    batch = films(4)
    mixed = batch.with_(partner=Partner(batch.targets, torch.ones(4)))
    with pytest.raises(ConfigError, match="List mixup once"):
        Mixup()(mixed, rng())
