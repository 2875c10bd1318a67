"""Attention BCDU-Net: an Attention U-Net whose gates add with a ConvLSTM (Maga 2021).

The attention gate of Oktay 2018 adds the skip's features and the gating signal, which is linear. Here the
two are a sequence of length two that a (bidirectional) ConvLSTM reads. `bidirectional=False` is the network
of the author's released code, equal to it with the same weights; `True` is what the paper's text says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from cxrkit import Model

Norm = Literal["batch", "group", "instance"]
NORM_EPSILON = 1e-3  # Keras's default, not PyTorch's 1e-5


class AttentionBCDUNet(Model):
    """Images `(B, 1, H, W)` to logits `(B, C, H, W)`; H and W are multiples of 2^depth (Maga 2021, section 2.2).

    Channels double every second level (48, 48, 96, 96, centre 192). Levels of equal width are a pair: both
    their gates take the gating signal from the decoder feature that enters the pair. With an odd depth the
    deepest pair has one level. The decoder has no convolutions after its concatenations unless asked for.
    """

    def __init__(
        self,
        channels: Sequence[str],
        *,
        base_channels: Annotated[
            int, Field(ge=1, description="channels of the first level; they double every second level")
        ] = 48,
        depth: Annotated[int, Field(ge=1, le=6, description="how often the resolution is halved")] = 4,
        center_length: Annotated[int, Field(ge=1, description="double convolutions at the lowest resolution")] = 3,
        bidirectional: Annotated[
            bool, Field(description="a ConvLSTM each way (the paper); false: the one of the released code")
        ] = True,
        merge: Annotated[
            Literal["concat", "sum"],
            Field(description="how the two directions' last states join; concat is Keras's default"),
        ] = "concat",
        lstm_filters: Annotated[int, Field(ge=1, description="ConvLSTM filters of each direction")] = 32,
        resampling: Annotated[
            Literal["gating-up", "features-down"],
            Field(description="gates bring the gating signal up to the skip's size, or the skip down"),
        ] = "gating-up",
        decoder_convs: Annotated[bool, Field(description="a double convolution after each concatenation")] = False,
        spatial_channel_attention: Annotated[
            bool, Field(description="SCAU-Net's spatial attention at both ends, channel attention at the centre")
        ] = False,
        norm: Annotated[Norm, Field(description="normalisation after each convolution")] = "batch",
        norm_momentum: Annotated[
            float,
            Field(gt=0, le=1, description="share of the new batch in moving statistics; released code: 0.01"),
        ] = 0.1,
    ) -> None:
        super().__init__(channels)
        self.size_multiple = 2**depth
        self.depth = depth
        widths = [base_channels * 2 ** (level // 2) for level in range(depth)]
        centre = base_channels * 2 ** (depth // 2)

        def double_conv(before: int, after: int) -> nn.Sequential:
            return nn.Sequential(
                *_conv_norm_relu(before, after, 3, norm, norm_momentum),
                *_conv_norm_relu(after, after, 3, norm, norm_momentum),
            )

        self.encoder = nn.ModuleList(
            double_conv(before, after) for before, after in zip([1, *widths], widths, strict=False)
        )
        self.centre = nn.Sequential(
            double_conv(widths[-1], centre), *(double_conv(centre, centre) for _ in range(center_length - 1))
        )
        self.gating_signals, self.gates = nn.ModuleList(), nn.ModuleList()
        self.ups, self.decoder = nn.ModuleList(), nn.ModuleList()
        running = centre  # channels of the feature that climbs the decoder
        for level in reversed(range(depth)):
            if self._enters_pair(level):
                pair_input = running
            self.gating_signals.insert(0, nn.Sequential(*_conv_norm_relu(pair_input, pair_input, 1, norm, norm_momentum)))
            self.gates.insert(
                0,
                AttentionGate(
                    widths[level],
                    pair_input,
                    steps_apart=1 if self._enters_pair(level) else 2,
                    recurrent=TwoStepConvLSTM(widths[level], lstm_filters, bidirectional, merge),
                    resampling=resampling,
                    norm=_norm(norm, widths[level], norm_momentum),
                ),
            )
            self.ups.insert(0, SameConvTranspose2d(running, widths[level], stride=2))
            running = 2 * widths[level]
            if decoder_convs:
                self.decoder.insert(0, double_conv(running, widths[level]))
                running = widths[level]
            else:
                self.decoder.insert(0, nn.Identity())
        self.head = nn.Conv2d(running, len(self.channels), 1)

        self.first_attention = SpatialAttention() if spatial_channel_attention else nn.Identity()
        self.centre_attention = ChannelAttention(centre) if spatial_channel_attention else nn.Identity()
        self.last_attention = SpatialAttention() if spatial_channel_attention else nn.Identity()
        self.apply(_initialise)

    def _enters_pair(self, level: int) -> bool:
        """Whether the decoder meets this level first of its pair (levels 0 and 1, 2 and 3, ...)."""
        return level % 2 == 1 or level == self.depth - 1

    def forward(self, images: Tensor) -> Tensor:
        """Float `(B, 1, H, W)` to logits `(B, C, H, W)`."""
        feature, skips = images, []
        for level, double_conv in enumerate(self.encoder):
            feature = double_conv(feature)
            if level == 0:
                feature = self.first_attention(feature)
            skips.append(feature)
            feature = F.max_pool2d(feature, 2)
        feature = self.centre_attention(self.centre(feature))
        for level in reversed(range(self.depth)):
            if self._enters_pair(level):
                pair_input = feature
            gated = self.gates[level](skips[level], self.gating_signals[level](pair_input))
            feature = self.decoder[level](torch.cat([F.relu(self.ups[level](feature)), gated], 1))
        logits: Tensor = self.head(self.last_attention(feature))
        return logits


class AttentionGate(nn.Module):
    """Weighs a skip's pixels by what the gating signal makes of them.

    θ, the skip at half size, and φ, the gating signal, are brought to one grid; the ConvLSTM reads [φ, θ];
    its answer becomes one weight in (0, 1) a pixel of that grid.

    Args:
        features: channels of the skip, and of θ and φ.
        gating: channels of the gating signal.
        steps_apart: how many halvings lie between the skip and the gating signal: 1 or 2.
        recurrent: maps φ and θ, `(B, features, h, w)` each, to `(B, recurrent.out_channels, h, w)`.
        resampling: "gating-up" brings φ to θ's grid with a transposed convolution, as released;
            "features-down" lets θ stride to the gating signal's grid (Oktay 2018, figure 2).
        norm: applied at the end, on `features` channels.
    """

    def __init__(
        self,
        features: int,
        gating: int,
        *,
        steps_apart: int,
        recurrent: TwoStepConvLSTM,
        resampling: Literal["gating-up", "features-down"],
        norm: nn.Module,
    ) -> None:
        super().__init__()
        self.shrink = 2 if resampling == "gating-up" else 2**steps_apart
        self.theta = nn.Conv2d(features, features, self.shrink, stride=self.shrink)
        self.phi = nn.Conv2d(gating, features, 1)
        self.phi_up = (
            SameConvTranspose2d(features, features, stride=steps_apart)
            if resampling == "gating-up"
            else nn.Identity()
        )
        self.recurrent = recurrent
        self.psi = nn.Conv2d(recurrent.out_channels, 1, 1)
        self.out = nn.Conv2d(features, features, 1)
        self.norm = norm

    def forward(self, skip: Tensor, gating_signal: Tensor) -> Tensor:
        """Skip `(B, features, H, W)` and gating signal `(B, gating, h, w)` to `(B, features, H, W)`."""
        theta = self.theta(skip)
        phi = self.phi_up(self.phi(gating_signal))
        weights = torch.sigmoid(self.psi(F.relu(self.recurrent(phi, theta))))
        weights = F.interpolate(weights, scale_factor=float(self.shrink), mode="nearest")
        gated: Tensor = self.norm(self.out(skip * weights))
        return gated


class TwoStepConvLSTM(nn.Module):
    """The last hidden states of a ConvLSTM over a sequence of two (Shi 2015, without peepholes).

    With the states zero at the start, the first step needs neither the recurrent convolution nor the forget
    gate. That is mathematically the textbook loop; so is the one call that convolves both inputs for both
    directions.

    Gates lie in the order input, forget, cell, output. The recurrent activation is Keras's hard sigmoid of
    the time, clip(0.2x + 0.5, 0, 1).

    Args:
        features: channels of each input.
        filters: channels of the state.
        bidirectional: one ConvLSTM each way; otherwise the one that reads the sequence backwards.
        merge: how the two directions' states join.
    """

    def __init__(
        self, features: int, filters: int, bidirectional: bool, merge: Literal["concat", "sum"]
    ) -> None:
        super().__init__()
        self.filters = filters
        self.merge = merge
        self.backwards = ConvLSTMWeights(features, filters)
        self.forwards = ConvLSTMWeights(features, filters) if bidirectional else None
        self.out_channels = 2 * filters if bidirectional and merge == "concat" else filters

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Two tensors `(B, features, H, W)` to `(B, out_channels, H, W)`."""
        both = torch.cat([first, second])
        last = []
        for weights, backwards in ((self.forwards, False), (self.backwards, True)):
            if weights is None:
                continue
            a, b = weights.input(both).chunk(2)
            if backwards:
                a, b = b, a
            i, _, c, o = a.chunk(4, 1)
            cell = hs(i) * torch.tanh(c)
            hidden = hs(o) * torch.tanh(cell)
            i, f, c, o = (b + weights.recurrent(hidden)).chunk(4, 1)
            cell = hs(f) * cell + hs(i) * torch.tanh(c)
            last.append(hs(o) * torch.tanh(cell))
        if len(last) == 1:
            return last[0]
        return torch.cat(last, 1) if self.merge == "concat" else last[0] + last[1]


