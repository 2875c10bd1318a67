"""The overlap losses: their identities, their limits, and an independent reference."""

from __future__ import annotations

import doctest
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.losses import DiceLoss as MonaiDice
from monai.losses import TverskyLoss as MonaiTversky
from torch import Tensor

from cxrkit import SideOutputs
from cxrkit.errors import ContractError
from cxrkit.plugins import registry
from cxrkit_plugins.losses import functional
from cxrkit_plugins.losses.cross_entropy import BinaryCrossEntropyLoss
from cxrkit_plugins.losses.overlap import DiceLoss, FocalTverskyLoss, TverskyLoss

OVERLAP = ["dice", "tversky", "focal-tversky"]
ALL = [*OVERLAP, "bce"]
REDUCTIONS = ["per-class", "pooled"]

property_test = settings(deadline=None, max_examples=25)
seeds = st.integers(0, 2**31 - 1)
weights = st.floats(0.05, 2.0)
epsilons = st.sampled_from([1e-3, 0.1, 1.0])
reductions = st.sampled_from(REDUCTIONS)


def build(name: str, **values: Any) -> Any:
    return registry().get("loss", name).build(**values)


def films(seed: int, soft: bool = False) -> tuple[Tensor, Tensor]:
    """Logits and targets of 3 films with 4 channels, in float64."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(3, 4, 6, 5, generator=generator, dtype=torch.float64)
    targets = torch.rand(3, 4, 6, 5, generator=generator, dtype=torch.float64)
    return logits, targets if soft else (targets > 0.6).double()


def test_doctests_hold() -> None:
    result = doctest.testmod(functional)
    assert result.attempted >= 2
    assert result.failed == 0


@property_test
@given(seeds, reductions, epsilons, st.booleans())
def test_dice_is_tversky_at_half_is_focal_tversky_at_gamma_one(
    seed: int, reduction: Any, epsilon: float, soft: bool
) -> None:
    logits, targets = films(seed, soft)
    same = {"reduction": reduction, "epsilon": epsilon}
    half = {"false_negative_weight": 0.5, "false_positive_weight": 0.5}
    dice = DiceLoss(**same)(logits, targets)
    assert dice == TverskyLoss(**half, **same)(logits, targets)
    assert dice == FocalTverskyLoss(**half, inverse_gamma=1.0, **same)(logits, targets)


@property_test
@given(seeds, epsilons)
def test_dice_is_the_textbook_formula(seed: int, epsilon: float) -> None:
    logits, targets = films(seed)
    p = logits.sigmoid()
    overlap, total = (p * targets).sum(), p.sum() + targets.sum()
    expected = 1 - (2 * overlap + 2 * epsilon) / (total + 2 * epsilon)
    torch.testing.assert_close(DiceLoss(reduction="pooled", epsilon=epsilon)(logits, targets), expected)


@property_test
@given(seeds, weights, weights, epsilons, st.booleans())
def test_tversky_equals_monai_which_names_the_weights_the_other_way_round(
    seed: int, false_negative_weight: float, false_positive_weight: float, epsilon: float, soft: bool
) -> None:
    logits, targets = films(seed, soft)
    ours = TverskyLoss(
        false_negative_weight=false_negative_weight,
        false_positive_weight=false_positive_weight,
        epsilon=epsilon,
    )
    theirs = MonaiTversky(
        sigmoid=True,
        alpha=false_positive_weight,
        beta=false_negative_weight,
        smooth_nr=epsilon,
        smooth_dr=epsilon,
        batch=True,
        reduction="sum",
    )
    torch.testing.assert_close(ours(logits, targets), theirs(logits, targets))


def test_dice_equals_monai_at_twice_the_epsilon() -> None:
    logits, targets = films(1)
    theirs = MonaiDice(sigmoid=True, smooth_nr=0.2, smooth_dr=0.2, batch=True, reduction="sum")
    torch.testing.assert_close(DiceLoss(epsilon=0.1)(logits, targets), theirs(logits, targets))


@property_test
@given(seeds)
def test_focal_tversky_is_the_papers_formula(seed: int) -> None:
    logits, targets = films(seed)
    p = logits.sigmoid()
    expected = torch.zeros((), dtype=torch.float64)
    for c in range(4):
        hit = (p[:, c] * targets[:, c]).sum()
        missed = ((1 - p[:, c]) * targets[:, c]).sum()
        wrong = (p[:, c] * (1 - targets[:, c])).sum()
        index = (hit + 0.1) / (hit + 0.6 * missed + 0.4 * wrong + 0.1)
        expected = expected + (1 - index) ** 0.675
    torch.testing.assert_close(FocalTverskyLoss()(logits, targets), expected)


@property_test
@given(seeds, weights, weights, reductions)
def test_the_distance_is_bounded(
    seed: int, false_negative_weight: float, false_positive_weight: float, reduction: Any
) -> None:
    logits, targets = films(seed, soft=True)
    settings_ = {
        "false_negative_weight": false_negative_weight,
        "false_positive_weight": false_positive_weight,
        "epsilon": 0.1,
        "reduction": reduction,
    }
    distance = functional.tversky_distance(logits.sigmoid(), targets, **settings_)
    assert distance.shape == ((4,) if reduction == "per-class" else ())
    assert bool(((distance >= 0) & (distance < 1)).all())


@pytest.mark.parametrize("name", ["tversky", "focal-tversky"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_alpha_weighs_false_negatives_and_beta_false_positives(name: str, reduction: str) -> None:
    target = torch.zeros(1, 1, 8, 8)
    target[..., 2:6, 2:6] = 1
    missed, wrong = target.clone(), target.clone()
    missed[..., 2, 2:6] = 0  # four pixels too few
    wrong[..., 1, 2:6] = 1  # four too many
    strict = build(name, reduction=reduction, false_negative_weight=0.9, false_positive_weight=0.1)
    lenient = build(name, reduction=reduction, false_negative_weight=0.1, false_positive_weight=0.9)
    logits_missed, logits_wrong = (missed - 0.5) * 40, (wrong - 0.5) * 40
    assert strict(logits_missed, target) > strict(logits_wrong, target)
    assert lenient(logits_missed, target) < lenient(logits_wrong, target)
    assert strict(logits_missed, target) > lenient(logits_missed, target)


@property_test
@given(seeds, reductions, st.sampled_from(ALL))
def test_order_of_films_does_not_matter(seed: int, reduction: Any, name: str) -> None:
    logits, targets = films(seed, soft=True)
    loss = build(name) if name == "bce" else build(name, reduction=reduction)
    order = torch.randperm(3, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(loss(logits[order], targets[order]), loss(logits, targets))


@property_test
@given(seeds, reductions)
def test_losses_fall_as_more_of_the_target_is_found(seed: int, reduction: Any) -> None:
    _, targets = films(seed)
    # From a wrong mask to the right one in steps: each turns a part of the pixels right.
    rank = torch.rand(targets.shape, generator=torch.Generator().manual_seed(seed))
    values = []
    for right in (0.0, 0.25, 0.5, 0.75, 1.01):
        logits = torch.where(rank < right, targets - 0.5, 0.5 - targets) * 8
        values.append([float(build(name, reduction=reduction)(logits, targets)) for name in OVERLAP])
    for earlier, later in pairwise(values):
        assert all(b < a for a, b in zip(earlier, later, strict=True))


def awkward() -> dict[str, tuple[Tensor, Tensor]]:
    square = torch.zeros(2, 4, 8, 8)
    square[:, :, 2:6, 2:6] = 1
    empty, full = torch.zeros_like(square), torch.ones_like(square)
    return {
        "perfect": ((square - 0.5) * 2e4, square),
        "nearly perfect": ((square - 0.5) * 40, square),
        "wholly wrong": ((0.5 - square) * 2e4, square),
        "empty mask, found empty": (empty - 1e4, empty),
        "empty mask, all marked": (empty + 1e4, empty),
        "all background": (full * -1e4, full),
        "undecided": (empty, empty),
        "full, perfect": (full * 1e4, full),
    }


@pytest.mark.parametrize(
    ("name", "options"),
    [("bce", {}), *((name, {"reduction": reduction}) for name in OVERLAP for reduction in REDUCTIONS)],
    ids=str,
)
def test_values_and_gradients_are_finite_in_half_precision_too(name: str, options: dict[str, str]) -> None:
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        for case, (logits, targets) in awkward().items():
            logits = logits.to(dtype).requires_grad_()
            value = build(name, **options)(logits, targets)
            value.backward()
            assert value.dtype == torch.float32
            assert value.isfinite(), (dtype, case)
            assert logits.grad is not None
            assert bool(logits.grad.isfinite().all()), (dtype, case)


@pytest.mark.parametrize("name", ALL)
def test_a_perfect_mask_costs_nothing(name: str) -> None:
    logits, targets = awkward()["perfect"]
    assert build(name)(logits, targets) == 0


@property_test
@given(st.floats(0.2, 3.0))
def test_focal_power_is_continuous_and_rises(inverse_gamma: float) -> None:
    edge = functional.LINEAR_BELOW
    distance = torch.tensor([0, edge * 1e-3, edge * (1 - 1e-9), edge, edge * (1 + 1e-9), 0.1, 1.0]).double()
    values = functional.focal_power(distance, inverse_gamma)
    assert values[0] == 0
    assert bool((values.diff() >= 0).all())
    torch.testing.assert_close(values[2], values[3], rtol=1e-6, atol=0)
    torch.testing.assert_close(values[3:], distance[3:] ** inverse_gamma)


def test_gradients_are_those_of_the_values() -> None:
    logits, targets = films(3, soft=True)
    logits = logits[:2, :2, :3, :3].clone().requires_grad_()
    targets = targets[:2, :2, :3, :3]
    for reduction in REDUCTIONS:
        loss = FocalTverskyLoss(reduction=reduction)
        assert torch.autograd.gradcheck(lambda x, loss=loss: loss(x, targets), (logits,))


def test_per_class_is_the_sum_over_classes_and_equals_pooled_for_one_class() -> None:
    logits, targets = films(5)
    for name in OVERLAP:
        parts = [build(name)(logits[:, c : c + 1], targets[:, c : c + 1]) for c in range(4)]
        torch.testing.assert_close(build(name)(logits, targets), torch.stack(parts).sum())
        pooled = build(name, reduction="pooled")(logits[:, :1], targets[:, :1])
        torch.testing.assert_close(pooled, parts[0])


@pytest.mark.parametrize("name", ALL)
def test_other_shapes_are_reported(name: str) -> None:
    for shape in ((2, 1, 8, 8), (2, 4, 8, 4), (4, 8, 8)):
        with pytest.raises(ContractError, match=r"\(2, 4, 8, 8\)"):
            build(name)(torch.zeros(shape), torch.zeros(2, 4, 8, 8))


def test_parameters_show_in_print() -> None:
    assert "inverse_gamma=0.675" in repr(FocalTverskyLoss())
    assert "positive_weight=2.0" in repr(BinaryCrossEntropyLoss(positive_weight=2.0))


@property_test
@given(seeds, st.floats(0.1, 10))
def test_cross_entropy_is_the_textbook_formula(seed: int, positive_weight: float) -> None:
    logits, targets = films(seed, soft=True)
    p = logits.sigmoid()
    expected = -(positive_weight * targets * p.log() + (1 - targets) * (1 - p).log()).mean()
    ours = BinaryCrossEntropyLoss(positive_weight=positive_weight)(logits, targets)
    torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-9)


def test_cross_entropy_has_no_state_to_save() -> None:
    assert not BinaryCrossEntropyLoss(positive_weight=3.0).state_dict()


@property_test
@given(st.sampled_from(OVERLAP), seeds, reductions)
def test_both_forms_of_the_intersection_are_equal_for_hard_targets(name: str, seed: int, reduction: Any) -> None:
    logits, targets = films(seed)
    product, l1 = (build(name, reduction=reduction, intersection=form)(logits, targets) for form in ("product", "l1"))
    torch.testing.assert_close(l1, product)


@property_test
@given(st.sampled_from(OVERLAP), seeds, reductions, st.floats(-3, 3))
def test_soft_targets_are_met_best_by_themselves_in_the_l1_form(
    name: str, seed: int, reduction: Any, shift: float
) -> None:
    logits, _ = films(seed)
    loss = build(name, reduction=reduction, intersection="l1")
    at_target = loss(logits, logits.sigmoid())
    assert float(at_target) == pytest.approx(0, abs=1e-6)
    assert float(loss(logits + shift, logits.sigmoid())) >= float(at_target)


def test_the_product_form_prefers_certainty_to_a_soft_target() -> None:
    targets = torch.full((1, 1, 50, 50), 0.7)
    same, certain = torch.logit(targets), torch.full_like(targets, 20.0)
    product, l1 = build("dice"), build("dice", intersection="l1")
    assert float(product(same, targets)) == pytest.approx(0.299, abs=2e-3)
    assert float(product(certain, targets)) == pytest.approx(0.176, abs=2e-3)
    assert float(l1(same, targets)) < 1e-6 < float(l1(certain, targets))


def test_abrahams_loss_focuses_the_side_heads_and_not_the_last() -> None:
    """(1 − TI)^0.75 of side heads on every n-th pixel and 1 − TI of the last, summed with weight 1."""
    loss = build(
        "focal-tversky",
        false_negative_weight=0.7,
        false_positive_weight=0.3,
        inverse_gamma=0.75,
        epsilon=1.0,
        reduction="pooled",
        main_exponent=1,
        side_targets="stride",
    )
    torch.manual_seed(0)
    targets = (torch.rand(2, 3, 16, 24) > 0.5).float()
    sides = tuple(torch.randn(2, 3, 16 // step, 24 // step) for step in (8, 4, 2))
    main = torch.randn(2, 3, 16, 24)

    def distance(logits: Tensor, wanted: Tensor) -> Tensor:
        p = logits.sigmoid()
        hits = (p * wanted).sum()
        return 1 - (hits + 1) / (hits + 0.7 * ((1 - p) * wanted).sum() + 0.3 * (p * (1 - wanted)).sum() + 1)

    expected = distance(main, targets)
    for step, side in zip((8, 4, 2), sides, strict=True):
        expected = expected + distance(side, targets[..., ::step, ::step]) ** 0.75
    torch.testing.assert_close(loss.total(SideOutputs(main, sides), targets, main), expected)
