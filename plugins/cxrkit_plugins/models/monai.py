"""Any 2-D segmentation network of MONAI that takes films of any size."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from cxrkit import ConfigError, Model
from cxrkit.errors import nearest

_LEVELS = {"channels": (16, 32, 64, 128, 256), "strides": (2, 2, 2, 2)}
#: The networks, and values of those parameters that MONAI gives no default.
NETWORKS: Mapping[str, Mapping[str, Any]] = {
    "AHNet": {"psp_block_num": 0},
    "AttentionUnet": _LEVELS,
    "BasicUNet": {},
    "BasicUNetPlusPlus": {},
    "DynUNet": {"kernel_size": (3,) * 5, "strides": (1, 2, 2, 2, 2), "upsample_kernel_size": (2,) * 4},
    "FlexibleUNet": {"backbone": "resnet18"},
    "HighResNet": {},
    "MedNeXt": {},
    "SegResNet": {},
    "SegResNetDS": {},
    "SwinUNETR": {},
    "UNet": _LEVELS,
    "VNet": {"dropout_dim": 2},
}
_OURS = ("spatial_dims", "in_channels", "out_channels")
_SEVERAL_OUTPUTS = ("deep_supervision", "dsdepth")


class Monai(Model):
    """Images `(B, 1, H, W)` to logits `(B, C, H, W)` by a network of MONAI, in two dimensions.

    `size_multiple` is found by trying: the smallest power of two whose multiples the network takes. Parameters without
    a default in MONAI have one here: `UNet` and `AttentionUnet` 16 to 256 channels, `DynUNet` four halvings, and
    `FlexibleUNet` a resnet18. Networks for images of one size only, as UNETR, aren't among them.

    Raises:
        ConfigError: MONAI isn't installed, has no such network, or can't build it with these options.
    """

    def __init__(
        self,
        channels: Sequence[str],
        *,
        network: Annotated[str, Field(description=f"MONAI's name of it: {', '.join(NETWORKS)}")] = "UNet",
        options: Annotated[
            dict[str, Any] | None,
            Field(description="parameters of MONAI's network, {features: [16, 16, 32, 64, 128, 16]}"),
        ] = None,
    ) -> None:
        super().__init__(channels)
        try:
            from monai.networks import nets
        except ImportError as error:
            raise ConfigError("model 'monai': MONAI isn't installed.", "Run: pip install 'cxrkit[monai]'") from error
        name = {known.lower(): known for known in NETWORKS}.get(network.lower())
        if name is None or not hasattr(nets, name):
            raise ConfigError(
                f"model 'monai': there is no 2-D segmentation network '{network}'.",
                f"{nearest(network, NETWORKS)}There are: {', '.join(NETWORKS)}.",
            )
        self.network = _make(getattr(nets, name), name, options or {}, len(self.channels))
        self.size_multiple = _size_multiple(self.network, name, len(self.channels))

    def forward(self, images: Tensor) -> Tensor:
        """Float `(B, 1, H, W)` to logits `(B, C, H, W)`."""
        return _logits(self.network(images))


def _make(factory: Any, name: str, options: Mapping[str, Any], classes: int) -> nn.Module:
    known = [key for key in inspect.signature(factory).parameters if key not in (*_OURS, *_SEVERAL_OUTPUTS)]
    for key in options:
        if key not in known:
            raise ConfigError(
                f"model 'monai': '{key}' is no option of {name} that can be set here.",
                f"{nearest(key, known)}There are: {', '.join(known)}.",
            )
    values = {**NETWORKS[name], **options, "spatial_dims": 2, "in_channels": 1, "out_channels": classes}
    try:
        made: nn.Module = factory(**values)
    except ImportError as error:  # of what only some networks need
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"model 'monai': {name}: {reason}", "Run: pip install 'cxrkit[monai]'") from error
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"model 'monai': {name} can't be built with {dict(options)}: {type(error).__name__}: {reason}",
            "MONAI's documentation of the network explains its parameters.",
        ) from error
    return made


def _logits(output: Any) -> Tensor:
    """The logits alone: some networks return a list of one."""
    logits: Tensor = output[0] if isinstance(output, list | tuple) else output
    return logits


@torch.no_grad()
def _size_multiple(network: nn.Module, name: str, classes: int) -> int:
    """The smallest power of two whose multiples a network takes as height and width.

    Raises:
        ConfigError: there is none up to 64.
    """
    network = deepcopy(network).to("meta").eval()  # shapes without numbers
    for multiple in (1, 2, 4, 8, 16, 32, 64):
        size = _odd_multiples(multiple)
        try:
            output = _logits(network(torch.empty(1, 1, *size, device="meta")))
        except (RuntimeError, ValueError, IndexError):
            continue
        if tuple(output.shape) == (1, classes, *size):
            return multiple
    raise ConfigError(
        f"model 'monai': {name} with these options doesn't return masks of the film's size.",
        "Leave out the options, or choose values with as many steps up as down.",
    )


def _odd_multiples(multiple: int) -> tuple[int, int]:
    """A height and width, at least 64, that no larger power of two divides."""
    odd = 64 // multiple + 1 if multiple < 64 else 1
    return odd * multiple, (odd + 2) * multiple