def hs(x: Tensor) -> Tensor:
    return torch.clamp(x * 0.2 + 0.5, 0, 1)


class ConvLSTMWeights(nn.Module):
    """The convolutions of one direction: `input` `(4·filters, features, 3, 3)` with bias, and `recurrent`."""

    def __init__(self, features: int, filters: int) -> None:
        super().__init__()
        self.input = nn.Conv2d(features, 4 * filters, 3, padding=1)
        self.recurrent = nn.Conv2d(filters, 4 * filters, 3, padding=1, bias=False)


class SameConvTranspose2d(nn.ConvTranspose2d):
    """A 3×3 transposed convolution with "same" padding as TensorFlow has it: `(B, C, H, W)` to stride·H, stride·W.

    At stride 2 input i reaches outputs 2i, 2i + 1, 2i + 2 and the last row and column are cropped; PyTorch's
    `padding=1, output_padding=1` is shifted by one pixel against that.
    """

    def __init__(self, before: int, after: int, *, stride: int) -> None:
        super().__init__(before, after, 3, stride=stride, padding=1 if stride == 1 else 0)

    def forward(self, feature: Tensor, output_size: list[int] | None = None) -> Tensor:
        """`(B, before, H, W)` to `(B, after, stride·H, stride·W)`."""
        result = super().forward(feature, output_size)
        return result if self.stride == (1, 1) else result[..., :-1, :-1]


