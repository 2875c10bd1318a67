"""Attention BCDU-Net: an Attention U-Net whose gates add with a ConvLSTM (Maga 2021).

The attention gate of Oktay 2018 adds the skip's features to the gating signal, which is linear. Here the two
are a sequence of length two that a (bidirectional) ConvLSTM reads. `bidirectional=False` is the network of
the author's released code, equal to it with the same weights; `True` is what the paper's text says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from cxrkit import Model

Norm = Literal["batch", "group", "instance"]
Resampling = Literal["gating-up", "features-down"]
Merge = Literal["concat", "sum"]


class AttentionBCDUNet(Model):
    """Images `(B, 1, H, W)` to logits `(B, C, H, W)`; H and W are multiples of 2^depth (Maga 2021, section 2.2).

    Channels double every second level (48, 48, 96, 96, centre 192). Levels of equal width are a pair: both
    their gates take the gating signal from the decoder feature that enters the pair. With an odd depth the
    deepest pair has one level. The decoder has no convolutions after its concatenations unless asked for.
    """

    capturable = True

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
            Merge, Field(description="how the two directions' last states join; concat is Keras's default")
        ] = "concat",
        lstm_filters: Annotated[int, Field(ge=1, description="ConvLSTM filters of each direction")] = 32,
        resampling: Annotated[
            Resampling, Field(description="gates bring the gating signal up to the skip's size, or the skip down")
        ] = "gating-up",
        decoder_convs: Annotated[bool, Field(description="a double convolution after each concatenation")] = False,
        spatial_channel_attention: Annotated[
            bool, Field(description="SCAU-Net's spatial attention at both ends, channel attention at the centre")
        ] = False,
        norm: Annotated[Norm, Field(description="normalisation after each convolution")] = "batch",
        norm_momentum: Annotated[
            float, Field(gt=0, le=1, description="share of the newest batch in moving statistics (released code: 0.01)")
        ] = 0.1,
    ) -> None:
        super().__init__(channels)
        self.size_multiple = 2**depth
        normalise = partial(_norm, norm, norm_momentum)
        widths = [base_channels * 2 ** (level // 2) for level in range(depth)]
        centre = base_channels * 2 ** (depth // 2)

        self.encoder = nn.ModuleList(
            _double_conv(before, after, normalise) for before, after in zip([1, *widths[:-1]], widths, strict=True)
        )
        self.centre = nn.Sequential(
            _double_conv(widths[-1], centre, normalise),
            *(_double_conv(centre, centre, normalise) for _ in range(center_length - 1)),
        )
        self.decoder = nn.ModuleList()
        running = pair_input = centre  # channels of the feature that climbs the decoder, and enters the pair
        for level in reversed(range(depth)):
            enters_pair = level % 2 == 1 or level == depth - 1
            pair_input = running if enters_pair else pair_input
            lstm = TwoStepConvLSTM(widths[level], lstm_filters, bidirectional=bidirectional, merge=merge)
            step = DecoderStep(
                running,
                widths[level],
                pair_input,
                enters_pair=enters_pair,
                lstm=lstm,
                resampling=resampling,
                normalise=normalise,
                convolve=decoder_convs,
            )
            self.decoder.append(step)
            running = step.out_channels
        self.head = nn.Conv2d(running, len(self.channels), 1)

        self.first_attention = SpatialAttention() if spatial_channel_attention else nn.Identity()
        self.centre_attention = ChannelAttention(centre) if spatial_channel_attention else nn.Identity()
        self.last_attention = SpatialAttention() if spatial_channel_attention else nn.Identity()
        self.apply(_initialise)

    def forward(self, images: Tensor) -> Tensor:
        """Float `(B, 1, H, W)` to logits `(B, C, H, W)`."""
        feature, skips = images, []
        for level, double_conv in enumerate(self.encoder):
            feature = double_conv(feature)
            if level == 0:
                feature = self.first_attention(feature)
            skips.append(feature)
            feature = F.max_pool2d(feature, 2)
        feature = pair_input = self.centre_attention(self.centre(feature))
        for step, skip in zip(self.decoder, reversed(skips), strict=True):
            pair_input = feature if step.enters_pair else pair_input
            feature = step(feature, pair_input, skip)
        logits: Tensor = self.head(self.last_attention(feature))
        return logits


class DecoderStep(nn.Module):
    """Doubles the running feature's size and joins it to the gated skip of that level.

    Args:
        running: channels of the running feature.
        width: channels of the skip, and of the running feature once it is brought up.
        pair_input: channels of the feature that entered the pair of levels.
        enters_pair: whether that is the running feature itself, or the one of a level before.
        lstm: what the gate adds with.
        resampling: see `AttentionGate`.
        normalise: makes the normalisation of so many channels.
        convolve: whether a double convolution follows the concatenation.
    """

    def __init__(
        self,
        running: int,
        width: int,
        pair_input: int,
        *,
        enters_pair: bool,
        lstm: TwoStepConvLSTM,
        resampling: Resampling,
        normalise: Callable[[int], nn.Module],
        convolve: bool,
    ) -> None:
        super().__init__()
        self.enters_pair = enters_pair
        self.out_channels = width if convolve else 2 * width
        self.gating_signal = nn.Sequential(*_conv_norm_relu(pair_input, pair_input, 1, normalise))
        self.gate = AttentionGate(
            width, pair_input, halvings=1 if enters_pair else 2, lstm=lstm, resampling=resampling, norm=normalise(width)
        )
        self.up = SameConvTranspose2d(running, width, stride=2)
        self.convolve = _double_conv(2 * width, width, normalise) if convolve else nn.Identity()

    def forward(self, running: Tensor, pair_input: Tensor, skip: Tensor) -> Tensor:
        """`(B, running, h, w)`, `(B, pair_input, ·, ·)`, `(B, width, 2h, 2w)` to `(B, out_channels, 2h, 2w)`."""
        gated = self.gate(skip, self.gating_signal(pair_input))
        if gated.requires_grad:
            # The concatenation hands back a strided part of its gradient, and the gate's batch norm takes
            # several times as long on that as on a dense copy.
            gated.register_hook(torch.clone)
        joined: Tensor = self.convolve(torch.cat([F.relu(self.up(running)), gated], 1))
        return joined


class AttentionGate(nn.Module):
    """Weighs a skip's pixels by what the gating signal makes of them.

    θ, from the skip, and φ, from the gating signal, lie on one grid; the ConvLSTM reads [φ, θ]; its answer
    becomes one weight in (0, 1) for each pixel of that grid.

    Args:
        features: channels of the skip, and of θ and φ.
        gating: channels of the gating signal.
        halvings: how many lie between the skip and the gating signal, 1 or 2.
        lstm: reads φ, then θ.
        resampling: "gating-up": θ has half the skip's size and a transposed convolution brings φ to it, as
            released. "features-down": θ strides down to the gating signal's size.
        norm: comes last, on `features` channels.
    """

    def __init__(
        self,
        features: int,
        gating: int,
        *,
        halvings: Literal[1, 2],
        lstm: TwoStepConvLSTM,
        resampling: Resampling,
        norm: nn.Module,
    ) -> None:
        super().__init__()
        gating_up = resampling == "gating-up"
        self.shrink = 2 if gating_up else 2**halvings
        self.theta = nn.Conv2d(features, features, self.shrink, stride=self.shrink)
        phi = nn.Conv2d(gating, features, 1)
        to_theta = SameConvTranspose2d(features, features, stride=halvings) if gating_up else nn.Identity()
        self.phi = nn.Sequential(phi, to_theta)
        self.lstm = lstm
        self.psi = nn.Conv2d(lstm.out_channels, 1, 1)
        self.out = nn.Conv2d(features, features, 1)
        self.norm = norm

    def forward(self, skip: Tensor, gating_signal: Tensor) -> Tensor:
        """Skip `(B, features, H, W)` and gating signal `(B, gating, h, w)` to `(B, features, H, W)`."""
        state = self.lstm(self.phi(gating_signal), self.theta(skip))
        weights = torch.sigmoid(self.psi(F.relu(state)))
        weights = F.interpolate(weights, scale_factor=float(self.shrink), mode="nearest")
        gated: Tensor = self.norm(self.out(skip * weights))
        return gated


class TwoStepConvLSTM(nn.Module):
    """The last hidden states of a ConvLSTM over a sequence of two (Shi 2015, without peepholes).

    Args:
        features: channels of each input.
        filters: channels of each direction's state.
        bidirectional: one ConvLSTM each way; otherwise the one that reads the sequence backwards.
        merge: how the two directions' last states join.
    """

    def __init__(self, features: int, filters: int, *, bidirectional: bool, merge: Merge) -> None:
        super().__init__()
        self.merge = merge
        self.forwards = ConvLSTM(features, filters) if bidirectional else None
        self.backwards = ConvLSTM(features, filters)
        self.out_channels = 2 * filters if bidirectional and merge == "concat" else filters

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Two tensors `(B, features, H, W)` to `(B, out_channels, H, W)`."""
        backwards: Tensor = self.backwards(second, first)
        if self.forwards is None:
            return backwards
        forwards: Tensor = self.forwards(first, second)
        return torch.cat([forwards, backwards], 1) if self.merge == "concat" else forwards + backwards


