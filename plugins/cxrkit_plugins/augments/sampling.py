"""Drawing from a batch's generator.

The generator is a CPU generator and the only source of randomness: the global ones aren't used, so that an
augment can't change what else is random in a run, and a resumed run draws what an uninterrupted one would have.
"""

from __future__ import annotations

import torch
from torch import Tensor


def uniform(low: float, high: float, *shape: int, generator: torch.Generator) -> Tensor:
    """Float32 values between `low` and `high`, on the CPU: parameters are few, and so equal on every device."""
    return low + (high - low) * torch.rand(shape, generator=generator)


def happens(probability: float, count: int, generator: torch.Generator) -> Tensor:
    """Bool `(count,)`, each true with `probability`; never at 0, always at 1."""
    return torch.rand(count, generator=generator) < probability


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Values drawn on the CPU, on `device`, without waiting for what a CUDA device still has to do."""
    return values.to(device, non_blocking=device.type == "cuda")


def generator_on(device: torch.device, generator: torch.Generator) -> torch.Generator:
    """A generator on `device`, seeded from `generator`: for one value per pixel, too many to copy there."""
    seed = int(torch.randint(2**62, (), generator=generator))
    return torch.Generator(device=device).manual_seed(seed)
