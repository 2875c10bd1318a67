from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrkit.engine.sampling import Sampler, derive_seed, generator
from cxrkit.errors import DataError

shapes = st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(0, 30))


@settings(deadline=None, max_examples=50)
@given(shapes, st.integers(0, 1000))
def test_an_epoch_uses_each_film_at_most_once(shape: tuple[int, int, int], seed: int) -> None:
    batch, draws, extra = shape
    sampler = Sampler(batch * draws + extra, batch, draws, seed)
    seen = torch.cat([sampler.indices(step) for step in range(sampler.steps_per_epoch)])
    assert len(seen) == sampler.steps_per_epoch * batch * draws
    assert len(set(seen.tolist())) == len(seen)
    assert int(seen.min()) >= 0
    assert int(seen.max()) < sampler.films


def test_the_paper_makes_about_1000_updates() -> None:
    # Maga 2021 §3.1: 1000, 500 and 50 epochs of 10, 20 and 209 films, batch 5, pairs by mixup.
    updates = [Sampler(n, 5, 2, 0).steps_per_epoch * epochs for n, epochs in ((10, 1000), (20, 500), (209, 50))]
    assert updates == [1000, 1000, 1000]


@pytest.mark.parametrize("world", [2, 4])
def test_processes_share_the_batch_of_one(world: int) -> None:
    alone, shared = Sampler(40, 4, 2, 3), Sampler(40, 4, 2, 3, world)
    for step in range(12):
        pairs = {tuple(pair) for pair in alone.indices(step).view(2, -1).T.tolist()}
        parts = [shared.indices(step, rank).view(2, -1).T.tolist() for rank in range(world)]
        assert {tuple(pair) for part in parts for pair in part} == pairs


def test_steps_depend_on_seed_and_step_alone() -> None:
    first, again, other = (Sampler(20, 5, 1, seed) for seed in (1, 1, 2))
    assert torch.equal(first.indices(7), again.indices(7))
    assert any(not torch.equal(first.indices(step), other.indices(step)) for step in range(4))
    epochs = [torch.cat([first.indices(4 * epoch + k) for k in range(4)]) for epoch in range(2)]
    assert not torch.equal(*epochs)


@given(st.integers(1, 8), st.integers(2, 3), st.integers(1, 24), st.integers(0, 1000))
def test_few_films_are_mixed_several_times_but_never_with_themselves(
    batch: int, draws: int, films: int, seed: int
) -> None:
    try:
        sampler = Sampler(films, batch, draws, seed)
    except DataError:
        assert films <= batch * (draws - 1), "there are partners for all"
        return
    for step in range(3):
        mixed = sampler.indices(step).view(draws, batch)
        assert all(len(set(row)) == batch for row in mixed.tolist()), "no film twice in a batch"
        assert all(len(set(column)) == draws for column in mixed.T.tolist()), "no film with itself"


def test_all_of_few_films_take_part() -> None:
    sampler = Sampler(7, 5, 2, 0)
    assert sampler.steps_per_epoch == 1
    assert set(sampler.indices(3).tolist()) == set(range(7))


def test_too_few_films_says_how_small_the_batch_must_be() -> None:
    with pytest.raises(DataError, match=r"4 training films are too few for batches of 5\.") as caught:
        Sampler(4, 5, 1, 0)
    assert "--batch-size 4" in caught.value.remedy
    with pytest.raises(DataError, match=r"5 training films are too few for batches of 5 that are mixed") as caught:
        Sampler(5, 5, 2, 0)
    assert "--batch-size 4" in caught.value.remedy
    with pytest.raises(DataError, match=r"1 training film is too few for batches of 1 that are mixed") as caught:
        Sampler(1, 1, 2, 0)
    assert "more films" in caught.value.remedy


def test_an_uneven_share_is_refused() -> None:
    with pytest.raises(DataError, match="shared evenly by 2"):
        Sampler(20, 5, 1, 0, 2)


@given(st.integers(0, 2**31 - 1), st.integers(0, 10**6))
def test_seeds_are_separate_for_each_purpose(seed: int, step: int) -> None:
    seeds = {derive_seed(seed, "a", step), derive_seed(seed, "b", step), derive_seed(seed, "a", step + 1)}
    assert len(seeds) == 3
    assert all(0 <= value < 2**63 for value in seeds)
    assert generator(seed, "a", step).initial_seed() == derive_seed(seed, "a", step)


@settings(deadline=None, max_examples=15)
@given(shapes, st.floats(1.1, 4), st.integers(5, 20), st.integers(0, 1000))
def test_weights_say_how_often_films_are_drawn(
    shape: tuple[int, int, int], weight: float, others: int, seed: int
) -> None:
    batch, draws, extra = shape
    heavy = 4 * batch * draws + extra
    weights = (weight,) * heavy + (1.0,) * others
    sampler = Sampler(len(weights), batch, draws, seed, weights=weights)
    share = batch * draws * weight * heavy / (weight * heavy + others)
    counts = []
    for step in range(100):
        drawn = sampler.indices(step)
        assert len(set(drawn.tolist())) == batch * draws
        counts.append(int((drawn < heavy).sum()))
        assert int(share) <= counts[-1] <= int(share) + 1
    assert abs(sum(counts) / len(counts) - share) < 0.25


def test_two_processes_share_weighted_films_and_equal_weights_change_nothing() -> None:
    weights = (2.0,) * 10 + (1.0,) * 30
    alone, parts = Sampler(40, 4, 2, 3, weights=weights), Sampler(40, 4, 2, 3, 2, weights)
    for step in range(12):
        pairs = {tuple(pair) for pair in alone.indices(step).view(2, -1).T.tolist()}
        split = [parts.indices(step, rank).view(2, -1).T.tolist() for rank in range(2)]
        assert {tuple(pair) for part in split for pair in part} == pairs
    assert Sampler(40, 4, 2, 3, weights=(2.0,) * 40).indices(5).equal(Sampler(40, 4, 2, 3).indices(5))


def test_a_film_is_drawn_once_a_step_at_most() -> None:
    with pytest.raises(DataError, match="of a dataset would be drawn"):
        Sampler(12, 4, 1, 0, weights=(9.0,) * 2 + (1.0,) * 2 + (0.0001,) * 8)
