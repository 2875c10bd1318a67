"""Attention U-Net (Oktay 2018): a U-Net whose skips are weighed by additive attention gates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from cxrkit import Model, SideOutputs
from cxrkit_plugins.models.blocks import (
    CoarseGate,
    ContractingPath,
    Norm,
    Normalise,
    double_conv,
    he_normal,
    normaliser,
)

Gate = Literal["authors", "same-resolution"]


class GatedUNet(Model):
    """A U-Net whose skips pass a gate: images `(B, 1, H, W)` to logits `(B, C, H, W)`.

    Args:
        channels: as every model's.
        base_channels: channels of the first level; each level doubles.
        depth: how often the resolution is halved.
        make_gate: makes the gate of a skip of so many channels.
        gate_first_skip: whether the skip at full resolution has one.
        deep_supervision: whether the training output has a 1x1 convolution of each coarser decoder level.
        normalise: makes the normalisation of so many channels.
    """

    def __init__(
        self,
        channels: Sequence[str],
        base_channels: int,
        depth: int,
        make_gate: Callable[[int], nn.Module],
        gate_first_skip: bool,
        deep_supervision: bool,
        normalise: Normalise,
    ) -> None:
        super().__init__(channels)
        self.size_multiple = 2**depth
        widths = [base_channels * 2**level for level in range(depth + 1)]
        self.encoder = ContractingPath(
            double_conv(before, after, normalise, bias=False) for before, after in pairwise([1, *widths])
        )
        self.decoder = nn.ModuleList()
        for level in reversed(range(depth)):
            gated = make_gate if level > 0 or gate_first_skip else None
            self.decoder.append(DecoderStep(widths[level], gated, normalise))
        self.head = nn.Conv2d(base_channels, len(self.channels), 1)
        side_widths = reversed(widths[1:-1]) if deep_supervision else ()
        self.side_heads = nn.ModuleList(nn.Conv2d(width, len(self.channels), 1) for width in side_widths)
        self.apply(he_normal)

    def forward(self, images: Tensor) -> Tensor | SideOutputs:
        """Float `(B, 1, H, W)` to logits `(B, C, H, W)`, with side outputs in training if asked for."""
        *skips, feature = self.encoder(images)
        climbed = []
        for step, skip in zip(self.decoder, reversed(skips), strict=True):
            feature = step(feature, skip)
            climbed.append(feature)
        logits: Tensor = self.head(feature)
        if not self.training or not self.side_heads:
            return logits
        sides = (head(coarse) for head, coarse in zip(self.side_heads, climbed[:-1], strict=True))
        return SideOutputs(logits, tuple(sides))


class AttentionUNet(GatedUNet):
    """Images `(B, 1, H, W)` to logits `(B, C, H, W)`; H and W are multiples of 2^depth (Oktay 2018, figure 1).

    With `deep_supervision` the training output is `SideOutputs`: a 1x1 convolution of each coarser decoder
    level, coarsest first.
    """

    capturable = True

    def __init__(
        self,
        channels: Sequence[str],
        *,
        base_channels: Annotated[int, Field(ge=2, description="channels of the first level; each level doubles")] = 64,
        depth: Annotated[int, Field(ge=2, le=6, description="how often the resolution is halved")] = 4,
        gate: Annotated[
            Gate, Field(description="the authors' gate, on half the skip's grid, or the popular one on the skip's own")
        ] = "authors",
        gate_first_skip: Annotated[
            bool, Field(description="gate the skip at full resolution too, which the paper leaves alone")
        ] = False,
        deep_supervision: Annotated[bool, Field(description="side outputs at every decoder level in training")] = False,
        norm: Annotated[Norm, Field(description="normalisation after each convolution")] = "batch",
        norm_momentum: Annotated[
            float, Field(gt=0, le=1, description="share of the newest batch in batch norm's moving statistics")
        ] = 0.1,
    ) -> None:
        normalise = normaliser(norm, norm_momentum)

        def make_gate(width: int) -> nn.Module:
            if gate == "authors":
                return CoarseGate(width, 2 * width, normalise(width))
            return SameResolutionGate(width, normalise)

        super().__init__(channels, base_channels, depth, make_gate, gate_first_skip, deep_supervision, normalise)


class DecoderStep(nn.Module):
    """Up-convolution, gated skip, concatenation, double convolution: to `width` channels at twice the size."""

    def __init__(self, width: int, make_gate: Callable[[int], nn.Module] | None, normalise: Normalise) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.gate = None if make_gate is None else make_gate(width)
        self.double_conv = double_conv(2 * width, width, normalise, bias=False)

    def forward(self, running: Tensor, skip: Tensor) -> Tensor:
        """`(B, 2·width, h, w)` and `(B, width, 2h, 2w)` to `(B, width, 2h, 2w)`."""
        up = self.up(running)
        if self.gate is not None:
            skip = self.gate(skip, up if isinstance(self.gate, SameResolutionGate) else running)
        joined: Tensor = self.double_conv(torch.cat([skip, up], 1))
        return joined


class SameResolutionGate(nn.Module):
    """The gate of most other implementations: the gating signal is brought up first, every part is normalised.

    Args:
        features: channels of the skip and of the gating signal; the gate works with half as many.
        normalise: makes the normalisation of so many channels.
    """

    def __init__(self, features: int, normalise: Normalise) -> None:
        super().__init__()
        inner = features // 2
        self.theta = nn.Sequential(nn.Conv2d(features, inner, 1), normalise(inner))
        self.phi = nn.Sequential(nn.Conv2d(features, inner, 1), normalise(inner))
        self.psi = nn.Sequential(nn.Conv2d(inner, 1, 1), normalise(1))

    def forward(self, skip: Tensor, gating_signal: Tensor) -> Tensor:
        """Two tensors `(B, features, H, W)` to the skip, weighted."""
        weights = torch.sigmoid(self.psi(F.relu(self.theta(skip) + self.phi(gating_signal))))
        return skip * weights
