"""BCDU-Net (Azad 2019): a U-Net that joins skips with ConvLSTMs, with densely connected layers at its centre."""

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
    ContractingPath,
    ConvLSTM,
    Normalise,
    TwoStepConvLSTM,
    double_conv,
    he_normal,
    normaliser,
)


class BCDUNet(Model):
    """Images `(B, 1, H, W)` to logits `(B, C, H, W)`; H and W are multiples of 8 (Azad 2019, arXiv 1909.00166).

    Three levels of 64, 128 and 256 channels and a centre of 512. Convolutions have no batch norm; only the
    up-convolutions do. A skip and the up-convolved feature are a sequence of two that a ConvLSTM reads in place of
    the concatenation.

    The authors' network, BCDU-Net (D3) of their released code, is `bidirectional=False, two_channel_tail=True`; their
    paper's text has the ConvLSTM in both directions, with tanh(W→∗H→ + W←∗H← + b) of the two last states. Here they are
    added without weights, bias and tanh: that is ours, and the following convolution weighs their sum. The tail, a
    convolution to two channels with a ReLU before the head, is left out by default: for several structures it is a
    bottleneck, and both channels can be zero on every film from the start, after which nothing learns.
    """

    size_multiple = 8
    capturable = True

    def __init__(
        self,
        channels: Sequence[str],
        *,
        base_channels: Annotated[
            int, Field(ge=2, multiple_of=2, description="channels of the first level; each level doubles")
        ] = 64,
        dense_blocks: Annotated[
            int,
            Field(ge=1, le=6, description="densely connected double convolutions at the centre: 1 for D1, 3 for D3"),
        ] = 3,
        bidirectional: Annotated[
            bool, Field(description="a ConvLSTM each way (the paper); false: the one of the released code")
        ] = True,
        two_channel_tail: Annotated[
            bool, Field(description="the authors' convolution to two channels with ReLU before the head; it can die")
        ] = False,
        dropout: Annotated[
            float, Field(ge=0, lt=1, description="share of values dropped in the deepest skip and between dense blocks")
        ] = 0.5,
        norm_momentum: Annotated[
            float, Field(gt=0, le=1, description="share of the newest batch in moving statistics (authors': 0.01)")
        ] = 0.1,
    ) -> None:
        super().__init__(channels)
        widths = [base_channels, 2 * base_channels, 4 * base_channels]
        self.encoder = ContractingPath(
            double_conv(before, after, None) for before, after in zip([1, *widths[:-1]], widths, strict=True)
        )
        centre = 8 * base_channels
        # Each block reads the outputs of all before it.
        inputs = [widths[-1], *(block * centre for block in range(1, dense_blocks))]
        self.centre = nn.ModuleList(double_conv(before, centre, None) for before in inputs)
        self.dropout = nn.Dropout(dropout)
        normalise = normaliser("batch", norm_momentum, KERAS_EPSILON)
        self.decoder = nn.ModuleList(
            DecoderStep(width, normalise, bidirectional=bidirectional) for width in reversed(widths)
        )
        tail = [nn.Conv2d(base_channels, 2, 3, padding=1), nn.ReLU(inplace=True)] if two_channel_tail else []
        self.tail = nn.Sequential(*tail)
        self.head = nn.Conv2d(2 if two_channel_tail else base_channels, len(self.channels), 1)
        self.apply(he_normal)

    def forward(self, images: Tensor) -> Tensor:
        """Float `(B, 1, H, W)` to logits `(B, C, H, W)`."""
        *skips, deepest = self.encoder(images)
        skips.append(self.dropout(deepest))
        feature = self.centre[0](F.max_pool2d(deepest, 2))
        if len(self.centre) > 1:  # alone, as in D1, the first block has no dropout
            dense = [self.dropout(feature)]
            for block in self.centre[1:]:
                dense.insert(0, self.dropout(block(torch.cat(dense, 1))))
            feature = dense[0]
        for step, skip in zip(self.decoder, reversed(skips), strict=True):
            feature = step(feature, skip)
        logits: Tensor = self.head(self.tail(feature))
        return logits


class DecoderStep(nn.Module):
    """Up-convolution with batch norm, ConvLSTM over [skip, up], double convolution."""

    def __init__(self, width: int, normalise: Normalise, *, bidirectional: bool) -> None:
        super().__init__()
        self.up = nn.Sequential(nn.ConvTranspose2d(2 * width, width, 2, stride=2), normalise(width), nn.ReLU())
        self.lstm = TwoStepConvLSTM(width, width // 2, bidirectional=bidirectional, merge="sum")
        for lstm in self.lstm.modules():
            if isinstance(lstm, ConvLSTM):
                nn.init.kaiming_normal_(lstm.input_weight)
        self.double_conv = double_conv(width // 2, width, None)

    def forward(self, running: Tensor, skip: Tensor) -> Tensor:
        """`(B, 2·width, h, w)` and `(B, width, 2h, 2w)` to `(B, width, 2h, 2w)`."""
        joined: Tensor = self.double_conv(self.lstm(skip, self.up(running)))
        return joined
