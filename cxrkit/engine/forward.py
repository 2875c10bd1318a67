"""One pass through a network: padding, and the contract of its output."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cxrkit.errors import ConfigError, ContractError
from cxrkit.interfaces import Model, SideOutputs

_NORMALISING_ONE_VALUE = "Expected more than 1 "  # value per channel, or spatial element, as torch says it


def pad_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """Images `(B, C, H, W)` with edge values added below and to the right, up to multiples in H and W."""
    bottom, right = -images.shape[-2] % multiple, -images.shape[-1] % multiple
    return F.pad(images, (0, right, 0, bottom), mode="replicate") if bottom or right else images


def main_logits(output: Tensor | SideOutputs) -> Tensor:
    """The logits of a network's output, without side outputs."""
    return output.main if isinstance(output, SideOutputs) else output


def apply_model(model: nn.Module, images: Tensor, *, size_multiple: int, channels: int) -> Tensor | SideOutputs:
    """Logits `(B, C, H, W)` of images `(B, 1, H, W)` of any size.

    H and W are padded (edge values) up to the network's multiple, and the output is cut back.

    Raises:
        ContractError: the output isn't logits of the expected shape.
        ConfigError: the films are too small, or too few, for the network's normalisation.
    """
    height, width = images.shape[-2:]
    images = pad_to_multiple(images, size_multiple)
    try:
        output = model(images)
    except ValueError as error:
        if _NORMALISING_ONE_VALUE not in str(error):
            raise
        raise ConfigError(
            "A layer of normalisation sees a single value, which has no variance.",
            "Use a --batch-size of at least 2, or a larger --size.",
        ) from error
    main = main_logits(output)
    expected = (images.shape[0], channels, *images.shape[-2:])
    if not isinstance(main, Tensor) or tuple(main.shape) != expected:
        got = f"shape {tuple(main.shape)}" if isinstance(main, Tensor) else f"a {type(main).__name__}"
        network = getattr(model, "module", model)  # Fabric wraps it
        raise ContractError(
            f"{type(network).__name__}: expected logits of shape {expected}, got {got}.",
            "Its forward must return logits (B, C, H, W) or SideOutputs; `cxrkit plugins check` says more.",
        )
    if not isinstance(output, SideOutputs):
        return main[..., :height, :width]
    sides = output.sides
    if images.shape[-2:] != (height, width):
        # A side covers the padding too: bring it to the full size, where the padding can be cut off.
        full = expected[-2:]
        sides = tuple(F.interpolate(side.float(), full, mode="bilinear")[..., :height, :width] for side in sides)
    return SideOutputs(main[..., :height, :width], sides)


@torch.no_grad()
def probabilities(model: Model, images: Tensor, batch_size: int) -> Tensor:
    """Probabilities, float32 `(N, C, H, W)` in [0, 1] on the CPU, of a network in evaluation mode; NaN as below."""
    return torch.cat([device_probabilities(model, chunk).cpu() for chunk in images.split(batch_size)])


@torch.no_grad()
def device_probabilities(model: Model, images: Tensor) -> Tensor:
    """Probabilities of a batch of images, float32 `(B, C, H, W)` in [0, 1] on their own device.

    NaN where the logits aren't finite: the sigmoid would make a certain 0 or 1 of an infinite one.
    """
    images = images.contiguous(memory_format=torch.channels_last)
    logits = apply_model(model, images, size_multiple=model.size_multiple, channels=len(model.channels))
    values = main_logits(logits).float()
    return torch.where(values.isfinite(), values.sigmoid(), torch.nan)
