"""A batch: what the sampler draws, augments change, and losses see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Partner:
    """The second targets of a batch whose *losses* are mixed instead of its labels.

    Attributes:
        targets: float `(B, C, H, W)` in [0, 1].
        weight: float `(B,)` in [0, 1], the share of `Batch.targets`; the partner's share is one minus it.
        whole: whether one weight was drawn for the whole batch: then two losses of the whole batch are mixed,
            otherwise the two losses of each film.
    """

    targets: Tensor
    weight: Tensor
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """Films and their masks.

    Attributes:
        images: float32 `(B, 1, H, W)`.
        targets: float32 `(B, C, H, W)` in [0, 1].
        partner: the second targets, if losses are to be mixed.
        known: bool `(B, C)` on the CPU: whether the mask of a film's channel is known, in the targets and in the
            partner's. None: all are. An unknown target has no meaning, and adds nothing to losses or scores. A
            mixture is known only if everything that went into it is.
        regions: int64 `(B, 4)` on the CPU: (top, left, height, width) of each film within its square, the rest of
            which is padding, where `images` are films as they were taken; None: they are the network's input.
    """

    images: Tensor
    targets: Tensor
    partner: Partner | None = None
    known: Tensor | None = None
    regions: Tensor | None = None

    def __len__(self) -> int:
        return int(self.images.shape[0])

    def with_(self, **changes: Any) -> Batch:
        """A copy with some fields replaced."""
        return replace(self, **changes)

    def map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """A copy with a function applied to all tensors, the partner's too, except `known` and `regions`."""
        partner = self.partner
        if partner is not None:
            partner = replace(partner, targets=function(partner.targets), weight=function(partner.weight))
        return Batch(function(self.images), function(self.targets), partner, self.known, self.regions)

    def pick(self, films: slice | Tensor) -> Batch:
        """Some of the films: a slice of the batch, or indices, int64 `(n,)` on the CPU."""
        device = self.images.device
        there = films if isinstance(films, slice) else films.to(device, non_blocking=device.type == "cuda")
        known, regions = (None if part is None else part[films] for part in (self.known, self.regions))
        return self.map(lambda values: values[there]).with_(known=known, regions=regions)
