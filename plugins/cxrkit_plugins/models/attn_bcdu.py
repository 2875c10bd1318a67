"""Attention BCDU-Net: an Attention U-Net whose gates add with a ConvLSTM (Maga 2021).

The attention gate of Oktay 2018 adds the skip's features to the gating signal, which is linear. Here the two
are a sequence of length two that a (bidirectional) ConvLSTM reads. `bidirectional=False` is the network of
the author's released code, equal to it with the same weights; `True` is what the paper's text says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from cxrkit import Model
from cxrkit_plugins.models.blocks import (
    KERAS_EPSILON,
    AttentionGate,
    ChannelAttention,
    Merge,
    Norm,
    Normalise,
    Resampling,
    SameConvTranspose2d,
    SpatialAttention,
    TwoStepConvLSTM,
    conv_norm_relu,
    dense_gradient,
    double_conv,
    glorot_normal,
    normaliser,
)


class AttentionBCDUNet(Model):
    """Images `(B, 1, H, W)` to logits `(B, C, H, W)`; H and W are multiples of 2^depth (Maga 2021, section 2.2).

    Channels double every second level (48, 48, 96, 96, centre 192). Levels of equal width are a pair: both
    their gates take the gating signal from the decoder feature that enters the pair. With an odd depth the
    deepest pair has one level. The decoder has no convolutions after its concatenations unless asked for.

    `spatial_channel_attention` is SCAU-Net's as the released code has it, which sums where SCAU-Net averages and has 64
    units in the channel part. The sum over a large film's pixels saturates that part's sigmoids.
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
            bool,
            Field(description="SCAU-Net's spatial attention at both ends, channel attention at the centre, with sums"),
        ] = False,
        norm: Annotated[Norm, Field(description="normalisation after each convolution")] = "batch",
        norm_momentum: Annotated[
            float, Field(gt=0, le=1, description="share of the newest batch in moving statistics (released code: 0.01)")
        ] = 0.1,
    ) -> None:
        super().__init__(channels)
        self.size_multiple = 2**depth
        normalise = normaliser(norm, norm_momentum, KERAS_EPSILON)
        widths = [base_channels * 2 ** (level // 2) for level in range(depth)]
        centre = base_channels * 2 ** (depth // 2)

        self.encoder = nn.ModuleList(
            double_conv(before, after, normalise) for before, after in zip([1, *widths[:-1]], widths, strict=True)
        )
        self.centre = nn.Sequential(
            double_conv(widths[-1], centre, normalise),
            *(double_conv(centre, centre, normalise) for _ in range(center_length - 1)),
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

        attention = spatial_channel_attention
        self.first_attention = SpatialAttention("sum") if attention else nn.Identity()
        self.centre_attention = ChannelAttention(centre, "sum", units=64) if attention else nn.Identity()
        self.last_attention = SpatialAttention("sum") if attention else nn.Identity()
        self.apply(glorot_normal)

    def forward(self, images: Tensor) -> Tensor:
        """Float `(B, 1, H, W)` to logits `(B, C, H, W)`."""
        feature, skips = images, []
        for level, convolve in enumerate(self.encoder):
            feature = convolve(feature)
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
        normalise: Normalise,
        convolve: bool,
    ) -> None:
        super().__init__()
        self.enters_pair = enters_pair
        self.out_channels = width if convolve else 2 * width
        self.gating_signal = nn.Sequential(*conv_norm_relu(pair_input, pair_input, 1, normalise))
        self.gate = AttentionGate(
            width,
            pair_input,
            inner=width,
            halvings=1 if enters_pair else 2,
            lstm=lstm,
            resampling=resampling,
            norm=normalise(width),
        )
        self.up = SameConvTranspose2d(running, width, stride=2)
        self.convolve = double_conv(2 * width, width, normalise) if convolve else nn.Identity()

    def forward(self, running: Tensor, pair_input: Tensor, skip: Tensor) -> Tensor:
        """`(B, running, h, w)`, `(B, pair_input, ·, ·)`, `(B, width, 2h, 2w)` to `(B, out_channels, 2h, 2w)`."""
        gated = dense_gradient(self.gate(skip, self.gating_signal(pair_input)))
        joined: Tensor = self.convolve(torch.cat([F.relu(self.up(running)), gated], 1))
        return joined
