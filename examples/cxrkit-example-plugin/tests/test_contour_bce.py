"""Numbers that can be worked out by hand, and what a contour weight is for."""

import math

import pytest
import torch
import torch.nn.functional as F
from cxrkit_example_plugin.contour_bce import contour_band, contour_bce


def _square() -> torch.Tensor:
    """A square of 8 × 8 pixels in the middle of a film of 16 × 16."""
    targets = torch.zeros(1, 1, 16, 16)
    targets[..., 4:12, 4:12] = 1
    return targets


def test_band_lies_on_both_sides_of_the_contour() -> None:
    band = contour_band(_square(), radius=1)
    # One pixel outside (10 × 10) down to one pixel inside (6 × 6).
    assert band.unique().tolist() == [0, 1]
    assert band.sum() == 10 * 10 - 6 * 6
    assert band[0, 0, 8].tolist() == [0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0]


def test_the_edge_of_the_film_is_no_contour() -> None:
    assert contour_band(torch.ones(1, 1, 8, 8), radius=2).sum() == 0


def test_soft_targets_have_a_soft_band() -> None:
    torch.testing.assert_close(contour_band(0.3 * _square(), 1), 0.3 * contour_band(_square(), 1))


def test_without_weight_it_is_binary_cross_entropy() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(2, 3, 16, 16), torch.rand(2, 3, 16, 16)
    expected = F.binary_cross_entropy_with_logits(logits, targets)
    torch.testing.assert_close(contour_bce(logits, targets, contour_weight=0.0, radius=2), expected)


def test_a_constant_prediction_costs_the_same_whatever_the_weight() -> None:
    # p = 1/2 everywhere: each pixel costs ln 2, and so does any weighted mean of them.
    value = contour_bce(torch.zeros(1, 1, 16, 16), _square(), contour_weight=7.0, radius=3)
    assert value.item() == pytest.approx(math.log(2), rel=1e-6)


def test_a_mistake_at_the_contour_costs_more_than_one_far_away() -> None:
    def cost(row: int, column: int, weight: float) -> float:
        logits = 10 * (2 * _square() - 1)
        logits[0, 0, row, column] *= -1
        return contour_bce(logits, _square(), contour_weight=weight, radius=1).item()

    near, far = (4, 4), (8, 8)
    assert cost(*near, weight=0.0) == pytest.approx(cost(*far, weight=0.0))
    # Both means have the same denominator, so the costs are as the weights: 6 to 1, but for the 1e-5 of the rest.
    assert cost(*near, weight=5.0) / cost(*far, weight=5.0) == pytest.approx(6, rel=0.02)
