"""U-Net with spatial-channel attention gates (Khanh 2020); layers ours, after the abstract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from cxrkit_plugins.models.attn_unet import GatedUNet
from cxrkit_plugins.models.blocks import CoarseGate, Norm, normaliser, weights_of_channels


class SpatialChannelGatedUNet(GatedUNet):
    """Images `(B, 1, H, W)` to logits `(B, C, H, W)`; H and W are multiples of 2^depth (Khanh 2020).

    Only the paper's abstract (10.3390/app10175729) is public: a gate on U-Net's skips with a spatial and a channel
    part. **The layers are ours.** The spatial part is Oktay's gate, from skip and decoder; the channel part weighs the
    skip's channels by the decoder's feature alone: global average, two dense layers, sigmoid. Both multiply the skip,
    before the gate's last convolution. All else is as in `attn-unet`: with the same `gate_first_skip` (by default true
    here, false there) the two differ in the gates alone.
    """

    capturable = True

    def __init__(
        self,
        channels: Sequence[str],
        *,
        base_channels: Annotated[int, Field(ge=2, description="channels of the first level; each level doubles")] = 64,
        depth: Annotated[int, Field(ge=2, le=6, description="how often the resolution is halved")] = 4,
        gate_first_skip: Annotated[bool, Field(description="gate the skip at full resolution too")] = True,
        channel_reduction: Annotated[
            int,
            Field(ge=1, description="the channel part's first dense layer has channels / this units"),
        ] = 8,
        deep_supervision: Annotated[bool, Field(description="side outputs at every decoder level in training")] = False,
        norm: Annotated[Norm, Field(description="normalisation after each convolution")] = "batch",
        norm_momentum: Annotated[
            float, Field(gt=0, le=1, description="share of the newest batch in batch norm's moving statistics")
        ] = 0.1,
    ) -> None:
        normalise = normaliser(norm, norm_momentum)

        def make_gate(width: int) -> nn.Module:
            return SpatialChannelGate(width, 2 * width, channel_reduction, normalise(width))

        super().__init__(channels, base_channels, depth, make_gate, gate_first_skip, deep_supervision, normalise)


class SpatialChannelGate(nn.Module):
    """A skip weighed by pixel and by channel.

    Args:
        features: channels of the skip.
        gating: channels of the gating signal, the decoder's feature.
        reduction: the channel part's first layer has `features` / `reduction` units.
        norm: comes last in the spatial part, on `features` channels.
    """

    def __init__(self, features: int, gating: int, reduction: int, norm: nn.Module) -> None:
        super().__init__()
        self.spatial = CoarseGate(features, gating, norm)
        self.channel = weights_of_channels(gating, max(1, features // reduction), features)

    def forward(self, skip: Tensor, gating_signal: Tensor) -> Tensor:
        """Skip `(B, features, H, W)` and gating signal `(B, gating, h, w)` to `(B, features, H, W)`."""
        weights: Tensor = self.channel(gating_signal.mean((2, 3)))
        gated: Tensor = self.spatial(skip, gating_signal, weights[:, :, None, None])
        return gated
