"""U-Net (Ronneberger 2015)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from cxrkit import Model
from cxrkit_plugins.models.blocks import ContractingPath, Norm, double_conv, he_normal, normaliser


class UNet(Model):
    """Images `(B, 1, H, W)` to logits `(B, C, H, W)`; H and W are multiples of 2^depth (Ronneberger 2015, figure 1).

    Two things differ from the paper: convolutions are padded, so that masks have the image's size, and there
    is batch normalisation, without which the network learns much more slowly; `norm="none"` is the paper's.
    """

    capturable = True

    def __init__(
        self,
        channels: Sequence[str],
        *,
        base_channels: Annotated[int, Field(ge=1, description="channels of the first level; each level doubles")] = 64,
        depth: Annotated[int, Field(ge=1, le=6, description="how often the resolution is halved")] = 4,
        norm: Annotated[
            Norm | Literal["none"], Field(description="normalisation after each 3x3 convolution; the paper has none")
        ] = "batch",
        norm_momentum: Annotated[
            float, Field(gt=0, le=1, description="share of the newest batch in batch norm's moving statistics")
        ] = 0.1,
    ) -> None:
        super().__init__(channels)
        self.size_multiple = 2**depth
        normalise = None if norm == "none" else normaliser(norm, norm_momentum)
        without = norm == "none"  # a normalisation subtracts the mean, and a bias with it
        widths = [base_channels * 2**level for level in range(depth + 1)]
        self.encoder = ContractingPath(
            double_conv(before, after, normalise, bias=without) for before, after in pairwise([1, *widths])
        )
        self.ups = nn.ModuleList(nn.ConvTranspose2d(2 * width, width, 2, stride=2) for width in reversed(widths[:-1]))
        self.decoder = nn.ModuleList(
            double_conv(2 * width, width, normalise, bias=without) for width in reversed(widths[:-1])
        )
        self.head = nn.Conv2d(base_channels, len(self.channels), 1)
        self.apply(he_normal)

    def forward(self, images: Tensor) -> Tensor:
        """Float `(B, 1, H, W)` to logits `(B, C, H, W)`."""
        *skips, feature = self.encoder(images)
        for up, convolve, skip in zip(self.ups, self.decoder, reversed(skips), strict=True):
            feature = convolve(torch.cat([skip, up(feature)], 1))
        logits: Tensor = self.head(feature)
        return logits
