"""Fully convolutional networks on VGG-16: FCN-32s, FCN-16s and FCN-8s (Long 2015, Shelhamer 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from cxrkit import Model
from cxrkit_plugins.models.blocks import conv_norm_relu, he_normal, interpolate_bilinearly

_PADDING = 100
#: Of each level, its convolutions and the padding of the first.
_LEVELS = ((2, _PADDING), (2, 1), (3, 1), (3, 1), (3, 1))


class FCN(Model):
    """Images `(B, 1, H, W)` of any size to logits `(B, C, H, W)` (Long 2015, section 4; Shelhamer 2016).

    VGG-16's convolutions, of which the first is padded by 100, its dense layers as convolutions of 7×7 and 1×1, and
    scores that fixed bilinear deconvolutions bring up to the film's size: at once (32s), or with the scores of the
    fourth and third pooling added on the way (16s, 8s). Scores start at zero.

    The film enters all three of VGG's input channels, so the network has the authors' number of parameters: 134
    million. Theirs starts from ImageNet's weights and is trained in stages; here it starts from He-normal weights and
    is trained at once. `base_channels` makes it small enough for few films.
    """

    capturable = True

    def __init__(
        self,
        channels: Sequence[str],
        *,
        variant: Annotated[Literal["32s", "16s", "8s"], Field(description="stride of the last upsampling")] = "8s",
        base_channels: Annotated[
            int, Field(ge=1, description="channels of the first level: ×2, ×4, ×8, ×8 below, ×64 in dense layers")
        ] = 64,
        dropout: Annotated[float, Field(ge=0, lt=1, description="share of values dropped in dense layers")] = 0.5,
    ) -> None:
        super().__init__(channels)
        classes, dense = len(self.channels), 64 * base_channels
        widths = [3, *(base_channels * factor for factor in (1, 2, 4, 8, 8))]
        self.levels = nn.ModuleList(
            _level(before, after, count, padding)
            for (before, after), (count, padding) in zip(pairwise(widths), _LEVELS, strict=True)
        )
        self.dense = nn.Sequential(
            nn.Conv2d(widths[-1], dense, 7),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Conv2d(dense, dense, 1),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
        )
        # Of the dense layers, then of the poolings that are added, coarsest first.
        self.pooled = {"32s": (), "16s": (4,), "8s": (4, 3)}[variant]
        scores = [nn.Conv2d(width, classes, 1) for width in (dense, *(widths[number] for number in self.pooled))]
        strides = [*[2 for _ in self.pooled], 32 >> len(self.pooled)]
        ups = [nn.ConvTranspose2d(classes, classes, 2 * stride, stride=stride, bias=False) for stride in strides]
        self.scores, self.ups = nn.ModuleList(scores), nn.ModuleList(ups)
        self.apply(he_normal)
        for score in scores:
            nn.init.zeros_(score.weight)
        for up in ups:
            interpolate_bilinearly(up)
            up.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Float `(B, 1, H, W)` to logits `(B, C, H, W)`."""
        feature = images.expand(-1, 3, -1, -1)
        pooled: dict[int, Tensor] = {}
        for number, level in enumerate(self.levels, start=1):
            pooled[number] = feature = F.max_pool2d(level(feature), 2, ceil_mode=True)
        scores = self.scores[0](self.dense(feature))
        # Where the scores' first row lies on the grid of their stride: 3 below the fifth pooling's, for the 7×7
        # convolution is centred there. A deconvolution of stride s and kernel 2s begins s/2 before that.
        first, stride = 3, 32
        for pooling, score, up in zip(self.pooled, self.scores[1:], self.ups[:-1], strict=True):
            scores = up(scores)
            first, stride = 2 * first - 1, stride // 2
            scores = scores + _crop(score(pooled[pooling]), first, scores.shape)
        # The film's first pixel lies 99 below that of the padded one.
        start = _PADDING - 1 - (stride * first - stride // 2)
        logits: Tensor = self.ups[-1](scores)
        return _crop(logits, start, images.shape)


def _crop(feature: Tensor, start: int, shape: torch.Size) -> Tensor:
    """From a row and column on, as many as another shape has."""
    return feature[..., start : start + shape[-2], start : start + shape[-1]]


def _level(before: int, after: int, convolutions: int, padding: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(before, after, 3, padding=padding), nn.ReLU(inplace=True)]
    for _ in range(convolutions - 1):
        layers += conv_norm_relu(after, after, 3, None)
    return nn.Sequential(*layers)
