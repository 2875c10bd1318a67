"""What changes over the steps: the learning rate, and the average of the weights."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from cxrkit.config import TrainConfig

Tensors = list[Tensor] | tuple[Tensor, ...]


def learning_rate(step: int, steps: int, config: TrainConfig) -> float:
    """The learning rate of a step (from 0): linear warm-up, then constant or a half cosine down to 1 %."""
    warmup = min(config.warmup, steps // 5)
    if step < warmup:
        return config.lr * (step + 1) / warmup
    if config.schedule == "constant":
        return config.lr
    progress = (step - warmup) / max(1, steps - warmup)
    return config.lr * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


def averaging(decay: float) -> Callable[[Tensors, Tensors, Tensor | int], None]:
    """Exponential moving average whose decay grows from 0, so that the first weights are soon forgotten."""

    @torch.no_grad()
    def average(averaged: Tensors, current: Tensors, count: Tensor | int) -> None:
        count = int(count)
        share = 1 - min(decay, (1 + count) / (10 + count))
        for old, new in zip(averaged, current, strict=True):
            if old.is_floating_point():
                old.lerp_(new, share)
            else:
                old.copy_(new)

    return average