class ConvLSTM(nn.Module):
    """One direction: reads two inputs, from zero states, and gives the last hidden state.

    Gates lie in the order input, forget, cell, output, with one bias. The recurrent activation is Keras's
    hard sigmoid of the time, clip(0.2x + 0.5, 0, 1).

    It is the textbook's loop with less work: zero states make the first step's recurrent convolution and
    forget gate superfluous, the second step's two convolutions are one over input and state together, and
    0.2x + 0.5 goes into the weights, which leaves a clip of the hard sigmoid.
    """

    def __init__(self, features: int, filters: int) -> None:
        super().__init__()
        self.features = features
        self.input_weight = nn.Parameter(torch.empty(4 * filters, features, 3, 3))
        self.recurrent_weight = nn.Parameter(torch.empty(4 * filters, filters, 3, 3))
        unit_forget = torch.tensor([0.0, 1.0, 0.0, 0.0]).repeat_interleave(filters)
        self.bias = nn.Parameter(unit_forget)
        nn.init.xavier_normal_(self.input_weight)
        nn.init.orthogonal_(self.recurrent_weight)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Two tensors `(B, features, H, W)` to `(B, filters, H, W)`."""
        weight = torch.cat([self.input_weight, self.recurrent_weight], 1)
        of_input, of_forget, of_cell, of_output = weight.chunk(4)
        of_input, of_forget, of_output = 0.2 * of_input, 0.2 * of_forget, 0.2 * of_output
        b_input, b_forget, b_cell, b_output = self.bias.chunk(4)
        b_input, b_forget, b_output = 0.2 * b_input + 0.5, 0.2 * b_forget + 0.5, 0.2 * b_output + 0.5

        weight = torch.cat([of_input, of_cell, of_output])[:, : self.features]
        gates = F.conv2d(first, weight, torch.cat([b_input, b_cell, b_output]), padding=1)
        enter, candidate, leave = gates.chunk(3, 1)
        cell = _clip(enter) * torch.tanh(candidate)
        hidden = _clip(leave) * torch.tanh(cell)

        weight = torch.cat([of_input, of_forget, of_cell, of_output])
        bias = torch.cat([b_input, b_forget, b_cell, b_output])
        gates = F.conv2d(torch.cat([second, hidden], 1), weight, bias, padding=1)
        enter, keep, candidate, leave = gates.chunk(4, 1)
        cell = _clip(keep) * cell + _clip(enter) * torch.tanh(candidate)
        return _clip(leave) * torch.tanh(cell)


class SameConvTranspose2d(nn.ConvTranspose2d):
    """A 3×3 transposed convolution with TensorFlow's "same" padding: `(B, C, H, W)` to stride·H, stride·W.

    At stride 2 input i reaches outputs 2i, 2i + 1 and 2i + 2, and the last row and column are cropped;
    PyTorch's `padding=1, output_padding=1` lies one pixel beside that.
    """

    def __init__(self, before: int, after: int, *, stride: Literal[1, 2]) -> None:
        super().__init__(before, after, 3, stride=stride, padding=1 if stride == 1 else 0)

    def forward(self, feature: Tensor, output_size: list[int] | None = None) -> Tensor:
        """`(B, before, H, W)` to `(B, after, stride·H, stride·W)`."""
        weight = self.weight.transpose(0, 1)
        if self.stride == (1, 1):
            return F.conv2d(feature, weight.flip(2, 3), self.bias, padding=1)
        # Even outputs are w0·x[i] + w2·x[i - 1], odd ones w1·x[i]: an ordinary 2×2 convolution gives all four
        # phases at once, and is several times as fast as torch's transposed one in bf16 on a CPU.
        # (Flipped and sliced: a list of indices would have to be copied to the device.)
        rows = [weight.flip(2)[..., ::2, :], F.pad(weight[..., 1:2, :], (0, 0, 1, 0))]
        phases = [part for row in rows for part in (row.flip(3)[..., ::2], F.pad(row[..., 1:2], (1, 0)))]
        assert self.bias is not None
        stacked = F.conv2d(
            F.pad(feature, (1, 0, 1, 0)), torch.stack(phases, 1).flatten(0, 1), self.bias.repeat_interleave(4)
        )
        # Channels last, in words that torch.func.vmap knows.
        return F.pixel_shuffle(stacked, 2).permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


class SpatialAttention(nn.Module):
    """One weight a pixel: the channels' average, a 7×7 convolution, a sigmoid (SCAU-Net, Zhao 2020).

    SCAU-Net sums the channels; the average is that up to a factor that the convolution can learn.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 7, padding=3)

    def forward(self, feature: Tensor) -> Tensor:
        """`(B, C, H, W)` to the same, weighted."""
        weighted: Tensor = feature * torch.sigmoid(self.conv(feature.mean(1, keepdim=True)))
        return weighted


