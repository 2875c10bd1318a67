"""Losses of other libraries: focal (Kornia), Lovász (segmentation-models-pytorch), Hausdorff distance (MONAI)."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from cxrkit import ConfigError, Loss
from cxrkit.compat import import_torchvision
from cxrkit_plugins.losses.functional import in_float32


class FocalLoss(Loss):
    """The mean over pixels and channels of −α·(1−p)^γ·g·log p − (1−α)·p^γ·(1−g)·log(1−p) (Lin 2017; Kornia's).

    Pixels that are right already count less than in cross-entropy. For soft targets it isn't smallest at p = g.
    """

    reduction = "pooled"
    capturable = True

    def __init__(
        self,
        *,
        gamma: Annotated[
            float, Field(ge=0, le=10, description="γ: how little pixels count that are right already")
        ] = 2.0,
        positive_weight: Annotated[
            float,
            Field(gt=0, lt=1, description="α: share of pixels of the structure in the sum of both kinds' weights"),
        ] = 0.25,
    ) -> None:
        super().__init__()
        from kornia.losses.focal import binary_focal_loss_with_logits

        self._of = binary_focal_loss_with_logits
        self.gamma = gamma
        self.positive_weight = positive_weight

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits and targets in [0, 1], both `(B, C, H, W)`, to a scalar ≥ 0.

        Raises:
            ContractError: the shapes differ or aren't `(B, C, H, W)`.
        """
        logits, targets = in_float32(logits, targets)
        value: Tensor = self._of(logits, targets, alpha=self.positive_weight, gamma=self.gamma, reduction="mean")
        return value


class LovaszLoss(Loss):
    """The mean over the channels of the Lovász hinge (Berman 2018; segmentation-models-pytorch's).

    It is the tightest convex extension of 1 − IoU to the hinge errors max(0, 1 − logit·(2g − 1)), of the pixels of all
    films of the batch together. Soft targets are accepted, but it isn't smallest at p = g: it was made for hard ones.
    """

    reduction = "per-class-mean"

    def __init__(self) -> None:
        super().__init__()
        import_torchvision()
        from segmentation_models_pytorch.losses import LovaszLoss as Library

        self._of = Library("binary", per_image=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits and targets in [0, 1], both `(B, C, H, W)`, to a scalar ≥ 0.

        Raises:
            ContractError: the shapes differ or aren't `(B, C, H, W)`.
        """
        logits, targets = in_float32(logits, targets)
        pairs = zip(logits.unbind(1), targets.unbind(1), strict=True)
        return torch.stack([self._of(channel, target) for channel, target in pairs]).mean()


class HausdorffLoss(Loss):
    """The mean over pixels and channels of (p − g)²·(d_p^α + d_g^α) (Karimi 2019, by distance transforms; MONAI's).

    d_p and d_g are the distances to the outlines of prediction and target, thresholded at ½, in shares of the film's
    longer side. A film on which one of the two is empty adds less or nothing: use it beside an overlap loss, as in
    `--loss "dice + 10*hausdorff"`. The distances are computed on the CPU, which takes time.

    Raises:
        ConfigError: MONAI isn't installed.
    """

    reduction = "pooled"

    def __init__(
        self, *, exponent: Annotated[float, Field(gt=0, le=4, description="α: how much far errors count")] = 2.0
    ) -> None:
        super().__init__()
        try:
            from monai.losses.hausdorff_loss import HausdorffDTLoss
        except ImportError as error:
            raise ConfigError("loss 'hausdorff': MONAI isn't installed.", "Run: pip install 'cxrkit[monai]'") from error
        self._of = HausdorffDTLoss(alpha=exponent, include_background=True, sigmoid=True)
        self.exponent = exponent

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits and targets in [0, 1], both `(B, C, H, W)`, to a scalar ≥ 0.

        Raises:
            ContractError: the shapes differ or aren't `(B, C, H, W)`.
        """
        logits, targets = in_float32(logits, targets)
        value: Tensor = self._of(logits, targets)
        return value / max(logits.shape[-2:]) ** self.exponent
