"""Focal, Lovász, Hausdorff and adaptive squared-error losses: their formulas and limits."""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cxrkit.errors import ConfigError, ContractError
from cxrkit.plugins import registry

NAMES = ["focal", "lovasz", "hausdorff", "mse-adaptive"]
property_test = settings(deadline=None, max_examples=20)
seeds = st.integers(0, 2**31 - 1)


def build(name: str, **values: Any) -> Any:
    return registry().get("loss", name).build(**values)


def films(seed: int) -> tuple[Tensor, Tensor]:
    """Logits and hard targets of 2 films with 3 channels, float32."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(2, 3, 8, 7, generator=generator)
    return logits, (torch.rand(2, 3, 8, 7, generator=generator) > 0.6).float()


@property_test
@given(st.sampled_from(NAMES), seeds)
def test_a_certain_right_prediction_costs_nothing_and_doubt_costs_more(name: str, seed: int) -> None:
    _, targets = films(seed)
    loss = build(name)
    values = [float(loss(certainty * (2 * targets - 1), targets)) for certainty in (40.0, 0.5, -0.5, -40.0)]
    assert values[0] == pytest.approx(0, abs=1e-5)
    assert all(smaller <= larger + 1e-6 for smaller, larger in pairwise(values))
    assert values[0] < values[-1]


@property_test
@given(seeds)
def test_focal_is_its_formula_and_half_the_cross_entropy_without_focus(seed: int) -> None:
    logits, targets = films(seed)
    p = logits.double().sigmoid()
    expected = -(0.3 * (1 - p) ** 1.5 * targets * p.log() + 0.7 * p**1.5 * (1 - targets) * (1 - p).log()).mean()
    assert float(build("focal", gamma=1.5, positive_weight=0.3)(logits, targets)) == pytest.approx(
        float(expected), rel=1e-3
    )
    plain = float(build("focal", gamma=0.0, positive_weight=0.5)(logits, targets))
    assert plain == pytest.approx(float(build("bce")(logits, targets)) / 2, rel=1e-4)


@property_test
@given(seeds)
def test_lovasz_is_one_minus_iou_for_hinge_errors_of_zero_and_one(seed: int) -> None:
    """At margins of 1 and 0 the hinge errors are 0 and 1, and the extension equals the set function itself."""
    logits, targets = films(seed)
    predicted = logits > 0
    right = predicted == targets.bool()
    shared = (predicted & targets.bool()).sum((0, 2, 3))
    union = (predicted | targets.bool()).sum((0, 2, 3))
    signed = torch.where(right, 1.0, 0.0) * (2 * targets - 1)
    expected = float((1 - shared / union).mean())
    assert float(build("lovasz")(signed, targets)) == pytest.approx(expected, abs=1e-5)


def test_hausdorff_weighs_errors_by_their_squared_distance_in_shares_of_the_side() -> None:
    target = torch.zeros(1, 1, 16, 32)
    target[..., 4:12, 4:12] = 1
    values = []
    for column in (13, 20, 28):
        predicted = target.clone()
        predicted[..., 8, column] = 1
        values.append(float(build("hausdorff")(200 * predicted - 100, target)))
    assert values == sorted(values)
    # The last pixel: 17 from the target's outline, 1 from its own.
    assert values[-1] == pytest.approx((17**2 + 1) / 32**2 / target.numel(), rel=1e-4)
    double = [tensor.repeat_interleave(2, 2).repeat_interleave(2, 3) for tensor in (200 * predicted - 100, target)]
    assert float(build("hausdorff")(*double)) == pytest.approx(values[-1], rel=0.1)


@property_test
@given(seeds, st.floats(0, 4))
def test_adaptive_squared_error_is_smallest_at_soft_targets(seed: int, forgiveness: float) -> None:
    logits, _ = films(seed)
    targets = logits.sigmoid()
    loss = build("mse-adaptive", forgiveness=forgiveness)
    assert float(loss(logits, targets)) == pytest.approx(0, abs=1e-9)
    assert float(loss(logits + 0.5, targets)) > 0


def test_adaptive_squared_error_balances_a_small_structure_and_forgives_contradictions() -> None:
    targets = torch.zeros(1, 1, 10, 10)
    targets[..., 0, 0] = 1
    missed = torch.full_like(targets, -100)
    # Half of the weight lies on the structure's one pixel, and without forgiveness all of it is lost.
    assert float(build("mse-adaptive", forgiveness=0.0)(missed, targets)) == pytest.approx(0.5, abs=1e-5)
    assert float(build("mse-adaptive", forgiveness=1.0)(missed, targets)) == pytest.approx(1 / 3, abs=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_shapes_that_differ_are_refused(name: str) -> None:
    with pytest.raises(ContractError):
        build(name)(torch.zeros(2, 3, 8, 8), torch.zeros(2, 1, 8, 8))


def test_without_monai_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "monai.losses.hausdorff_loss", None)
    with pytest.raises(ConfigError, match="isn't installed") as caught:
        build("hausdorff")
    assert "cxrkit[monai]" in caught.value.remedy


def test_losses_are_the_same_wherever_the_array_comes_from() -> None:
    logits, targets = films(1)
    for name in NAMES:
        strided = (torch.from_numpy(np.asfortranarray(tensor.numpy())) for tensor in (logits, targets))
        assert float(build(name)(*strided)) == pytest.approx(float(build(name)(logits, targets)), rel=1e-5)
