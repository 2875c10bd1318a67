"""Geometric deformation: image and masks stay together, and masks stay masks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cxrkit import Batch
from cxrkit_plugins.augments.geometric import Geometric

property_test = settings(deadline=None, max_examples=25)
seeds = st.integers(0, 2**31 - 1)
STILL = {"rotation": 0.0, "translation": 0.0, "scaling": 0.0, "shear": 0.0, "elastic": 0.0}
strengths = st.fixed_dictionaries(
    {
        "rotation": st.floats(0, 180),
        "translation": st.floats(0, 0.5),
        "scaling": st.floats(0, 0.9),
        "shear": st.floats(0, 45),
        "elastic": st.floats(0, 0.05),
        "elastic_points": st.integers(3, 16),
        "horizontal_flip": st.floats(0, 1),
        "probability": st.floats(0, 1),
    }
)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def films(count: int = 2, height: int = 24, width: int = 20) -> Batch:
    """Three disjoint bands of random breadth that touch the borders, and the background."""
    masks = torch.zeros(count, 4, height, width)
    masks[:, 0, :, : width // 3] = 1
    masks[:, 1, : height // 2, width // 2 :] = 1
    masks[:, 2, height // 2 + 2 :, width // 2 :] = 1
    masks[:, 3] = 1 - masks[:, :3].sum(1)
    images = torch.randn(count, 1, height, width, generator=rng(1))
    return Batch(images, masks)


@property_test
@given(strengths, seeds)
def test_targets_stay_targets_and_add_up(values: dict[str, Any], seed: int) -> None:
    batch = films()
    out = Geometric(**values)(batch, rng(seed))
    assert out.images.shape == batch.images.shape
    assert bool(((out.targets >= 0) & (out.targets <= 1)).all())
    # Disjoint structures and the background shared every pixel before; also in the corners they do so now.
    torch.testing.assert_close(out.targets.sum(1), torch.ones_like(out.targets[:, 0]), rtol=0, atol=1e-5)
    # Interpolation makes no new grey values.
    assert bool((out.images.amax((1, 2, 3)) <= batch.images.amax((1, 2, 3)) + 1e-5).all())
    assert bool((out.images.amin((1, 2, 3)) >= batch.images.amin((1, 2, 3)) - 1e-5).all())


@property_test
@given(strengths, seeds)
def test_image_and_masks_move_together(values: dict[str, Any], seed: int) -> None:
    masks = films().targets
    out = Geometric(**values)(Batch(masks[:, :1], masks), rng(seed))
    torch.testing.assert_close(out.images, out.targets[:, :1])


@property_test
@given(seeds)
def test_nothing_moves_at_strength_or_probability_zero(seed: int) -> None:
    batch = films()
    for still in (Geometric(**STILL), Geometric(probability=0.0)):
        out = still(batch, rng(seed))
        torch.testing.assert_close(out.images, batch.images, rtol=0, atol=1e-5)
        torch.testing.assert_close(out.targets, batch.targets, rtol=0, atol=1e-5)


@property_test
@given(seeds)
def test_flipping_mirrors_images_and_masks(seed: int) -> None:
    batch = films(3)
    out = Geometric(**STILL, horizontal_flip=1.0)(batch, rng(seed))
    torch.testing.assert_close(out.images, batch.images.flip(-1), rtol=0, atol=1e-5)
    torch.testing.assert_close(out.targets, batch.targets.flip(-1), rtol=0, atol=1e-5)


def disc(height: int, width: int, x: float, y: float, radius: float) -> Tensor:
    rows, columns = torch.arange(height).view(-1, 1), torch.arange(width).view(1, -1)
    return (((columns - x) ** 2 + (rows - y) ** 2) <= radius**2).float().view(1, 1, height, width)


def centre(mask: Tensor) -> tuple[float, float]:
    rows, columns = torch.arange(mask.shape[-2]).view(-1, 1), torch.arange(mask.shape[-1]).view(1, -1)
    return float((mask[0, 0] * columns).sum() / mask.sum()), float((mask[0, 0] * rows).sum() / mask.sum())


@property_test
@given(seeds)
def test_laterality_is_kept_unless_asked_for(seed: int) -> None:
    right = disc(64, 64, 45, 32, 8)
    x, _ = centre(Geometric()(Batch(right, right), rng(seed)).targets)
    assert x > 32


@property_test
@given(seeds)
def test_a_rotation_is_one_on_oblong_films(seed: int) -> None:
    still = STILL | {"rotation": 180.0}
    mask = disc(60, 120, 75, 29.5, 6)
    out = Geometric(**still)(Batch(mask, mask), rng(seed)).targets
    x, y = centre(out)
    # It stays as large and as far from the centre (59.5, 29.5) as it was.
    assert float(out.sum()) == pytest.approx(float(mask.sum()), rel=0.03)
    assert ((x - 59.5) ** 2 + (y - 29.5) ** 2) ** 0.5 == pytest.approx(15.5, abs=0.3)


@property_test
@given(seeds)
def test_each_strength_stays_within_its_limit(seed: int) -> None:
    mask = disc(64, 96, 47.5, 31.5, 10)
    x, y = centre(Geometric(**STILL | {"translation": 0.1})(Batch(mask, mask), rng(seed)).targets)
    assert abs(x - 47.5) <= 9.6 + 0.1
    assert abs(y - 31.5) <= 6.4 + 0.1
    area = Geometric(**STILL | {"scaling": 0.2})(Batch(mask, mask), rng(seed)).targets.sum() / mask.sum()
    assert 0.8**2 - 0.03 <= float(area) <= 1.2**2 + 0.03


def test_scaling_draws_both_larger_and_smaller_films() -> None:
    mask = disc(48, 48, 23.5, 23.5, 10).expand(16, -1, -1, -1)
    areas = Geometric(**STILL | {"scaling": 0.2})(Batch(mask, mask), rng()).targets.sum((1, 2, 3))
    assert float(areas.min()) < float(mask[0].sum()) < float(areas.max())


@property_test
@given(seeds)
def test_the_default_bending_folds_nothing(seed: int) -> None:
    grid = Geometric().draw_grid(4, 48, 48, rng(seed), torch.device("cpu"))
    along_x, along_y = grid[:, :-1, 1:] - grid[:, :-1, :-1], grid[:, 1:, :-1] - grid[:, :-1, :-1]
    area = along_x[..., 0] * along_y[..., 1] - along_x[..., 1] * along_y[..., 0]
    assert bool((area > 0).all())


def test_bending_bends() -> None:
    grid = Geometric(**STILL | {"elastic": 0.02}).draw_grid(2, 64, 64, rng(), torch.device("cpu"))
    straight = F.affine_grid(torch.eye(2, 3).expand(2, -1, -1), [2, 1, 64, 64], align_corners=False)
    shift = (grid - straight).std() / 2  # [-1, 1] is two halves of a side
    assert 0.01 < float(shift) < 0.03


def test_every_film_is_deformed_in_its_own_way() -> None:
    film = films(1)
    batch = Batch(film.images.expand(4, -1, -1, -1), film.targets.expand(4, -1, -1, -1))
    out = Geometric()(batch, rng()).images
    assert len({tuple(image.flatten().tolist()) for image in out}) == 4
