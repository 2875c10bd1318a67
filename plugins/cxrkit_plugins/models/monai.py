"""Networks of MONAI that make masks of a film's size, in two dimensions."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from cxrkit import ConfigError, Model
from cxrkit.errors import StorageError, nearest

_LEVELS = {"channels": (16, 32, 64, 128, 256), "strides": (2, 2, 2, 2)}
#: The networks that our tests try, and values of those parameters that MONAI gives no default.
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
_TESTED = f"Those that are tested: {', '.join(NETWORKS)}."


class Monai(Model):
    """Images `(B, 1, H, W)` to logits `(B, C, H, W)` by a network of MONAI, in two dimensions.

    Any of `monai.networks.nets` whose constructor takes `spatial_dims`, `in_channels` and `out_channels`, and that
    makes one mask of the film's size for each channel. This is tried, which also finds `size_multiple`: the smallest
    power of two up to 64 whose multiples the network takes, or the `img_size` in `options` of a network for images of
    one size only, such as UNETR, which then takes films of exactly that size. Parameters without a default in MONAI
    have one here: `UNet` and `AttentionUnet` 16 to 256 channels, `DynUNet` four halvings, and `FlexibleUNet` a
    resnet18.

    Raises:
        ConfigError: MONAI isn't installed, has no such network, or can't build it with these options.
        StorageError: pretrained weights were requested and are unavailable.
    """

    when_loading: ClassVar[Mapping[str, Any]] = {"pretrained": False}

    def __init__(
        self,
        channels: Sequence[str],
        *,
        network: Annotated[str, Field(description=f"MONAI's name for it: {', '.join(NETWORKS)}, …")] = "UNet",
        options: Annotated[
            dict[str, Any] | None,
            Field(description="parameters of MONAI's network, such as {features: [16, 16, 32, 64, 128, 16]}"),
        ] = None,
        pretrained: Annotated[
            bool | None,
            Field(description="start from MONAI's weights, which few networks have (null: as in options)"),
        ] = None,
    ) -> None:
        super().__init__(channels)
        try:
            from monai.networks import nets
        except ImportError as error:
            raise ConfigError("model 'monai': MONAI isn't installed.", "Run: pip install 'cxrkit[monai]'") from error
        known = {name: found for name, found in vars(nets).items() if _is_candidate(found)}
        factory = known.get(network) or {name.lower(): found for name, found in known.items()}.get(network.lower())
        if factory is None:
            raise ConfigError(
                f"model 'monai': '{network}' isn't a network of MONAI, or not one that can be built for films.",
                f"{nearest(network, (found.__name__ for found in known.values()))}{_TESTED}",
            )
        values = dict(options or {})
        if pretrained or (pretrained is False and "pretrained" in inspect.signature(factory).parameters):
            values["pretrained"] = pretrained
        self.network = _make(factory, values, len(self.channels))
        self.size_multiple = _size_multiple(self.network, factory.__name__, len(self.channels), values.get("img_size"))

    def forward(self, images: Tensor) -> Tensor:
        """Float `(B, 1, H, W)` to logits `(B, C, H, W)`."""
        return _logits(self.network(images))


def _is_candidate(found: Any) -> bool:
    if not (inspect.isclass(found) and issubclass(found, nn.Module)):
        return False
    return inspect.signature(found).parameters.keys() >= set(_OURS)


def _make(factory: type[nn.Module], options: Mapping[str, Any], classes: int) -> nn.Module:
    name, parameters = factory.__name__, inspect.signature(factory).parameters
    known = [key for key in parameters if key not in (*_OURS, *_SEVERAL_OUTPUTS, "kwargs")]
    for key in options:
        if key not in known:
            raise ConfigError(
                f"model 'monai': '{key}' isn't an option of {name}, or can't be set here.",
                f"{nearest(key, known)}There are: {', '.join(known)}.",
            )
    values = {**NETWORKS.get(name, {}), **options, "spatial_dims": 2, "in_channels": 1, "out_channels": classes}
    missing = [key for key in known if parameters[key].default is inspect.Parameter.empty and key not in values]
    if missing:
        raise ConfigError(
            f"model 'monai': {name} needs values for {', '.join(missing)}.",
            f"Write them into options, or choose another network. {_TESTED}",
        )
    try:
        return factory(**values)
    except ImportError as error:  # of what only some networks need
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"model 'monai': {name}: {reason}", "Run: pip install 'cxrkit[monai]'") from error
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        if options.get("pretrained") and isinstance(error, OSError):
            raise StorageError(
                f"model 'monai': the pretrained weights of {name} can't be loaded: {reason}",
                "Set pretrained=false, or connect to the network once so that they are downloaded and kept.",
            ) from error
        raise ConfigError(
            f"model 'monai': {name} can't be built with {dict(options)}: {reason}",
            "MONAI's documentation of the network explains its parameters.",
        ) from error


def _logits(output: Any) -> Tensor:
    """The logits alone: some networks return a list of one."""
    if isinstance(output, list | tuple):
        (output,) = output
    logits: Tensor = output
    return logits


def _size_multiple(network: nn.Module, name: str, classes: int, only: Any) -> int:
    """The smallest power of two whose multiples a network takes as height and width, or the only size that it takes.

    Raises:
        ConfigError: there is none up to 64, nor is it this only size.
    """
    trial = deepcopy(network).to("meta")  # shapes without numbers
    sizes = {multiple: _odd_multiples(multiple) for multiple in (1, 2, 4, 8, 16, 32, 64)}
    sides = set(only) if isinstance(only, list | tuple) else {only}
    sizes |= {side: (side, side) for side in sides if isinstance(side, int) and len(sides) == 1}
    for multiple, size in sizes.items():
        if all(_makes_masks(trial.train(training), classes, size) for training in (False, True)):
            return multiple
    raise ConfigError(
        f"model 'monai': {name} with these options doesn't return one mask of the film's size for each channel.",
        f"Choose options with as many steps up as down, or another network. {_TESTED}",
    )


@torch.no_grad()
def _makes_masks(trial: nn.Module, classes: int, size: tuple[int, int]) -> bool:
    try:
        return _logits(trial(torch.empty(2, 1, *size, device="meta"))).shape == (2, classes, *size)
    except Exception:  # each network complains in its own way
        return False


def _odd_multiples(multiple: int) -> tuple[int, int]:
    """A height and width, at least 64, that no larger power of two divides."""
    odd = 64 // multiple + 1 if multiple < 64 else 1
    return odd * multiple, (odd + 2) * multiple
