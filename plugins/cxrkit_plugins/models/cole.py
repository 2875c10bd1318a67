"""CoLe-CNN (Pezzano 2020): one decoder for structures, one for their context; layers ours, after the description."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from cxrkit import Model, SideOutputs
from cxrkit_plugins.models.blocks import Norm, Normalise, conv_norm_relu, double_conv, he_normal, normaliser


class CoLeCNN(Model):
    """Images `(B, 1, H, W)` to logits `(B, C, H, W)`; H and W are multiples of 2^depth (Pezzano 2020).

    The paper (10.1016/j.cmpb.2020.105792) isn't public to us beyond this: U-shaped, an encoder inspired by
    Inception-v4, decoders that learn the object and the context (all that isn't the object), combined by subtraction,
    and a mean squared error with adaptive weights, our loss `mse-adaptive`. **The layers are ours.** A structure's
    logit is the evidence for it minus the evidence for its context. With `branch_supervision` the training output has
    both as `SideOutputs`: the structure's evidence, and the context's with a minus sign.
    """

    capturable = True

    def __init__(
        self,
        channels: Sequence[str],
        *,
        base_channels: Annotated[
            int, Field(ge=4, multiple_of=4, description="channels of the first level; each level doubles")
        ] = 32,
        depth: Annotated[int, Field(ge=1, le=6, description="how often the resolution is halved")] = 4,
        branch_supervision: Annotated[bool, Field(description="each decoder as a side output in training")] = False,
        norm: Annotated[Norm, Field(description="normalisation after each convolution")] = "batch",
        norm_momentum: Annotated[
            float, Field(gt=0, le=1, description="share of the newest batch in batch norm's moving statistics")
        ] = 0.1,
    ) -> None:
        super().__init__(channels)
        self.size_multiple = 2**depth
        self.branch_supervision = branch_supervision
        normalise = normaliser(norm, norm_momentum)
        widths = [base_channels * 2**level for level in range(depth + 1)]
        self.stem = nn.Sequential(*conv_norm_relu(1, base_channels, 3, normalise, bias=False))
        self.encoder = nn.ModuleList(Inception(width, normalise) for width in widths)
        self.reductions = nn.ModuleList(Reduction(width, normalise) for width in widths[:-1])
        self.structures = Decoder(widths, len(self.channels), normalise)
        self.context = Decoder(widths, len(self.channels), normalise)
        self.apply(he_normal)

    def forward(self, images: Tensor) -> Tensor | SideOutputs:
        """Float `(B, 1, H, W)` to logits `(B, C, H, W)`, with both branches in training if asked for."""
        feature, features = self.stem(images), []
        for level, block in enumerate(self.encoder):
            feature = block(feature if level == 0 else self.reductions[level - 1](feature))
            features.append(feature)
        structures, context = self.structures(features), self.context(features)
        if self.training and self.branch_supervision:
            return SideOutputs(structures - context, (structures, -context))
        logits: Tensor = structures - context
        return logits


class Inception(nn.Module):
    """Four parallel paths of a quarter of the channels each, of 1, 3 and 5 pixels' reach and a pooled one."""

    def __init__(self, width: int, normalise: Normalise) -> None:
        super().__init__()
        part = width // 4

        def convolve(before: int, kernel: int) -> list[nn.Module]:
            return conv_norm_relu(before, part, kernel, normalise, bias=False)

        self.paths = nn.ModuleList(
            nn.Sequential(*layers)
            for layers in (
                convolve(width, 1),
                [*convolve(width, 1), *convolve(part, 3)],
                [*convolve(width, 1), *convolve(part, 3), *convolve(part, 3)],
                [nn.AvgPool2d(3, 1, 1, count_include_pad=False), *convolve(width, 1)],
            )
        )

    def forward(self, feature: Tensor) -> Tensor:
        """`(B, width, H, W)` to the same shape."""
        return torch.cat([path(feature) for path in self.paths], 1)


class Reduction(nn.Module):
    """Halves the resolution by a strided convolution beside a max-pool: `(B, width, H, W)` to twice the channels."""

    def __init__(self, width: int, normalise: Normalise) -> None:
        super().__init__()
        convolution = nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False)
        self.convolve = nn.Sequential(convolution, normalise(width), nn.ReLU(inplace=True))

    def forward(self, feature: Tensor) -> Tensor:
        """`(B, width, H, W)` to `(B, 2·width, H/2, W/2)`."""
        return torch.cat([F.max_pool2d(feature, 2), self.convolve(feature)], 1)


class Decoder(nn.Module):
    """From the encoder's features back to the film's size, as U-Net does, and to one map a channel."""

    def __init__(self, widths: Sequence[int], classes: int, normalise: Normalise) -> None:
        super().__init__()
        climbing = list(reversed(widths[:-1]))
        self.ups = nn.ModuleList(nn.ConvTranspose2d(2 * width, width, 2, stride=2) for width in climbing)
        self.steps = nn.ModuleList(double_conv(2 * width, width, normalise, bias=False) for width in climbing)
        self.head = nn.Conv2d(widths[0], classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """The encoder's features, finest first, to evidence `(B, C, H, W)`."""
        *skips, feature = features
        for up, step, skip in zip(self.ups, self.steps, reversed(skips), strict=True):
            feature = step(torch.cat([skip, up(feature)], 1))
        evidence: Tensor = self.head(feature)
        return evidence
