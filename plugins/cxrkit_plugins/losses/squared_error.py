"""A squared error with adaptive weights, for CoLe-CNN; the weights are ours, after the description."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from cxrkit import Loss
from cxrkit_plugins.losses.functional import in_float32


class AdaptiveSquaredErrorLoss(Loss):
    """The mean over channels of Σw·(p − g)² / Σw, with w = balance / (1 + κ·|p − g|) (Pezzano 2020; weights ours).

    CoLe-CNN's paper (10.1016/j.cmpb.2020.105792) is public to us only as far as this: a mean squared error whose
    weights adapt to the errors and forgive errors of annotation. **The weights are ours.** The balance gives a
    structure and what is around it half of the weight each; κ reduces the weight of pixels on which prediction and
    annotation disagree most. Weights count as constants for the gradient. It is smallest at p = g.
    """

    reduction = "per-class-mean"
    capturable = True

    def __init__(
        self,
        *,
        forgiveness: Annotated[
            float, Field(ge=0, description="κ: how much less contradicting pixels count; 0: all alike")
        ] = 1.0,
    ) -> None:
        super().__init__()
        self.forgiveness = forgiveness

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits and targets in [0, 1], both `(B, C, H, W)`, to a scalar in [0, 1].

        Raises:
            ContractError: the shapes differ or aren't `(B, C, H, W)`.
        """
        logits, targets = in_float32(logits, targets)
        error = (logits.sigmoid() - targets).abs()
        # Of a structure that no film has, or that fills all, one side is empty.
        share = targets.mean((0, 2, 3), keepdim=True).clamp(1e-4, 1 - 1e-4)
        balance = targets / share + (1 - targets) / (1 - share)
        weights = (balance / (1 + self.forgiveness * error)).detach()
        return ((weights * error**2).sum((0, 2, 3)) / weights.sum((0, 2, 3))).mean()
