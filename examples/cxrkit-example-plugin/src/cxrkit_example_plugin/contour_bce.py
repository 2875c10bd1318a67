"""Binary cross-entropy that looks at contours."""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from cxrkit import Loss


def contour_band(targets: Tensor, radius: int) -> Tensor:
    """The band around each contour: dilation minus erosion, the morphological gradient.

    Args:
        targets: `(B, C, H, W)` in [0, 1]. Soft ones, as mixup makes them, give a soft band.
        radius: pixels that the band reaches to either side, in a square neighbourhood.

    Returns:
        `(B, C, H, W)` in [0, 1]: 1 within `radius` pixels of a contour, 0 elsewhere. The film's edge is none.
    """
    size = 2 * radius + 1
    dilated = F.max_pool2d(targets, size, stride=1, padding=radius)
    eroded = -F.max_pool2d(-targets, size, stride=1, padding=radius)
    return dilated - eroded


def contour_bce(logits: Tensor, targets: Tensor, contour_weight: float, radius: int) -> Tensor:
    """Σ w·BCE / Σ w with w = 1 + contour_weight · band, over films, channels and pixels.

    Ronneberger (U-Net, 2015, section 3) weighs pixels by their distance to two cells; where structures are
    few and large, as in a chest, the band around the contour is what decides surface distances and the
    cardiothoracic ratio.
    """
    weights = 1 + contour_weight * contour_band(targets, radius)
    entropies = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return (weights * entropies).sum() / weights.sum()


class ContourBCELoss(Loss):
    """Binary cross-entropy that weighs pixels near contours more (after Ronneberger 2015)."""

    reduction = "pooled"  # every mask counts alike, so that unknown ones can be left out

    def __init__(
        self,
        *,
        contour_weight: Annotated[float, Field(ge=0, description="added to the weight 1 near contours")] = 5.0,
        radius: Annotated[int, Field(ge=1, le=32, description="half the width of the band, pixels")] = 2,
    ) -> None:
        super().__init__()
        self.contour_weight = contour_weight
        self.radius = radius

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits and targets `(B, C, H, W)` to a scalar; see `contour_bce`."""
        return contour_bce(logits, targets, self.contour_weight, self.radius)
