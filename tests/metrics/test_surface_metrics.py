"""HD95 and ASSD against MONAI, with its blind spots filled by a stated rule."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice
from scipy import ndimage

from cxrkit.errors import DataError
from cxrkit.metrics.surface import (
    outline,
    surface_distances,
)

property_test = settings(deadline=None, max_examples=25)
seeds = st.integers(0, 2**31 - 1)
spacings = st.tuples(st.floats(0.1, 2.0), st.floats(0.1, 2.0))


def blobs(seed: int, height: int = 40, width: int = 32) -> np.ndarray:
    """Smooth random shapes, several parts, often cut off by the border."""
    noise = np.random.default_rng(seed).normal(size=(height, width))
    smooth = ndimage.gaussian_filter(noise, 3, mode="wrap")
    return smooth > np.quantile(smooth, 0.7)


@property_test
@given(seeds, seeds, st.none() | spacings)
def test_blobs_equal_monai(one: int, other: int, spacing: tuple[float, float] | None) -> None:
    a, b = blobs(one), blobs(other)
    pair = [torch.from_numpy(mask[None, None]) for mask in (a, b)]
    ours = surface_distances(a, b, spacing)
    hausdorff = compute_hausdorff_distance(*pair, include_background=True, percentile=95, spacing=spacing)
    average = compute_average_surface_distance(*pair, include_background=True, symmetric=True, spacing=spacing)
    assert ours.hausdorff_95 == pytest.approx(float(hausdorff), rel=1e-5, abs=1e-6)
    assert ours.average == pytest.approx(float(average), rel=1e-5, abs=1e-6)


@property_test
@given(arrays(bool, (9, 8)), arrays(bool, (9, 8)), st.none() | spacings, st.floats(0, 8))
def test_the_share_within_a_tolerance_equals_that_of_all_pairs(
    a: np.ndarray, b: np.ndarray, spacing: tuple[float, float] | None, tolerance: float
) -> None:
    found = surface_distances(a, b, spacing, tolerance=tolerance).within
    if not (a.any() and b.any()):
        assert found == float(a.any() == b.any())
        return
    points = [np.argwhere(outline(mask)) * (spacing or (1.0, 1.0)) for mask in (a, b)]
    apart = np.linalg.norm(points[0][:, None] - points[1][None], axis=-1)
    nearest = np.concatenate([apart.min(axis=1), apart.min(axis=0)])
    assert found == pytest.approx((nearest <= tolerance * (1 + 1e-9)).mean(), abs=1e-12)


@property_test
@given(seeds, seeds)
def test_the_share_within_a_tolerance_is_monais_surface_dice(one: int, other: int) -> None:
    a, b = blobs(one), blobs(other)
    pair = [torch.from_numpy(mask[None, None]) for mask in (a, b)]
    theirs = compute_surface_dice(*pair, class_thresholds=[1.5], include_background=True)
    assert surface_distances(a, b, tolerance=1.5).within == pytest.approx(float(theirs), abs=1e-6)


def test_a_distance_of_exactly_the_tolerance_is_within_it() -> None:
    square, shifted = np.zeros((12, 12), bool), np.zeros((12, 12), bool)
    square[2:6, 2:6], shifted[5:9, 2:6] = True, True
    assert surface_distances(square, shifted, (0.7, 0.1), tolerance=3 * 0.7).within == 1
    with pytest.raises(DataError, match="tolerance -1"):
        surface_distances(square, shifted, tolerance=-1)


@pytest.mark.parametrize("rows", [slice(0, 10), slice(30, 40), slice(0, 40)], ids=["top", "bottom", "whole height"])
def test_masks_at_the_border_equal_monai(rows: slice) -> None:
    a, b = np.zeros((40, 32), bool), np.zeros((40, 32), bool)
    a[rows, 0:12], b[rows, 6:32] = True, True
    pair = [torch.from_numpy(mask[None, None]) for mask in (a, b)]
    hausdorff = compute_hausdorff_distance(*pair, include_background=True, percentile=95)
    average = compute_average_surface_distance(*pair, include_background=True, symmetric=True)
    assert surface_distances(a, b).hausdorff_95 == pytest.approx(float(hausdorff))
    assert surface_distances(a, b).average == pytest.approx(float(average))


@property_test
@given(arrays(bool, (9, 8)), arrays(bool, (9, 8)), spacings)
def test_they_are_symmetric_and_within_the_diagonal(a: np.ndarray, b: np.ndarray, spacing: tuple[float, float]) -> None:
    ours, swapped = surface_distances(a, b, spacing), surface_distances(b, a, spacing)
    diagonal = np.hypot(9 * spacing[0], 8 * spacing[1])
    assert 0 <= ours.average <= diagonal
    assert 0 <= ours.hausdorff_95 <= diagonal
    assert ours.hausdorff_95 == pytest.approx(swapped.hausdorff_95)
    assert ours.average == pytest.approx(swapped.average)
    assert surface_distances(a, a, spacing).average == surface_distances(a, a, spacing).hausdorff_95 == 0


@property_test
@given(seeds, st.floats(0.1, 5))
def test_they_grow_with_the_pixel(seed: int, scale: float) -> None:
    a, b = blobs(seed), blobs(seed + 1)
    pixels, scaled = surface_distances(a, b), surface_distances(a, b, (scale, scale))
    assert scaled.hausdorff_95 == pytest.approx(scale * pixels.hausdorff_95)
    assert scaled.average == pytest.approx(scale * pixels.average)


@property_test
@given(seeds, st.integers(0, 6), st.integers(0, 9))
def test_they_do_not_depend_on_the_place(seed: int, down: int, right: int) -> None:
    a, b = (np.pad(blobs(s, 20, 20), 1) for s in (seed, seed + 1))
    moved = [np.pad(mask, ((down, 6 - down), (right, 9 - right))) for mask in (a, b)]
    assert surface_distances(a, b) == surface_distances(*moved)


def test_a_shift_is_measured_along_its_axis() -> None:
    a, b = np.zeros((60, 60), bool), np.zeros((60, 60), bool)
    a[10:50, 20:21], b[10:50, 25:26] = True, True
    distances = surface_distances(a, b, spacing=(9.0, 0.2))
    assert (distances.hausdorff_95, distances.average) == pytest.approx((1.0, 1.0))


def test_empty_masks_follow_the_stated_rule() -> None:
    empty, some = np.zeros((30, 40), bool), np.zeros((30, 40), bool)
    some[3:9, 4:9] = True
    assert surface_distances(empty, empty).hausdorff_95 == surface_distances(empty, empty).average == 0
    for pair in ((empty, some), (some, empty)):
        assert surface_distances(*pair).hausdorff_95 == surface_distances(*pair).average == 50
        assert surface_distances(*pair, spacing=(0.1, 0.2)).hausdorff_95 == pytest.approx(np.hypot(3, 8))


def test_the_outline_is_one_pixel_wide_and_includes_the_border() -> None:
    mask = np.ones((5, 5), bool)
    assert outline(mask).sum() == 16
    single = np.zeros((5, 5), bool)
    single[2, 2] = True
    np.testing.assert_array_equal(outline(single), single)


@pytest.mark.parametrize("spacing", [(1.0,), (1.0, 1.0, 1.0), (0.0, 1.0), (1.0, -1.0), (1.0, float("nan"))])
def test_an_invalid_spacing_is_reported(spacing: tuple[float, ...]) -> None:
    mask = np.ones((4, 4), bool)
    with pytest.raises(DataError, match="spacing"):
        surface_distances(mask, mask, spacing)


def test_masks_of_two_sizes_are_reported() -> None:
    with pytest.raises(DataError, match="differ in shape"):
        surface_distances(np.ones((4, 4), bool), np.ones((4, 5), bool))
