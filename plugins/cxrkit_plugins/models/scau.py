"""SCAU-Net (Zhao 2020): a U-Net with spatial attention on its first level and channel attention on its last."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from cxrkit import Model
from cxrkit_plugins.models.blocks import (
    ChannelAttention,
    ContractingPath,
    Norm,
    Pooling,
    SpatialAttention,
    double_conv,
    he_normal,
    normaliser,
)


class SCAUNet(Model):
    """Images `(B, 1, H, W)` to logits `(B, C, H, W)`; H and W are multiples of 2^depth (Zhao 2020,
    10.3389/fbioe.2020.00670).

    A U-Net with batch norm and bilinear upsampling without convolutions. The first level's feature is weighed by
    pixel before it is pooled and skipped, the deepest one by channel. The paper doesn't print its channels: 64 to
    1024, as U-Net's, are assumed.
    """

    capturable = True

    def __init__(
        self,
        channels: Sequence[str],
        *,
        base_channels: Annotated[int, Field(ge=1, description="channels of the first level; each level doubles")] = 64,
        depth: Annotated[int, Field(ge=1, le=6, description="how often the resolution is halved")] = 4,
        spatial_attention: Annotated[bool, Field(description="weigh the first level's feature by pixel")] = True,
        channel_attention: Annotated[bool, Field(description="weigh the deepest feature by channel")] = True,
        pooling: Annotated[
            Pooling, Field(description="how attention summarises channels and pixels; the paper's: mean")
        ] = "mean",
        norm: Annotated[Norm, Field(description="normalisation after each convolution")] = "batch",
        norm_momentum: Annotated[
            float, Field(gt=0, le=1, description="share of the newest batch in batch norm's moving statistics")
        ] = 0.1,
    ) -> None:
        super().__init__(channels)
        self.size_multiple = 2**depth
        normalise = normaliser(norm, norm_momentum)
        widths = [base_channels * 2**level for level in range(depth + 1)]
        blocks: list[nn.Module] = [double_conv(before, after, normalise) for before, after in pairwise([1, *widths])]
        if spatial_attention:
            blocks[0] = nn.Sequential(blocks[0], SpatialAttention(pooling))
        if channel_attention:
            blocks[-1] = nn.Sequential(blocks[-1], ChannelAttention(widths[-1], pooling, units=32))
        self.encoder = ContractingPath(blocks)
        self.decoder = nn.ModuleList(
            double_conv(below + width, width, normalise) for width, below in reversed(list(pairwise(widths)))
        )
        self.head = nn.Conv2d(base_channels, len(self.channels), 1)
        self.apply(he_normal)

    def forward(self, images: Tensor) -> Tensor:
        """Float `(B, 1, H, W)` to logits `(B, C, H, W)`."""
        *skips, feature = self.encoder(images)
        for convolve, skip in zip(self.decoder, reversed(skips), strict=True):
            up = F.interpolate(feature, scale_factor=2.0, mode="bilinear", align_corners=False)
            feature = convolve(torch.cat([skip, up], 1))
        logits: Tensor = self.head(feature)
        return logits
