"""Dice, Tversky and Focal Tversky losses: thin modules over `functional`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from cxrkit import Loss
from cxrkit_plugins.losses.functional import Intersection, Reduction, focal_tversky_loss

ReductionChoice = Annotated[
    Reduction, Field(description="per-class: sum of the classes' losses; pooled: one index over all classes together")
]
IntersectionChoice = Annotated[
    Intersection, Field(description="product: Σpg; l1: Σmin(p, g), with which soft targets are met best at p = g")
]
Epsilon = Annotated[float, Field(gt=0, description="pixels added to both sums, which matter if nothing is there")]
FalseNegativeWeight = Annotated[float, Field(gt=0, description="α: weight of missed pixels")]
FalsePositiveWeight = Annotated[float, Field(gt=0, description="β: weight of wrongly marked pixels")]


class _TverskyFamily(Loss):
    """Σ_c (1 − TI_c)^(1/γ); the three losses differ only in what they leave to the user."""

    reduction: Reduction
    capturable = True

    def __init__(
        self,
        false_negative_weight: float,
        false_positive_weight: float,
        inverse_gamma: float,
        reduction: Reduction,
        epsilon: float,
        intersection: Intersection,
    ) -> None:
        super().__init__()
        self.false_negative_weight = false_negative_weight
        self.false_positive_weight = false_positive_weight
        self.inverse_gamma = inverse_gamma
        self.reduction = reduction
        self.epsilon = epsilon
        self.intersection: Intersection = intersection

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits and targets in [0, 1], both `(B, C, H, W)`, to a scalar in [0, C), or [0, 1) if pooled.

        Raises:
            ContractError: the shapes differ or aren't `(B, C, H, W)`.
        """
        return self._with_exponent(logits, targets, self.inverse_gamma)

    def _with_exponent(self, logits: Tensor, targets: Tensor, inverse_gamma: float) -> Tensor:
        return focal_tversky_loss(
            logits,
            targets,
            false_negative_weight=self.false_negative_weight,
            false_positive_weight=self.false_positive_weight,
            inverse_gamma=inverse_gamma,
            epsilon=self.epsilon,
            reduction=self.reduction,
            intersection=self.intersection,
        )

    def extra_repr(self) -> str:
        """The parameters, for `print(loss)`."""
        return (
            f"false_negative_weight={self.false_negative_weight}, "
            f"false_positive_weight={self.false_positive_weight}, inverse_gamma={self.inverse_gamma}, "
            f"reduction={self.reduction!r}, epsilon={self.epsilon}, intersection={self.intersection!r}"
        )


class DiceLoss(_TverskyFamily):
    """Σ_c (1 − DSC_c), with DSC = (2Σpg + 2ε) / (Σp + Σg + 2ε) (Milletari 2016).

    It equals `TverskyLoss` with both weights ½, and `FocalTverskyLoss` with exponent 1 besides, at the same ε.
    The paper writes ε for our 2ε.
    """

    def __init__(
        self,
        *,
        reduction: ReductionChoice = "per-class",
        epsilon: Epsilon = 0.1,
        intersection: IntersectionChoice = "product",
    ) -> None:
        super().__init__(0.5, 0.5, 1.0, reduction, epsilon, intersection)


class TverskyLoss(_TverskyFamily):
    """Σ_c (1 − TI_c), with TI = (Σpg + ε) / (Σpg + α·Σ(1−p)g + β·Σp(1−g) + ε) (Salehi 2017).

    α weighs false negatives and β false positives, as in the paper; 0.6 and 0.4 are the paper's.
    """

    def __init__(
        self,
        *,
        false_negative_weight: FalseNegativeWeight = 0.6,
        false_positive_weight: FalsePositiveWeight = 0.4,
        reduction: ReductionChoice = "per-class",
        epsilon: Epsilon = 0.1,
        intersection: IntersectionChoice = "product",
    ) -> None:
        super().__init__(false_negative_weight, false_positive_weight, 1.0, reduction, epsilon, intersection)


class FocalTverskyLoss(_TverskyFamily):
    """Σ_c (1 − TI_c)^(1/γ) (Abraham 2019; Maga 2021, §2.3, whose values are the defaults).

    The sum is the paper's text; `reduction="pooled"` is its released code. Abraham's loss for `focal-attn-unet` is
    α = 0.7, β = 0.3, 1/γ = 0.75, ε = 1, `main_exponent=1`, `side_targets=stride` and
    `reduction=pooled`. Below 1 − TI = 10⁻⁴ the power continues as a straight line to zero, so that a perfect
    prediction has a finite gradient.
    """

    def __init__(
        self,
        *,
        false_negative_weight: FalseNegativeWeight = 0.6,
        false_positive_weight: FalsePositiveWeight = 0.4,
        inverse_gamma: Annotated[
            float, Field(gt=0, le=3, description="1/γ, the exponent of 1 - TI; below 1 it emphasises good masks")
        ] = 0.675,
        reduction: ReductionChoice = "per-class",
        epsilon: Epsilon = 0.1,
        intersection: IntersectionChoice = "product",
        main_exponent: Annotated[
            float | None,
            Field(gt=0, le=3, description="exponent of the main output, where there are side outputs; null: the same"),
        ] = None,
        side_targets: Annotated[
            Literal["average", "stride"],
            Field(description="what side outputs are compared with: averaged targets, or every n-th pixel of them"),
        ] = "average",
    ) -> None:
        super().__init__(false_negative_weight, false_positive_weight, inverse_gamma, reduction, epsilon, intersection)
        self.main_exponent = main_exponent
        self.side_targets = side_targets

    def main_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss of the main output, with an exponent of its own if there is one."""
        inverse_gamma = self.inverse_gamma if self.main_exponent is None else self.main_exponent
        return self._with_exponent(logits, targets, inverse_gamma)