class ChannelAttention(nn.Module):
    """One weight a channel: the global average, two dense layers, a sigmoid (SCAU-Net, Zhao 2020)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        hidden = max(1, features // 8)
        self.dense = nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, features), nn.Sigmoid())

    def forward(self, feature: Tensor) -> Tensor:
        """`(B, C, H, W)` to the same, weighted."""
        weights: Tensor = self.dense(feature.mean((2, 3)))
        return feature * weights[:, :, None, None]


def _clip(gate: Tensor) -> Tensor:
    return F.hardtanh(gate, 0.0, 1.0)  # unlike torch.clamp, it has a backward of a single pass


def _double_conv(before: int, after: int, normalise: Callable[[int], nn.Module]) -> nn.Sequential:
    return nn.Sequential(*_conv_norm_relu(before, after, 3, normalise), *_conv_norm_relu(after, after, 3, normalise))


def _conv_norm_relu(before: int, after: int, kernel: int, normalise: Callable[[int], nn.Module]) -> list[nn.Module]:
    convolution = nn.Conv2d(before, after, kernel, padding=kernel // 2)
    return [convolution, normalise(after), nn.ReLU(inplace=True)]


def _norm(kind: Norm, momentum: float, channels: int) -> nn.Module:
    epsilon = 1e-3  # Keras's default
    if kind == "batch":
        return nn.BatchNorm2d(channels, eps=epsilon, momentum=momentum)
    # Instance norm is group norm with one channel a group, which unlike nn.InstanceNorm2d keeps channels_last.
    groups = channels if kind == "instance" else math.gcd(8, channels)
    return nn.GroupNorm(groups, channels, eps=epsilon)


def _initialise(module: nn.Module) -> None:
    """Glorot-normal weights and zero biases; the ConvLSTMs have initialised themselves."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.xavier_normal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
