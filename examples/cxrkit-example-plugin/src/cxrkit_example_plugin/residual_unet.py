"""The Deep Residual U-Net: a U-Net whose every level is a residual unit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from cxrkit import Model


class ResidualUnit(nn.Module):
    """Two 3×3 convolutions, each after batch norm and ReLU, plus a projection of the input.

    Normalising *before* each convolution leaves the sum untouched, so that gradients flow through a chain of
    units as they came (He, Identity mappings in deep residual networks, 2016).

    Args:
        inputs, outputs: channels.
        stride: 2 halves the resolution, in place of a pooling layer.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.ReLU(),
            nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1),
        )
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=stride)

    def forward(self, features: Tensor) -> Tensor:
        """`(B, inputs, H, W)` to `(B, outputs, H / stride, W / stride)`."""
        residual: Tensor = self.residual(features)
        shortcut: Tensor = self.shortcut(features)
        return residual + shortcut


class ResidualUNet(Model):
    """Deep Residual U-Net (Zhang, Liu and Wang, Road extraction by deep residual U-Net, 2018).

    As in the paper (section II) the encoder halves the resolution by strided convolutions, the decoder
    doubles it by interpolation, and every level is one residual unit. The paper's network is
    `base_channels=64, depth=3`; the default here is a quarter as wide, which a laptop trains in minutes.

    Args:
        channels: names of the output channels, given by cxrkit.
    """

    def __init__(
        self,
        channels: Sequence[str],
        *,
        base_channels: Annotated[int, Field(ge=4, le=256, description="channels at full resolution")] = 16,
        depth: Annotated[int, Field(ge=1, le=6, description="halvings of the resolution")] = 3,
    ) -> None:
        super().__init__(channels)
        # cxrkit pads films to this multiple and cuts the masks back.
        self.size_multiple = 2**depth
        widths = [base_channels * 2**level for level in range(depth + 1)]
        # The first unit sees pixels, which nothing needs to normalise: a convolution stands before it.
        self.stem = nn.Conv2d(1, base_channels, 3, padding=1)
        self.first = ResidualUnit(base_channels, base_channels)
        self.encoder = nn.ModuleList(ResidualUnit(w, 2 * w, stride=2) for w in widths[:-1])
        self.decoder = nn.ModuleList(ResidualUnit(3 * w, w) for w in reversed(widths[:-1]))
        self.head = nn.Conv2d(base_channels, len(self.channels), 1)

    def forward(self, images: Tensor) -> Tensor:
        """Images float `(B, 1, H, W)`, multiples of 2^depth, to logits `(B, C, H, W)`."""
        skips = [self.first(self.stem(images))]
        for unit in self.encoder:
            skips.append(unit(skips[-1]))
        features = skips.pop()
        for unit in self.decoder:
            larger = F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
            features = unit(torch.cat([larger, skips.pop()], dim=1))
        logits: Tensor = self.head(features)
        return logits
