"""What changes over the steps: the learning rate, the average of the weights, and the statistics of batch norms."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
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


def batches_of(films: int, batch_size: int) -> list[Tensor]:
    """The places of films, int64, in batches: the last may be short, but not one film, which has no variance."""
    places = list(torch.arange(films).split(batch_size))
    if len(places) > 1 and len(places[-1]) == 1:
        places[-2:] = [torch.cat(places[-2:])]
    return places


@torch.no_grad()
def recompute_statistics(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace the moving statistics of a network's batch norms by their means over batches of images.

    Each batch weighs as many as it has films. (torch's `update_bn` weighs a short last batch as a full one.)
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
    was_training, seen = network.training, 0
    network.train()
    for images in batches if norms else ():
        seen += len(images)
        for norm in norms:
            norm.momentum = len(images) / seen
        network(images)
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
    network.train(was_training)


def all_finite(network: nn.Module) -> bool:
    """Whether a network's weights and its norms' moving statistics are finite; other buffers may hold infinities."""
    statistics = [value for name, value in network.named_buffers() if name.endswith(("running_mean", "running_var"))]
    return bool(torch.stack([value.isfinite().all() for value in (*network.parameters(), *statistics)]).all())


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]
