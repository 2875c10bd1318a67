"""Dice and intersection over union against independent references, and their algebra."""

from __future__ import annotations

import doctest
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from monai.metrics import compute_dice, compute_iou

from cxrkit.compat import import_torchvision
from cxrkit.errors import DataError
from cxrkit.metrics import cardiothoracic, masks, overlap, surface
from cxrkit.metrics.masks import without_spots
from cxrkit.metrics.overlap import dice, intersection_over_union, soft_dice_pooled, soft_iou_per_channel

property_test = settings(deadline=None, max_examples=25)
SHAPE = (7, 6)
mask_arrays = arrays(bool, SHAPE)
probability_arrays = arrays(np.float64, (3, *SHAPE), elements=st.floats(0, 1))
EMPTY, FULL = np.zeros(SHAPE, bool), np.ones(SHAPE, bool)


@pytest.fixture(scope="module")
def torchmetrics_functional() -> ModuleType:
    """torchmetrics, which imports torchvision."""
    import_torchvision()
    from torchmetrics.functional import classification

    return classification


@pytest.mark.parametrize("module", [cardiothoracic, masks, overlap, surface], ids=lambda module: module.__name__)
def test_doctests_hold(module: ModuleType) -> None:
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


@property_test
@given(mask_arrays, mask_arrays)
def test_masks_equal_monai(a: np.ndarray, b: np.ndarray) -> None:
    first, second = (torch.from_numpy(mask[None, None].astype(np.float32)) for mask in (a, b))
    if a.any() or b.any():
        assert dice(a, b) == pytest.approx(float(compute_dice(first, second, ignore_empty=False)))
        assert intersection_over_union(a, b) == pytest.approx(float(compute_iou(first, second, ignore_empty=False)))


@property_test
@given(mask_arrays, mask_arrays)
def test_masks_equal_torchmetrics(torchmetrics_functional: ModuleType, a: np.ndarray, b: np.ndarray) -> None:
    first, second = (torch.from_numpy(mask.astype(np.int64)) for mask in (a, b))
    if a.any() or b.any():
        f1, jaccard = torchmetrics_functional.binary_f1_score, torchmetrics_functional.binary_jaccard_index
        assert dice(a, b) == pytest.approx(float(f1(first, second)))
        assert intersection_over_union(a, b) == pytest.approx(float(jaccard(first, second)))


@property_test
@given(mask_arrays, mask_arrays)
def test_masks_are_bounded_symmetric_and_convertible(a: np.ndarray, b: np.ndarray) -> None:
    coefficient, jaccard = dice(a, b), intersection_over_union(a, b)
    assert 0 <= jaccard <= coefficient <= 1
    assert (dice(b, a), intersection_over_union(b, a)) == (coefficient, jaccard)
    assert coefficient == pytest.approx(2 * jaccard / (1 + jaccard))
    assert dice(a, a) == intersection_over_union(a, a) == 1
    assert (coefficient == 1) == bool((a == b).all())


@property_test
@given(mask_arrays, mask_arrays, st.integers(0, SHAPE[0] - 1), st.integers(0, SHAPE[1] - 1))
def test_another_right_pixel_never_lowers_them(a: np.ndarray, b: np.ndarray, row: int, column: int) -> None:
    better = a.copy()
    better[row, column] = b[row, column]
    assert dice(better, b) >= dice(a, b)
    assert intersection_over_union(better, b) >= intersection_over_union(a, b)


@pytest.mark.parametrize("metric", [dice, intersection_over_union])
def test_empty_masks_follow_the_stated_rule(metric: object) -> None:
    assert callable(metric)
    assert metric(EMPTY, EMPTY) == 1
    assert metric(EMPTY, FULL) == metric(FULL, EMPTY) == 0


@property_test
@given(mask_arrays, mask_arrays)
def test_soft_iou_of_hard_masks_is_the_jaccard_index(a: np.ndarray, b: np.ndarray) -> None:
    soft = soft_iou_per_channel(a[None].astype(float), b[None].astype(float))
    assert soft[0] == pytest.approx(intersection_over_union(a, b))
    assert soft_dice_pooled(a[None], b[None], epsilon=0.0) == pytest.approx(dice(a, b))


@property_test
@given(probability_arrays, probability_arrays)
def test_soft_metrics_are_bounded_and_symmetric(p: np.ndarray, g: np.ndarray) -> None:
    per_channel = soft_iou_per_channel(p, g)
    assert per_channel.shape == (3,)
    assert bool(((per_channel >= 0) & (per_channel <= 1 + 1e-12)).all())
    assert 0 <= soft_dice_pooled(p, g) <= 1 + 1e-12
    np.testing.assert_allclose(per_channel, soft_iou_per_channel(g, p))
    assert soft_dice_pooled(p, g) == pytest.approx(soft_dice_pooled(g, p))
    np.testing.assert_allclose(soft_iou_per_channel(p, p), 1)


def test_soft_metrics_by_hand() -> None:
    p = np.array([[[0.5, 1.0]], [[0.0, 0.0]]])
    g = np.array([[[1.0, 1.0]], [[0.0, 1.0]]])
    # Σpg = 1.5, Σp = 1.5, Σg = 3: (3 + 0.1) / (4.5 + 0.1)
    assert soft_dice_pooled(p, g) == pytest.approx(3.1 / 4.6)
    # Channel 0: 1.5 / (1.25 + 2 - 1.5); channel 1: 0 / (0 + 1 - 0)
    np.testing.assert_allclose(soft_iou_per_channel(p, g), [1.5 / 1.75, 0])


def test_soft_metrics_of_nothing_are_one() -> None:
    nothing = np.zeros((2, 4, 4))
    assert soft_dice_pooled(nothing, nothing) == soft_dice_pooled(nothing, nothing, epsilon=0) == 1
    assert soft_iou_per_channel(nothing, nothing).tolist() == [1, 1]


def test_sums_keep_their_digits_in_large_float32_films() -> None:
    g = np.ones((1, 2048, 2048), np.float32)
    p = np.full_like(g, 0.1)
    value = float(np.float32(0.1))
    assert soft_dice_pooled(p, g, epsilon=0.0) == pytest.approx(2 * value / (1 + value), rel=1e-12)


@pytest.mark.parametrize("metric", [dice, intersection_over_union])
def test_what_is_not_a_mask_is_reported(metric: object) -> None:
    assert callable(metric)
    with pytest.raises(DataError, match="Threshold it first"):
        metric(FULL * 0.3, FULL)
    with pytest.raises(DataError, match=r"prediction \(7, 6\), target \(7, 5\)"):
        metric(FULL, FULL[:, :5])
    with pytest.raises(DataError, match=r"not \(H, W\)"):
        metric(FULL[None], FULL[None])


@pytest.mark.parametrize("metric", [soft_dice_pooled, soft_iou_per_channel])
def test_channels_that_do_not_fit_are_reported(metric: object) -> None:
    assert callable(metric)
    with pytest.raises(DataError, match="of one shape"):
        metric(np.zeros((4, 8, 8)), np.zeros((3, 8, 8)))


@property_test
@given(mask_arrays, st.floats(0, 1))
def test_dropping_spots_keeps_the_largest_part(mask: np.ndarray, minimum_part: float) -> None:
    kept = without_spots(mask, minimum_part)
    assert not (kept & ~mask).any()
    assert kept.any() == mask.any()
    np.testing.assert_array_equal(without_spots(kept, minimum_part), kept)
    np.testing.assert_array_equal(without_spots(mask, 0.0), mask)
