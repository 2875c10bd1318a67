"""The overlap losses as pure functions of probabilities; the sigmoid is applied before.

With p the predicted probability and g the target of a pixel, both in [0, 1], and sums over pixels:

* Tversky index: TI = (Σpg + ε) / (Σpg + α·Σ(1−p)g + β·Σp(1−g) + ε). **α weighs the false negatives, β the false
  positives**, as in Maga 2021 and Abraham 2019; some libraries name them the other way round.
* Dice coefficient: TI at α = β = ½, that is (2Σpg + 2ε) / (Σp + Σg + 2ε). The paper's formula has ε where this
  has 2ε; ours makes the two equal for one and the same ε, not only for ε = 0.
* Focal Tversky: (1 − TI)^(1/γ).

Σpg is the `product` form of the intersection. For soft targets, as mixup makes them, the losses are then not smallest
at p = g: with g = 0.7 everywhere, Dice prefers p = 1. The `l1` form (Σp + Σg − Σ|p − g|)/2 makes them so (Wang 2023,
Dice semimetric losses). It is Σmin(p, g), which leaves Σmax(g − p, 0) false negatives and Σmax(p − g, 0) false
positives; for hard targets both forms are equal.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from cxrkit.errors import ContractError

Reduction = Literal["per-class", "pooled"]
Intersection = Literal["product", "l1"]

#: Below this value of 1 − TI the focal power continues as a straight line to zero: see `focal_power`.
LINEAR_BELOW = 1e-4


def check_shapes(logits: Tensor, targets: Tensor) -> None:
    """Make sure that logits and targets are both `(B, C, H, W)`.

    Raises:
        ContractError: they aren't; broadcasting would give a plausible, wrong loss.
    """
    if logits.ndim != 4 or logits.shape != targets.shape:
        raise ContractError(
            f"A loss expects logits and targets of the same shape (B, C, H, W); "
            f"it got logits {tuple(logits.shape)} and targets {tuple(targets.shape)}.",
            "Let the model return one channel for each structure (and one for the background, if it is on), at the "
            "size of its input.",
        )


def in_float32(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and targets in at least float32.

    Raises:
        ContractError: see `check_shapes`.
    """
    check_shapes(logits, targets)
    dtype = torch.promote_types(logits.dtype, torch.float32)
    return logits.to(dtype), targets.to(dtype)


def tversky_distance(
    probabilities: Tensor,
    targets: Tensor,
    *,
    false_negative_weight: float,
    false_positive_weight: float,
    epsilon: float,
    reduction: Reduction,
    intersection: Intersection = "product",
) -> Tensor:
    """One minus the Tversky index, in [0, 1), computed without the subtraction.

    1 − TI = (α·FN + β·FP) / (TP + α·FN + β·FP + ε) is a sum of terms that aren't negative, so it is exact near
    zero, where the focal power is steepest.

    Args:
        probabilities: float `(B, C, H, W)` in [0, 1].
        targets: the same shape, in [0, 1]; soft targets are accepted.
        false_negative_weight: α.
        false_positive_weight: β.
        epsilon: ε > 0, in pixels; it decides the value where a structure is absent.
        reduction: `per-class` sums over batch and pixels, `pooled` over batch, classes and pixels.
        intersection: `product` or `l1`, see above.

    Returns:
        `(C,)` for `per-class`, `()` for `pooled`.

    >>> distance = tversky_distance(
    ...     torch.tensor([[[[1.0, 1.0, 0.0, 0.0]]]]), torch.tensor([[[[1.0, 0.0, 1.0, 1.0]]]]),
    ...     false_negative_weight=0.6, false_positive_weight=0.4, epsilon=1e-9, reduction="pooled")
    >>> round(float(distance), 4)  # one hit, two misses, one false alarm: 1.6 / 2.6
    0.6154
    """
    dims = (0, 2, 3) if reduction == "per-class" else (0, 1, 2, 3)
    if intersection == "l1":
        true_positives = torch.minimum(probabilities, targets).sum(dims)
        false_negatives = (targets - probabilities).relu().sum(dims)
        false_positives = (probabilities - targets).relu().sum(dims)
    else:
        true_positives = (probabilities * targets).sum(dims)
        false_negatives = ((1 - probabilities) * targets).sum(dims)
        false_positives = (probabilities * (1 - targets)).sum(dims)
    errors = false_negative_weight * false_negatives + false_positive_weight * false_positives
    return errors / (true_positives + errors + epsilon)


def focal_power(distance: Tensor, inverse_gamma: float) -> Tensor:
    """`distance ** inverse_gamma`, with a finite slope at zero.

    For exponents below one the power's slope at zero is infinite, and a perfect prediction, whose sigmoid has
    slope zero, would get the gradient ∞ · 0 = NaN. Below `LINEAR_BELOW` the power is therefore replaced by the
    straight line from zero to its value there: continuous, monotone, zero at zero, and exact everywhere else.

    Args:
        distance: 1 − TI, any shape, not negative.
        inverse_gamma: the exponent, 1/γ > 0.
    """
    line = distance * LINEAR_BELOW ** (inverse_gamma - 1)
    # The clamp keeps the branch that `where` does not choose from having an infinite gradient.
    power = distance.clamp(min=LINEAR_BELOW) ** inverse_gamma
    return torch.where(distance < LINEAR_BELOW, line, power)


def focal_tversky_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    false_negative_weight: float,
    false_positive_weight: float,
    inverse_gamma: float,
    epsilon: float,
    reduction: Reduction,
    intersection: Intersection = "product",
) -> Tensor:
    """Σ_c (1 − TI_c)^(1/γ) of logits, the one formula behind all overlap losses.

    `per-class` is the **sum** over the classes (Maga 2021, §2.3), in [0, C); `pooled` is a single term in
    [0, 1). Half-precision logits are computed in float32.

    Args:
        logits: `(B, C, H, W)`, any finite values.
        targets: the same shape, in [0, 1].

    Raises:
        ContractError: the shapes differ or aren't `(B, C, H, W)`.
    """
    logits, targets = in_float32(logits, targets)
    distance = tversky_distance(
        logits.sigmoid(),
        targets,
        false_negative_weight=false_negative_weight,
        false_positive_weight=false_positive_weight,
        epsilon=epsilon,
        reduction=reduction,
        intersection=intersection,
    )
    return focal_power(distance, inverse_gamma).sum()
