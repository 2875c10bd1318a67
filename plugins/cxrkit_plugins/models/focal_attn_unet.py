"""Attention U-Net with an image pyramid and deep supervision, for the Focal Tversky loss (Abraham & Khan 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from cxrkit import Model, SideOutputs
from cxrkit_plugins.models.blocks import (
    KERAS_EPSILON,
    AttentionGate,
    Norm,
    SameConvTranspose2d,
    conv_norm_relu,
    double_conv,
    glorot_normal,
    normaliser,
)


class FocalAttentionUNet(Model):
    """Images `(B, 1, H, W)` to logits `(B, C, H, W)`; H and W are multiples of 16 (Abraham & Khan 2019).

    An Attention U-Net of four levels, smaller than Oktay's, with the film at halved sizes as further inputs. In
    training it gives `SideOutputs` at an eighth, a quarter and half of the size, coarsest first. The layers are those
    of the authors' code (paper: arXiv 1810.07842), the fourth level's 64 channels and the third gate's signal from the
    first decoder step included. For the authors' loss use `focal-tversky` with the
    values that `cxrkit show loss focal-tversky` gives.
    """

    size_multiple = 16
    capturable = True

    def __init__(
        self,
        channels: Sequence[str],
        *,
        base_channels: Annotated[int, Field(ge=1, description="channels of the first level; the authors' is 32")] = 32,
        image_pyramid: Annotated[bool, Field(description="the film at half, quarter and eighth size as inputs")] = True,
        deep_supervision: Annotated[bool, Field(description="side outputs at coarser levels in training")] = True,
        norm: Annotated[Norm, Field(description="normalisation after each convolution")] = "batch",
        norm_momentum: Annotated[
            float, Field(gt=0, le=1, description="share of the newest batch in moving statistics (authors': 0.01)")
        ] = 0.1,
    ) -> None:
        super().__init__(channels)
        normalise, classes = normaliser(norm, norm_momentum, KERAS_EPSILON), len(self.channels)
        one, two, four, eight, sixteen = (base_channels * factor for factor in (1, 2, 4, 8, 16))
        scaled = (two, four, eight) if image_pyramid else (0, 0, 0)
        self.pyramid = nn.ModuleList(nn.Sequential(*conv_norm_relu(1, width, 3, None)) for width in scaled if width)
        self.encoder = nn.ModuleList(
            double_conv(before, after, normalise)
            for before, after in ((1, one), (scaled[0] + one, two), (scaled[1] + two, four), (scaled[2] + four, two))
        )
        self.centre = double_conv(two, sixteen, normalise)
        first = one + two  # channels after the first decoder step
        self.signals = nn.ModuleList(
            nn.Sequential(*conv_norm_relu(width, width, 1, normalise)) for width in (sixteen, first, first)
        )
        self.gates = nn.ModuleList(
            AttentionGate(
                width, gating, inner=inner, halvings=halvings, lstm=None, resampling="gating-up", norm=normalise(width)
            )
            for width, gating, inner, halvings in ((two, sixteen, four, 1), (four, first, two, 1), (two, first, one, 2))
        )
        running = [sixteen, first, two + four, one + two, one + one]
        widths = [one, two, one, one]
        self.ups = nn.ModuleList(
            nn.Sequential(SameConvTranspose2d(before, after, stride=2), nn.ReLU(inplace=True))
            for before, after in zip(running, widths, strict=False)
        )
        units = list(zip(running[1:], (eight, four, two, one), strict=True))
        self.heads = nn.ModuleList(
            nn.Sequential(double_conv(before, unit, normalise), nn.Conv2d(unit, classes, 1))
            for before, unit in (units if deep_supervision else units[-1:])
        )
        self.apply(glorot_normal)

    def forward(self, images: Tensor) -> Tensor | SideOutputs:
        """Float `(B, 1, H, W)` to logits `(B, C, H, W)`, with side outputs in training if asked for."""
        feature, skips = images, []
        for level, convolve in enumerate(self.encoder):
            if level > 0:
                feature = F.max_pool2d(feature, 2)
                if self.pyramid:
                    smaller = F.avg_pool2d(images, 2**level)
                    feature = torch.cat([self.pyramid[level - 1](smaller), feature], 1)
            feature = convolve(feature)
            skips.append(feature)
        feature = self.centre(F.max_pool2d(feature, 2))
        gating, climbed = feature, []
        for number, (up, skip) in enumerate(zip(self.ups, reversed(skips), strict=True)):
            if number < len(self.gates):  # the first level's skip has no gate
                skip = self.gates[number](skip, self.signals[number](gating))
            feature = torch.cat([up(feature), skip], 1)
            climbed.append(feature)
            gating = climbed[0]  # the third gate takes it too
        if not self.training or len(self.heads) == 1:
            logits: Tensor = self.heads[-1](feature)
            return logits
        *sides, main = (head(step) for head, step in zip(self.heads, climbed, strict=True))
        return SideOutputs(main, tuple(sides))
