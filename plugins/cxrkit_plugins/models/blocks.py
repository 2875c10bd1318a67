"""What several networks are made of: convolutions, norms, initial weights, attention, ConvLSTMs, residual blocks."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Norm = Literal["batch", "group", "instance"]
Resampling = Literal["gating-up", "features-down"]
Merge = Literal["concat", "sum"]
Pooling = Literal["mean", "sum"]
#: Makes the normalisation of so many channels.
Normalise = Callable[[int], nn.Module]

#: Keras's ε of batch norm; PyTorch's is 1e-5.
KERAS_EPSILON = 1e-3


def normaliser(kind: Norm, momentum: float = 0.1, epsilon: float = 1e-5) -> Normalise:
    """What makes the normalisation of so many channels."""
    return partial(_norm, kind, momentum, epsilon)


def _norm(kind: Norm, momentum: float, epsilon: float, channels: int) -> nn.Module:
    if kind == "batch":
        return nn.BatchNorm2d(channels, eps=epsilon, momentum=momentum)
    # Instance norm is group norm with one channel a group, which unlike nn.InstanceNorm2d keeps channels_last.
    return nn.GroupNorm(channels if kind == "instance" else math.gcd(8, channels), channels, eps=epsilon)


def conv_norm_relu(
    before: int, after: int, kernel: int, normalise: Normalise | None, *, bias: bool = True
) -> list[nn.Module]:
    """A "same" convolution, its normalisation if there is one, and a ReLU."""
    convolution = nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=bias)
    norm = [] if normalise is None else [normalise(after)]
    return [convolution, *norm, nn.ReLU(inplace=True)]


def double_conv(before: int, after: int, normalise: Normalise | None, *, bias: bool = True) -> nn.Sequential:
    """Twice a 3×3 convolution, normalisation and ReLU: `(B, before, H, W)` to `(B, after, H, W)`."""
    first = conv_norm_relu(before, after, 3, normalise, bias=bias)
    return nn.Sequential(*first, *conv_norm_relu(after, after, 3, normalise, bias=bias))


class ContractingPath(nn.ModuleList):
    """Blocks one after the other, each but the first after a 2×2 max-pool: `(B, C, H, W)` to the outputs of all."""

    def forward(self, feature: Tensor) -> list[Tensor]:
        """The blocks' outputs, finest first."""
        features: list[Tensor] = []
        for level, block in enumerate(self):
            feature = block(feature if level == 0 else F.max_pool2d(feature, 2))
            features.append(feature)
        return features


def glorot_normal(module: nn.Module) -> None:
    """Glorot-normal weights and zero biases, for `Module.apply`; ConvLSTMs have initialised themselves."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.xavier_normal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def he_normal(module: nn.Module) -> None:
    """Normal weights of variance 2/N, N the inputs that reach one output, and zero biases, for `Module.apply`."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        inputs = module.in_features if isinstance(module, nn.Linear) else module.in_channels
        # The 2x2 up-convolution has stride 2: an output sees one pixel of each input channel.
        taps = math.prod(module.kernel_size) if isinstance(module, nn.Conv2d) else 1
        nn.init.normal_(module.weight, std=math.sqrt(2 / (inputs * taps)))
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def resize(feature: Tensor, like: Tensor) -> Tensor:
    """A feature `(B, C, h, w)` brought to another one's height and width, bilinearly."""
    if feature.shape[-2:] == like.shape[-2:]:
        return feature
    return F.interpolate(feature, size=like.shape[-2:], mode="bilinear", align_corners=False)


def dense_gradient(feature: Tensor) -> Tensor:
    """The same feature, whose gradient arrives as a dense copy.

    A concatenation hands back a strided part of its gradient, and batch norm takes several times as long on that.
    """
    if feature.requires_grad:
        feature.register_hook(torch.clone)
    return feature


class AttentionGate(nn.Module):
    """Weighs a skip's pixels by what the gating signal makes of them, the Keras form of Oktay's gate.

    θ, from the skip, and φ, from the gating signal, lie on one grid; a ConvLSTM reads [φ, θ], or the two are
    added; the answer becomes one weight in (0, 1) for each pixel of that grid.

    Args:
        features: channels of the skip.
        gating: channels of the gating signal.
        inner: channels of θ and φ.
        halvings: how many lie between the skip and the gating signal, 1 or 2.
        lstm: reads φ, then θ; None: they are added.
        resampling: "gating-up": θ has half the skip's size and a transposed convolution brings φ to it, as
            released. "features-down": θ strides down to the gating signal's size.
        norm: comes last, on `features` channels.
    """

    def __init__(
        self,
        features: int,
        gating: int,
        *,
        inner: int,
        halvings: int,
        lstm: TwoStepConvLSTM | None,
        resampling: Resampling,
        norm: nn.Module,
    ) -> None:
        super().__init__()
        gating_up = resampling == "gating-up"
        self.shrink = 2 if gating_up else 2**halvings
        self.theta = nn.Conv2d(features, inner, self.shrink, stride=self.shrink)
        phi = nn.Conv2d(gating, inner, 1)
        to_theta = SameConvTranspose2d(inner, inner, stride=halvings) if gating_up else nn.Identity()
        self.phi = nn.Sequential(phi, to_theta)
        self.lstm = lstm
        self.psi = nn.Conv2d(inner if lstm is None else lstm.out_channels, 1, 1)
        self.out = nn.Conv2d(features, features, 1)
        self.norm = norm

    def forward(self, skip: Tensor, gating_signal: Tensor) -> Tensor:
        """Skip `(B, features, H, W)` and gating signal `(B, gating, h, w)` to `(B, features, H, W)`."""
        phi, theta = self.phi(gating_signal), self.theta(skip)
        state = phi + theta if self.lstm is None else self.lstm(phi, theta)
        weights = torch.sigmoid(self.psi(F.relu(state)))
        weights = F.interpolate(weights, scale_factor=float(self.shrink), mode="nearest")
        gated: Tensor = self.norm(self.out(skip * weights))
        return gated


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

    def forward(self, skip: Tensor, gating_signal: Tensor, channel_weights: Tensor | None = None) -> Tensor:
        """Skip `(B, features, H, W)` and gating signal `(B, gating, h, w)` to `(B, features, H, W)`.

        `channel_weights` `(B, features, 1, 1)` multiply the skip too, but attention is found on the skip as it is.
        """
        theta = self.theta(skip)
        phi = resize(self.phi(gating_signal), theta)
        weights = torch.sigmoid(self.psi(F.relu(theta + phi)))
        weighted = skip * resize(weights, skip)
        if channel_weights is not None:
            weighted = weighted * channel_weights
        gated: Tensor = self.norm(self.out(weighted))
        return dense_gradient(gated)


