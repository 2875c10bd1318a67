"""SCAN's segmentor (Dai 2018): a small residual network without skips, here without its adversary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from cxrkit import Model
from cxrkit_plugins.models.blocks import he_normal, interpolate_bilinearly, normaliser, residual_trunk


class SCANSegmentor(Model):
    """Images `(B, 1, H, W)` to logits `(B, C, H, W)`; H and W are multiples of 16 (Dai 2018, arXiv 1703.08770).

    Residual blocks with 8, 16, 32 and 64 channels, average pooling between them, five blocks at a sixteenth of the
    resolution, and one learned deconvolution back to the film's size. The paper states 21 layers and 271 thousand
    parameters but gives no table: **the layers are ours**, with that many parameters (271,440 for four channels).
    """

    size_multiple = 16
    capturable = True

    def __init__(
        self,
        channels: Sequence[str],
        *,
        base_channels: Annotated[
            int, Field(ge=1, description="channels of the first level; each of the next three doubles")
        ] = 8,
        norm_momentum: Annotated[
            float, Field(gt=0, le=1, description="share of the newest batch in batch norm's moving statistics")
        ] = 0.1,
    ) -> None:
        super().__init__(channels)
        classes = len(self.channels)
        self.trunk = residual_trunk(1, base_channels, normaliser("batch", norm_momentum))
        self.score = nn.Conv2d(8 * base_channels, classes, 1)
        self.up = nn.ConvTranspose2d(classes, classes, 32, stride=16, padding=8)
        self.apply(he_normal)
        interpolate_bilinearly(self.up)

    def forward(self, images: Tensor) -> Tensor:
        """Float `(B, 1, H, W)` to logits `(B, C, H, W)`."""
        logits: Tensor = self.up(self.score(self.trunk(images)))
        return logits
