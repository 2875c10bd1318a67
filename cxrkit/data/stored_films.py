"""Films and masks as the store holds them, small enough that most datasets stay in a device's memory whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cxrkit.data.preprocess import FULL_SCALE
from cxrkit.interfaces import Batch


@dataclass(frozen=True)
class StoredFilms:
    """N films of a store on some device, and what makes a batch of them there.

    Attributes:
        grey: `(N, S, S)`, uint16 in the bits of int16, for which PyTorch has more operations.
        levels: float32 `(N, 2)`, see `cxrkit.data.preprocess.input_levels`.
        masks: bool `(N, K, S, S)`.
        known: which masks the films have, bool `(N, K)`, on the CPU; None where all have all.
        regions: see `Batch.regions`.
    """

    grey: Tensor
    levels: Tensor
    masks: Tensor
    known: Tensor | None = None
    regions: Tensor | None = None

    def map(self, function: Callable[[Tensor], Tensor]) -> StoredFilms:
        """The same films after a function of tensors."""
        made = function(self.grey), function(self.levels), function(self.masks)
        return StoredFilms(*made, self.known, self.regions)

    def pick(self, films: slice | Tensor) -> StoredFilms:
        """Some of the films: a slice, or places, int64 `(n,)` on the CPU."""
        device = self.grey.device
        there = films if isinstance(films, slice) else films.to(device, non_blocking=device.type == "cuda")
        known, regions = (None if part is None else part[films] for part in (self.known, self.regions))
        return replace(self.map(lambda values: values[there]), known=known, regions=regions)

    def images(self) -> Tensor:
        """What the network sees: float32 `(N, 1, S, S)`, as `cxrkit.data.preprocess.to_input` makes them.

        Films with `regions` are in [0, 1], as they were taken.
        """
        images = (self.grey.int() & 0xFFFF).float().unsqueeze_(1)
        # By a tensor on the device: CUDA multiplies by the reciprocal of a number, which rounds otherwise.
        images /= torch.full((), FULL_SCALE, dtype=torch.float32, device=images.device)
        offset, scale = self.levels[:, :, None, None, None].unbind(1)
        return images.sub_(offset).div_(scale)

    def batch(self, *, background: bool) -> Batch:
        """Images `(N, 1, S, S)`, targets `(N, C, S, S)` of 0 and 1, and `known`.

        With `background` the last channel is what belongs to no structure, padding included.
        """
        count, structures, *sides = self.masks.shape
        targets = torch.empty((count, structures + background, *sides), device=self.masks.device)
        targets[:, :structures] = self.masks
        if background:
            targets[:, -1] = ~self.masks.any(1)
        known = None if self.known is None else known_channels(self.known, background=background)
        return Batch(self.images(), targets, known=known, regions=self.regions)


def known_channels(known: Tensor, *, background: bool) -> Tensor:
    """`Batch.known` of bool `(N, K)`: the background is known where all structures are."""
    return torch.cat([known, known.all(1, keepdim=True)], dim=1) if background else known
