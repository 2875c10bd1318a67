"""Mixup: convex combinations of pairs of films (Zhang 2017; Maga 2021, §2.5)."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from cxrkit import Augment, Batch, Partner
from cxrkit.errors import ConfigError, ContractError
from cxrkit_plugins.augments.sampling import to_device


class Mixup(Augment):
    """Mix film i of a batch's first half with film i of its second half: 2B films become B.

    x = λ·x₁ + (1 − λ)·x₂ with λ ~ Beta(δ, δ); **λ is the share of the film from the first half**. The pairs are
    disjoint, and every film is used once: with a sampler that draws without replacement they are the two halves
    of a fresh permutation, as in the paper.

    `target="labels"` mixes the targets in the same way (the paper). `target="losses"` leaves the first targets as they
    are and adds the second ones as `Batch.partner` with weight λ, so that λ·loss(x, g₁) + (1 − λ)·loss(x, g₂)
    can be formed (the original mixup; the same only for losses that are linear in the target).

    A channel of a mixture is known if it is known for both films.
    """

    draws = 2

    def __init__(
        self,
        *,
        delta: Annotated[
            float, Field(ge=1e-3, le=1e3, description="δ of λ ~ Beta(δ, δ): small values hardly mix, 1 is uniform")
        ] = 0.2,
        per: Annotated[
            Literal["sample", "batch"], Field(description="draw λ for every pair (as in the paper), or once per batch")
        ] = "sample",
        target: Annotated[
            Literal["labels", "losses"], Field(description="mix the masks (as in the paper), or the losses of both")
        ] = "labels",
    ) -> None:
        self.delta = delta
        self.per = per
        self.target = target

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        """A batch of 2B films to one of B.

        Raises:
            ContractError: the number of films is odd or zero. ConfigError: the batch was mixed before.
        """
        if batch.partner is not None:
            raise ConfigError("Mixup can't mix films whose losses are mixed already.", "List mixup once.")
        if len(batch) < 2 or len(batch) % 2:
            raise ContractError(
                f"Mixup pairs the two halves of a batch, and got {len(batch)} film{'' if len(batch) == 1 else 's'}.",
                "Draw `Mixup.draws` = 2 films for each that is to come out.",
            )
        pairs = len(batch) // 2
        first_images, second_images = batch.images.split(pairs)
        first_targets, second_targets = batch.targets.split(pairs)
        weight = to_device(self.draw_weights(pairs, generator), batch.images.device)
        images = _mix(first_images, second_images, weight)
        known = None if batch.known is None else batch.known[:pairs] & batch.known[pairs:]
        if self.target == "labels":
            return Batch(images, _mix(first_targets, second_targets, weight), known=known)
        return Batch(images, first_targets, Partner(second_targets, weight, whole=self.per == "batch"), known)

    def draw_weights(self, pairs: int, generator: torch.Generator) -> Tensor:
        """λ of each pair: float32 `(pairs,)` in [0, 1], the share of the pair's first film.

        torch's Beta distribution takes no generator and loses its variance for tiny δ, NumPy's does neither;
        it is seeded from `generator` each time.
        """
        seed = int(torch.randint(2**62, (), generator=generator))
        drawn = np.random.default_rng(seed).beta(self.delta, self.delta, size=pairs if self.per == "sample" else 1)
        return torch.from_numpy(drawn).float().expand(pairs).clone()


def _mix(first: Tensor, second: Tensor, weight: Tensor) -> Tensor:
    """`weight` `(B,)` of the first and the rest of the second, both `(B, ., H, W)`."""
    return torch.lerp(second, first, weight.to(first.dtype).view(-1, 1, 1, 1))
