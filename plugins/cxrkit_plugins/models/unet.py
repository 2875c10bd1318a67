"""U-Net (Ronneberger 2015)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from cxrkit import Model

Norm = Literal["none", "batch", "group", "instance"]


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
            Norm, Field(description="normalisation after each 3x3 convolution; the paper has none")
        ] = "batch",
        norm_momentum: Annotated[
            float, Field(gt=0, le=1, description="share of the newest batch in batch norm's moving statistics")
        ] = 0.1,
    ) -> None:
        super().__init__(channels)
        self.size_multiple = 2**depth
        widths = [base_channels * 2**level for level in range(depth + 1)]
        self.encoder = nn.ModuleList(
            _double_conv(before, after, norm, norm_momentum)
            for before, after in zip([1, *widths[:-1]], widths, strict=True)
        )
        self.ups = nn.ModuleList(nn.ConvTranspose2d(2 * width, width, 2, stride=2) for width in reversed(widths[:-1]))
        self.decoder = nn.ModuleList(
            _double_conv(2 * width, width, norm, norm_momentum) for width in reversed(widths[:-1])
        )
        self.head = nn.Conv2d(base_channels, len(self.channels), 1)
        self.apply(_initialise)

    def forward(self, images: Tensor) -> Tensor:
        """Float `(B, 1, H, W)` to logits `(B, C, H, W)`."""
        feature, skips = images, []
        for level, double_conv in enumerate(self.encoder):
            feature = double_conv(feature if level == 0 else F.max_pool2d(feature, 2))
            skips.append(feature)
        for up, double_conv, skip in zip(self.ups, self.decoder, reversed(skips[:-1]), strict=True):
            feature = double_conv(torch.cat([skip, up(feature)], 1))
        logits: Tensor = self.head(feature)
        return logits


def _double_conv(before: int, after: int, norm: Norm, momentum: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (before, after):
        # A normalisation subtracts the mean, and a bias with it.
        layers.append(nn.Conv2d(channels, after, 3, padding=1, bias=norm == "none"))
        if norm == "batch":
            layers.append(nn.BatchNorm2d(after, momentum=momentum))
        elif norm != "none":
            # Instance norm is group norm with one channel a group, and so keeps channels_last.
            groups = after if norm == "instance" else math.gcd(8, after)
            layers.append(nn.GroupNorm(groups, after))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def _initialise(module: nn.Module) -> None:
    """Normal weights of variance 2/N, N the inputs that reach one output (Ronneberger 2015, section 3)."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        # The 2x2 up-convolution has stride 2: an output sees one pixel of each input channel.
        taps = math.prod(module.kernel_size) if isinstance(module, nn.Conv2d) else 1
        nn.init.normal_(module.weight, std=math.sqrt(2 / (module.in_channels * taps)))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
