"""Any network of segmentation-models-pytorch: its decoders on its own or timm's encoders."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from functools import partial
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cxrkit import ConfigError, Model
from cxrkit.compat import compiler_put_off, import_torchvision
from cxrkit.errors import StorageError, nearest

import_torchvision()  # before the two below, which import it themselves

with compiler_put_off():
    import segmentation_models_pytorch as smp
    import timm

_LARGEST_MULTIPLE = 256  # that the contract of a model allows
#: With which an encoder takes more sizes: Swin transformers, and DPT's, whose decoder is made for patches of 16 pixels.
_OTHER_SIZES: tuple[dict[str, Any], ...] = ({"strict_img_size": False}, {"patch_size": 16})
#: Networks of convolutions that halve the image: their multiple is their stride. Trying takes longer than building.
_HALVING = re.compile(r"(unet|unetplusplus|fpn|linknet|manet) (tu-)?(tf_)?(resnet\d|efficientnet|mobilenet_?v[23])")


class SegmentationModelsPytorch(Model):
    """Images `(B, 1, H, W)` to logits `(B, C, H, W)` by a network of segmentation-models-pytorch.

    H and W are multiples of `size_multiple`: the encoder's output stride, or the next multiple of it that works. Of an
    encoder that takes images of one size only, it is that size.

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
        make = partial(_make, architecture, encoder, decoder_channels, len(self.channels), pretrained)
        before = torch.get_rng_state()
        self.network = make()
        known = _HALVING.match(f"{architecture} {encoder}")
        multiple = int(self.network.encoder.output_stride) if known else _size_multiple(self.network, architecture)
        for option in _OTHER_SIZES if multiple is None and encoder.startswith("tu-") else ():
            with suppress(ConfigError), torch.random.fork_rng(devices=[]):
                torch.set_rng_state(before)  # the same weights
                other = make(**option)
                if multiple := _size_multiple(other, architecture):
                    self.network = other
                    break
        self.size_multiple = multiple or _only_size(self.network, architecture, encoder)

    def forward(self, images: Tensor) -> Tensor:
        """Float `(B, 1, H, W)` to logits `(B, C, H, W)`."""
        logits: Tensor = self.network(images)
        return logits


class _NoValues(TorchFunctionMode):
    """Leave tensors on the meta device, which have no values, without initial ones.

    segmentation-models-pytorch builds encoders there to look at their layers, and computing with such tensors imports
    the compiler, which takes as long as torch itself.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = (kwargs or {}).get("tensor", args[0] if args else None)
        if getattr(func, "__module__", None) == "torch.nn.init" and isinstance(given, Tensor) and given.is_meta:
            return given
        return func(*args, **(kwargs or {}))


def _size_multiple(network: nn.Module, architecture: str) -> int | None:
    """What height and width must be a multiple of: the first that works of the output stride, twice it, and so on.

    None: there is none up to 256, because the encoder takes images of one size only.
    """
    stride = int(network.encoder.output_stride)  # type: ignore[union-attr, arg-type]
    if architecture == "pan":
        stride *= 8  # its feature pyramid attention halves the encoder's output three times
    input_size = _pretrained_size(network)
    candidates = [stride * 2**doublings for doublings in range(9)] + [input_size] * (input_size % stride == 0)
    trial = deepcopy(network).to("meta").eval()
    # Odd multiples: an even one has room for a halving more. Neither small, which is another matter, nor square.
    return next((n for n in candidates if n <= _LARGEST_MULTIPLE and _takes(trial, 9 * n, 11 * n)), None)


def _only_size(network: nn.Module, architecture: str, encoder: str) -> int:
    """The one size that a network takes, or its output stride if it can only be tried for real.

    Raises:
        ConfigError: no film that was tried goes through it.
    """
    stride = int(network.encoder.output_stride)  # type: ignore[union-attr, arg-type]
    size = _pretrained_size(network) or 8 * stride
    if _takes(deepcopy(network).to("meta").eval(), size, size):
        return size
    try:
        with torch.no_grad():
            deepcopy(network).eval()(torch.zeros(1, 1, size, size))
    except Exception as error:
        raise ConfigError(
            f"model 'smp': the architecture '{architecture}' can't use the encoder '{encoder}': "
            f"{' '.join(str(error).split())}",
            "Choose another encoder; resnet18 goes with every architecture but dpt.",
        ) from error
    return stride


def _pretrained_size(network: nn.Module) -> int:
    """The height of the images that an encoder of timm's was pretrained with; 0 for those of smp."""
    known = getattr(getattr(network.encoder, "model", None), "pretrained_cfg", None) or {}
    return int((known.get("input_size") or (0, 0))[1])


@torch.no_grad()
def _takes(trial: nn.Module, height: int, width: int) -> bool:
    """Whether a network on the meta device, where nothing is computed, makes logits of an image's size."""
    try:
        logits: Tensor = trial(torch.empty(1, 1, height, width, device="meta"))
    except Exception:  # each encoder and decoder complains in its own way
        return False
    return logits.shape[-2:] == (height, width)


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
    architecture: str,
    encoder: str,
    decoder_channels: tuple[int, ...] | None,
    classes: int,
    pretrained: bool,
    **more: Any,
) -> Any:
    """The network; an error says whether the encoder is unsuitable or its weights are unavailable."""
    options: dict[str, Any] = {"encoder_name": encoder, "in_channels": 1, "classes": classes, **more}
    if decoder_channels is not None:
        options["decoder_channels"] = decoder_channels
    if architecture == "dpt":
        options["dynamic_img_size"] = True  # without it timm's ViTs take images of one size only

    def make(weights: str | bool | None) -> Any:
        with _NoValues():
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
