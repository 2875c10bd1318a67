"""Attention U-Net (Oktay 2018): a U-Net whose skips are weighed by additive attention gates."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from cxrkit import Model, SideOutputs

Gate = Literal["authors", "same-resolution"]
Norm = Literal["batch", "group", "instance"]
Normalise = Callable[[int], nn.Module]


class AttentionUNet(Model):
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
        super().__init__(channels)
        self.size_multiple = 2**depth
        normalise = partial(_norm, norm, norm_momentum)
        widths = [base_channels * 2**level for level in range(depth + 1)]
        self.encoder = nn.ModuleList(
            _double_conv(before, after, normalise) for before, after in zip([1, *widths[:-1]], widths, strict=True)
        )
        self.decoder = nn.ModuleList()
        for level in reversed(range(depth)):
            gated = gate if level > 0 or gate_first_skip else None
            self.decoder.append(DecoderStep(widths[level], gated, normalise))
        self.head = nn.Conv2d(base_channels, len(self.channels), 1)
        side_widths = reversed(widths[1:-1]) if deep_supervision else ()
        self.side_heads = nn.ModuleList(nn.Conv2d(width, len(self.channels), 1) for width in side_widths)
        self.apply(_initialise)

    def forward(self, images: Tensor) -> Tensor | SideOutputs:
        """Float `(B, 1, H, W)` to logits `(B, C, H, W)`, with side outputs in training if asked for."""
        feature, skips = images, []
        for level, double_conv in enumerate(self.encoder):
            feature = double_conv(feature if level == 0 else F.max_pool2d(feature, 2))
            skips.append(feature)
        climbed = []
        for step, skip in zip(self.decoder, reversed(skips[:-1]), strict=True):
            feature = step(feature, skip)
            climbed.append(feature)
        logits: Tensor = self.head(feature)
        if not self.training or not self.side_heads:
            return logits
        sides = (head(coarse) for head, coarse in zip(self.side_heads, climbed[:-1], strict=True))
        return SideOutputs(logits, tuple(sides))


class DecoderStep(nn.Module):
    """Up-convolution, gated skip, concatenation, double convolution: to `width` channels at twice the size."""

    def __init__(self, width: int, gate: Gate | None, normalise: Normalise) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.gate: nn.Module | None = None
        if gate == "authors":
            self.gate = CoarseGate(width, 2 * width, normalise(width))
        elif gate == "same-resolution":
            self.gate = SameResolutionGate(width, normalise)
        self.double_conv = _double_conv(2 * width, width, normalise)

    def forward(self, running: Tensor, skip: Tensor) -> Tensor:
        """`(B, 2·width, h, w)` and `(B, width, 2h, 2w)` to `(B, width, 2h, 2w)`."""
        up = self.up(running)
        if self.gate is not None:
            skip = self.gate(skip, up if isinstance(self.gate, SameResolutionGate) else running)
        joined: Tensor = self.double_conv(torch.cat([skip, up], 1))
        return joined


class CoarseGate(nn.Module):
    """The authors' gate: attention is found on half the skip's grid, that of the gating signal (Oktay 2018, figure 2).

    Args:
        features: channels of the skip; the gate works with half as many.
        gating: channels of the gating signal.
        norm: comes last, on `features` channels.
    """

    def __init__(self, features: int, gating: int, norm: nn.Module) -> None:
        super().__init__()
        inner = features // 2
        self.theta = nn.Conv2d(features, inner, 2, stride=2, bias=False)
        self.phi = nn.Conv2d(gating, inner, 1)
        self.psi = nn.Conv2d(inner, 1, 1)
        self.out = nn.Conv2d(features, features, 1)
        self.norm = norm

    def forward(self, skip: Tensor, gating_signal: Tensor) -> Tensor:
        """Skip `(B, features, H, W)` and gating signal `(B, gating, h, w)` to `(B, features, H, W)`."""
        theta = self.theta(skip)
        phi = _resize(self.phi(gating_signal), theta)
        weights = torch.sigmoid(self.psi(F.relu(theta + phi)))
        gated: Tensor = self.norm(self.out(skip * _resize(weights, skip)))
        if gated.requires_grad:
            # The concatenation hands back a strided part of its gradient, and batch norm takes several times
            # as long on that as on a dense copy.
            gated.register_hook(torch.clone)
        return gated


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


def _resize(feature: Tensor, like: Tensor) -> Tensor:
    if feature.shape[-2:] == like.shape[-2:]:
        return feature
    return F.interpolate(feature, size=like.shape[-2:], mode="bilinear", align_corners=False)


def _double_conv(before: int, after: int, normalise: Normalise) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (before, after):
        convolution = nn.Conv2d(channels, after, 3, padding=1, bias=False)
        layers += [convolution, normalise(after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _norm(kind: Norm, momentum: float, channels: int) -> nn.Module:
    if kind == "batch":
        return nn.BatchNorm2d(channels, momentum=momentum)
    # Instance norm is group norm with one channel a group, and so keeps channels_last.
    return nn.GroupNorm(channels if kind == "instance" else math.gcd(8, channels), channels)


def _initialise(module: nn.Module) -> None:
    """Normal weights of variance 2/N, N the inputs that reach one output, as in U-Net: only the gates differ."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        # The 2x2 up-convolution has stride 2: an output sees one pixel of each input channel.
        taps = math.prod(module.kernel_size) if isinstance(module, nn.Conv2d) else 1
        nn.init.normal_(module.weight, std=math.sqrt(2 / (module.in_channels * taps)))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
