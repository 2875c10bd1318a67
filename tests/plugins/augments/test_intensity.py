"""Intensity changes: films in [0, 1] and standardised ones alike, targets never."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrkit import Batch
from cxrkit_plugins.augments.intensity import Intensity

property_test = settings(deadline=None, max_examples=25)
seeds = st.integers(0, 2**31 - 1)
STILL = {"brightness": 0.0, "contrast": 0.0, "gamma": 1.0, "blur": 0.0, "noise": 0.0}
strengths = st.fixed_dictionaries(
    {
        "brightness": st.floats(0, 1),
        "contrast": st.floats(0, 1),
        "gamma": st.floats(1, 5),
        "blur": st.floats(0, 10),
        "noise": st.floats(0, 0.5),
        "inversion": st.floats(0, 1),
        "probability": st.floats(0, 1),
    }
)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def films(count: int = 3, seed: int = 0) -> Batch:
    images = torch.rand(count, 1, 16, 12, generator=rng(seed))
    return Batch(images, (torch.rand(count, 2, 16, 12, generator=rng(seed)) > 0.5).float())


@property_test
@given(strengths, seeds)
def test_no_film_leaves_its_range_and_targets_stay(values: dict[str, Any], seed: int) -> None:
    batch = films(seed=seed)
    out = Intensity(**values)(batch, rng(seed))
    assert torch.equal(out.targets, batch.targets)
    assert bool(out.images.isfinite().all())
    assert bool((out.images.amin((1, 2, 3)) >= batch.images.amin((1, 2, 3)) - 1e-6).all())
    assert bool((out.images.amax((1, 2, 3)) <= batch.images.amax((1, 2, 3)) + 1e-6).all())


@property_test
@given(strengths, seeds, st.floats(0.1, 50), st.floats(-20, 20))
def test_standardised_films_change_like_those_in_the_unit_range(
    values: dict[str, Any], seed: int, scale: float, shift: float
) -> None:
    batch = films()
    plain = Intensity(**values)(batch, rng(seed)).images
    shifted = Intensity(**values)(batch.with_(images=batch.images * scale + shift), rng(seed)).images
    # The root of a dark pixel magnifies float32's rounding, hence the tolerance.
    torch.testing.assert_close((shifted - shift) / scale, plain, rtol=0, atol=2e-2)


@property_test
@given(seeds)
def test_nothing_changes_at_strength_or_probability_zero(seed: int) -> None:
    batch = films()
    torch.testing.assert_close(Intensity(**STILL)(batch, rng(seed)).images, batch.images)
    assert torch.equal(Intensity(probability=0.0)(batch, rng(seed)).images, batch.images)


def test_an_even_film_comes_out_as_it_was() -> None:
    batch = films().with_(images=torch.full((3, 1, 16, 12), -2.5))
    assert torch.equal(Intensity(inversion=1.0)(batch, rng()).images, batch.images)


def test_inversion_swaps_dark_and_bright() -> None:
    batch = films()
    low, high = batch.images.amin((1, 2, 3), keepdim=True), batch.images.amax((1, 2, 3), keepdim=True)
    out = Intensity(**STILL, inversion=1.0)(batch, rng()).images
    torch.testing.assert_close(out, low + high - batch.images)


def test_it_is_not_inverted_unless_asked_for() -> None:
    batch = films(16)
    out = Intensity(noise=0.0, blur=0.0)(batch, rng()).images
    for before, after in zip(batch.images, out, strict=True):
        assert torch.corrcoef(torch.stack([before.flatten(), after.flatten()]))[0, 1] > 0.8


@property_test
@given(seeds)
def test_gamma_keeps_the_order_of_grey_values_and_the_ends(seed: int) -> None:
    batch = films(1, seed)
    out = Intensity(**STILL | {"gamma": 2.0})(batch, rng(seed)).images
    order = batch.images.flatten().argsort()
    assert bool((out.flatten()[order].diff() >= 0).all())
    torch.testing.assert_close(out.amax(), batch.images.amax())
    torch.testing.assert_close(out.amin(), batch.images.amin())


def test_gamma_darkens_and_brightens_equally_often() -> None:
    batch = Batch(torch.rand(1, 1, 16, 16, generator=rng()).expand(400, -1, -1, -1), torch.zeros(400, 1, 16, 16))
    means = Intensity(**STILL | {"gamma": 1.4})(batch, rng(1)).images.mean((1, 2, 3))
    brighter = (means > batch.images[0].mean()).float().mean()
    assert 0.4 < float(brighter) < 0.6


@property_test
@given(seeds)
def test_brightness_shifts_and_contrast_stretches_within_their_limits(seed: int) -> None:
    # The ends of the range are pinned by two pixels; the others stay clear of being cut off.
    image = 0.4 + 0.2 * torch.rand(1, 1, 16, 16, generator=rng(seed))
    image[..., 0, 0], image[..., 0, 1] = 0, 1
    batch, inner = Batch(image, image), (..., slice(1, None), slice(None))
    shift = Intensity(**STILL | {"brightness": 0.2})(batch, rng(seed)).images[inner] - image[inner]
    assert float(shift.std()) < 1e-5
    assert abs(float(shift.mean())) <= 0.2 + 1e-5
    stretched = Intensity(**STILL | {"contrast": 0.3})(batch, rng(seed)).images[inner]
    assert 0.7 - 1e-4 <= float(stretched.std() / image[inner].std()) <= 1.3 + 1e-4


def test_blur_smooths_and_noise_roughens() -> None:
    batch = films(8)
    left = Intensity(**STILL | {"blur": 3.0})(batch, rng()).images.var((1, 2, 3)) / batch.images.var((1, 2, 3))
    assert bool((left <= 1 + 1e-5).all())
    assert float(left.min()) < 0.1
    grey = torch.full((8, 1, 32, 32), 0.5)
    grey[..., 0, 0], grey[..., 0, 1] = 0, 1
    noisy = Intensity(**STILL | {"noise": 0.1})(Batch(grey, grey), rng()).images
    deviation = (noisy - grey)[..., 1:, :].std((1, 2, 3))
    assert bool((deviation <= 0.11).all())
    assert float(deviation.max()) > 0.03


def test_blur_fits_films_smaller_than_its_kernel() -> None:
    tiny = Batch(torch.rand(2, 1, 3, 4, generator=rng()), torch.zeros(2, 1, 3, 4))
    assert Intensity(blur=10.0)(tiny, rng()).images.shape == (2, 1, 3, 4)


def test_every_film_is_changed_in_its_own_way() -> None:
    film = films(1)
    batch = Batch(film.images.expand(4, -1, -1, -1), film.targets.expand(4, -1, -1, -1))
    out = Intensity(noise=0.0)(batch, rng()).images
    assert len({tuple(image.flatten().tolist()) for image in out}) == 4
