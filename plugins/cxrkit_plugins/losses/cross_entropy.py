"""Binary cross-entropy of each channel separately."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from cxrkit import Loss
from cxrkit_plugins.losses.functional import check_shapes


class BinaryCrossEntropyLoss(Loss):
    """The mean over all pixels and channels of −w·g·log p − (1−g)·log(1−p), with p = sigmoid(logit).

    It is computed from the logits, so it stays finite where p rounds to 0 or 1. Its smallest value for a soft
    target is that target's entropy, not zero. Channels are independent: structures may overlap.
    """

    reduction = "pooled"
    capturable = True

    def __init__(
        self,
        *,
        positive_weight: Annotated[
            float, Field(gt=0, description="w: weight of pixels that belong to the structure; above 1 for small ones")
        ] = 1.0,
    ) -> None:
        super().__init__()
        self.positive_weight = positive_weight
        # A buffer, so that it moves to the device once, not at every step.
        self.register_buffer("_positive_weight", torch.tensor(positive_weight), persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits and targets in [0, 1], both `(B, C, H, W)`, to a scalar ≥ 0, in at least float32.

        Raises:
            ContractError: the shapes differ or aren't `(B, C, H, W)`.
        """
        check_shapes(logits, targets)
        dtype = torch.promote_types(logits.dtype, torch.float32)
        return F.binary_cross_entropy_with_logits(
            logits.to(dtype), targets.to(dtype), pos_weight=self.get_buffer("_positive_weight")
        )

    def extra_repr(self) -> str:
        """The parameters, for `print(loss)`."""
        return f"positive_weight={self.positive_weight}"