class SpatialAttention(nn.Module):
    """A weight in (0, 1) for each pixel, from the mean or sum of its channels (Zhao 2020): 305 parameters."""

    def __init__(self, pooling: Pooling) -> None:
        super().__init__()
        self.pooling = pooling
        self.weigh = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 1, 3, padding=1), nn.Sigmoid()
        )

    def forward(self, feature: Tensor) -> Tensor:
        """`(B, C, H, W)` to the same, weighted."""
        pooled = feature.mean(1, keepdim=True) if self.pooling == "mean" else feature.sum(1, keepdim=True)
        weighted: Tensor = feature * self.weigh(pooled)
        return weighted


def weights_of_channels(before: int, units: int, after: int) -> nn.Sequential:
    """Two dense layers and a sigmoid: `(B, before)` to weights in (0, 1), `(B, after)`."""
    return nn.Sequential(nn.Linear(before, units), nn.ReLU(), nn.Linear(units, after), nn.Sigmoid())


class ChannelAttention(nn.Module):
    """A weight in (0, 1) for each channel, from the mean or sum of its pixels by two dense layers (Zhao 2020).

    Args:
        features: channels.
        pooling: "sum" grows with the number of pixels.
        units: of the first dense layer; there are 2·units·features + units + features parameters.
    """

    def __init__(self, features: int, pooling: Pooling, *, units: int) -> None:
        super().__init__()
        self.pooling = pooling
        self.weigh = weights_of_channels(features, units, features)

    def forward(self, feature: Tensor) -> Tensor:
        """`(B, C, H, W)` to the same, weighted."""
        pooled = feature.mean((2, 3)) if self.pooling == "mean" else feature.sum((2, 3))
        weights: Tensor = self.weigh(pooled)
        return feature * weights[:, :, None, None]


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


def _clip(gate: Tensor) -> Tensor:
    return F.hardtanh(gate, 0.0, 1.0)  # unlike torch.clamp, it has a backward of a single pass


class SameConvTranspose2d(nn.ConvTranspose2d):
    """A 3×3 transposed convolution with TensorFlow's "same" padding: `(B, C, H, W)` to stride·H, stride·W.

    At stride 2 input i reaches outputs 2i, 2i + 1 and 2i + 2, and the last row and column are cropped;
    PyTorch's `padding=1, output_padding=1` lies one pixel beside that.
    """

    def __init__(self, before: int, after: int, *, stride: int) -> None:
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


class ResidualBlock(nn.Module):
    """Two convolutions with normalisation, and the input, or a 1×1 convolution of it, added before the last ReLU."""

    def __init__(self, before: int, after: int, kernel: int, normalise: Normalise) -> None:
        super().__init__()
        self.convolve = nn.Sequential(
            *conv_norm_relu(before, after, kernel, normalise),
            nn.Conv2d(after, after, kernel, padding=kernel // 2),
            normalise(after),
        )
        self.shortcut = nn.Identity() if before == after else nn.Conv2d(before, after, 1)

    def forward(self, feature: Tensor) -> Tensor:
        """`(B, before, H, W)` to `(B, after, H, W)`."""
        return F.relu(self.convolve(feature) + self.shortcut(feature))


def residual_trunk(inputs: int, base_channels: int, normalise: Normalise) -> nn.Sequential:
    """SCAN's feature extractor: `(B, inputs, H, W)` to `(B, 8·base_channels, H/16, W/16)` (Dai 2018)."""
    widths = [base_channels * factor for factor in (1, 2, 4, 8)]
    layers: list[nn.Module] = [ResidualBlock(inputs, widths[0], 7, normalise)]
    for before, after in zip([widths[0], *widths[:-1]], widths, strict=True):
        layers += [ResidualBlock(before, after, 3, normalise), nn.AvgPool2d(2)]
    deepest = widths[-1]
    return nn.Sequential(*layers, *(ResidualBlock(deepest, deepest, kernel, normalise) for kernel in (1, 3, 1, 3, 1)))


@torch.no_grad()
def interpolate_bilinearly(up: nn.ConvTranspose2d) -> None:
    """Let a deconvolution of kernel 2s and stride s interpolate each channel bilinearly."""
    size, stride = up.kernel_size[0], up.stride[0]
    ramp = 1 - (torch.arange(size) - (size - 1) / 2).abs() / stride
    up.weight.zero_()
    for channel in range(up.out_channels):
        up.weight[channel, channel] = ramp[:, None] * ramp
    if up.bias is not None:
        up.bias.zero_()