class SpatialAttention(nn.Module):
    """One weight a pixel: the channels' sum, convolved, through a sigmoid (SCAU-Net, Zhao 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 7, padding=3)

    def forward(self, feature: Tensor) -> Tensor:
        """`(B, C, H, W)` to the same, weighted."""
        weighted: Tensor = feature * torch.sigmoid(self.conv(feature.mean(1, keepdim=True)))
        return weighted


class ChannelAttention(nn.Module):
    """One weight a channel: global average, two dense layers, a sigmoid (SCAU-Net, Zhao 2020)."""

    def __init__(self, features: int, reduction: int = 8) -> None:
        super().__init__()
        hidden = max(1, features // reduction)
        self.dense = nn.Sequential(
            nn.Linear(features, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, features), nn.Sigmoid()
        )

    def forward(self, feature: Tensor) -> Tensor:
        """`(B, C, H, W)` to the same, weighted."""
        weights: Tensor = self.dense(feature.mean((2, 3)))
        return feature * weights[:, :, None, None]


def _conv_norm_relu(before: int, after: int, kernel: int, norm: Norm, momentum: float) -> list[nn.Module]:
    convolution = nn.Conv2d(before, after, kernel, padding=kernel // 2)
    return [convolution, _norm(norm, after, momentum), nn.ReLU(inplace=True)]


def _norm(kind: Norm, channels: int, momentum: float) -> nn.Module:
    if kind == "batch":
        return nn.BatchNorm2d(channels, eps=NORM_EPSILON, momentum=momentum)
    # Instance norm is group norm of one channel a group, which unlike nn.InstanceNorm2d keeps channels_last.
    groups = channels if kind == "instance" else math.gcd(8, channels)
    return nn.GroupNorm(groups, channels, eps=NORM_EPSILON)


def _initialise(module: nn.Module) -> None:
    """Glorot-normal weights and zero biases; for ConvLSTMs orthogonal recurrent weights, unit forget bias."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.xavier_normal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, ConvLSTMWeights):  # after its convolutions: apply() goes depth first
        nn.init.orthogonal_(module.recurrent.weight)
        filters = module.recurrent.in_channels
        with torch.no_grad():
            module.input.bias[filters : 2 * filters] = 1.0
