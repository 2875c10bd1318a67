"""What changes over the steps: the learning rate, and the average of the weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from cxrkit.config import TrainConfig


def learning_rate(step: int, steps: int, config: TrainConfig) -> float:
    """The learning rate of a step (from 0): linear warm-up, then constant or a half cosine down to 1 %."""
    warmup = min(config.warmup, steps // 5)
    if step < warmup:
        return config.lr * (step + 1) / warmup
    if config.schedule == "constant":
        return config.lr
    progress = (step - warmup) / max(1, steps - warmup)
    return config.lr * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


@torch.no_grad()
def update_average(average: AveragedModel, network: nn.Module, decay: float, count: int) -> None:
    """Bring an exponential moving average of a network's tensors up to date, after `count` earlier updates.

    Its decay grows from 0, so that the first weights are soon forgotten. The count is the host's, so that nothing has
    to be read from the device.
    """
    share = 1 - min(decay, (1 + count) / (10 + count))
    pairs = zip(_tensors(average.module), _tensors(network), strict=True)
    alike: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}
    for old, new in pairs:
        olds, news = alike.setdefault(old.dtype, ([], []))
        olds.append(old)
        news.append(new)
    for dtype, (olds, news) in alike.items():
        if count > 0 and dtype.is_floating_point:
            torch._foreach_lerp_(olds, news, share)
        else:
            torch._foreach_copy_(olds, news)
    average.n_averaged += 1


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]
