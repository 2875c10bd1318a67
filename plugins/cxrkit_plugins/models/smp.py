"""Any network of segmentation-models-pytorch: its decoders on its own or timm's encoders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import Tensor

from cxrkit import ConfigError, Model
from cxrkit.compat import import_torchvision
from cxrkit.errors import StorageError, nearest

import_torchvision()  # before the two below, which import it themselves

import segmentation_models_pytorch as smp  # noqa: E402
import timm  # noqa: E402


class SegmentationModelsPytorch(Model):
    """Images `(B, 1, H, W)` to logits `(B, C, H, W)` by a network of segmentation-models-pytorch.

    H and W are multiples of `size_multiple`, which is the encoder's output stride.

    Raises:
        ConfigError: the architecture or encoder is unknown, or the two don't fit together.
        StorageError: pretrained weights were requested and are unavailable.
    """

    when_loading: ClassVar[Mapping[str, Any]] = {"pretrained": False}

    capturable = True

    def __init__(
        self,
        channels: Sequence[str],
        *,
        architecture: Annotated[
            str, Field(description="decoder, as segmentation-models-pytorch names it: unet, fpn, deeplabv3plus, …")
        ] = "unet",
        encoder: Annotated[
            str, Field(description="encoder of segmentation-models-pytorch, or of timm with the prefix tu-")
        ] = "resnet18",
        decoder_channels: Annotated[
            tuple[int, ...] | None,
            Field(description="widths of a U-Net's decoder, coarsest first (null: the architecture's own)"),
        ] = None,
        pretrained: Annotated[bool, Field(description="start from ImageNet weights (downloaded once)")] = False,
    ) -> None:
        super().__init__(channels)
        _check_names(architecture, encoder)
        self.network = _make(architecture, encoder, decoder_channels, len(self.channels), pretrained)
        self.size_multiple = int(self.network.encoder.output_stride)
        if architecture == "pan":
            self.size_multiple *= 8  # its feature pyramid attention halves the encoder's output three times

    def forward(self, images: Tensor) -> Tensor:
        """Float `(B, 1, H, W)` to logits `(B, C, H, W)`."""
        logits: Tensor = self.network(images)
        return logits


def _check_names(architecture: str, encoder: str) -> None:
    architectures = list(smp.MODEL_ARCHITECTURES_MAPPING)
    if architecture not in architectures:
        raise ConfigError(
            f"model 'smp': there is no architecture '{architecture}'.",
            f"{nearest(architecture, architectures)}There are: {', '.join(architectures)}.",
        )
    known = smp.encoders.get_encoder_names()
    if encoder.startswith("tu-"):
        if timm.is_model(encoder.removeprefix("tu-")):
            return
        known = [f"tu-{name}" for name in timm.list_models()]
    elif encoder in known:
        return
    elif timm.is_model(encoder):
        raise ConfigError(
            f"model 'smp': '{encoder}' is an encoder of timm, not of segmentation-models-pytorch.",
            f"Write encoder=tu-{encoder}.",
        )
    raise ConfigError(
        f"model 'smp': there is no encoder '{encoder}'.",
        f"{nearest(encoder, known)}segmentation-models-pytorch lists its own encoders; those of timm, "
        "which timm.list_models() lists, take the prefix tu-.",
    )


def _make(
    architecture: str, encoder: str, decoder_channels: tuple[int, ...] | None, classes: int, pretrained: bool
) -> Any:
    """The network; an error says whether the encoder is unsuitable or its weights are unavailable."""
    options: dict[str, Any] = {"encoder_name": encoder, "in_channels": 1, "classes": classes}
    if decoder_channels is not None:
        options["decoder_channels"] = decoder_channels
    if architecture == "dpt":
        options["dynamic_img_size"] = True  # without it timm's ViTs take images of one size only

    def make(weights: str | bool | None) -> Any:
        return smp.create_model(architecture, encoder_weights=weights, **options)

    try:
        plain = make(None)
    except Exception as error:
        raise ConfigError(
            f"model 'smp': the architecture '{architecture}' can't use the encoder '{encoder}': {error}",
            "Choose another encoder; resnet18 goes with every architecture but dpt, "
            "which takes tu-vit_tiny_patch16_224 and the like."
            if decoder_channels is None
            else "decoder_channels takes one width for each of a U-Net's five levels; leave it out for other decoders.",
        ) from error
    if not pretrained:
        return plain
    try:
        # smp's own encoders have named sets of weights, those of timm one each.
        return make(True if encoder.startswith("tu-") else "imagenet")
    except Exception as error:
        raise StorageError(
            f"model 'smp': the ImageNet weights of the encoder '{encoder}' can't be loaded: "
            f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}",
            "Set pretrained=false, or connect to the network once so that they are downloaded and kept, "
            "or choose an encoder that has such weights.",
        ) from error
