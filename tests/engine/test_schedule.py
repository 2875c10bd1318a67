"""What changes over the steps: the learning rate, and the average of the weights."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from cxrkit.config import TrainConfig
from cxrkit.engine.schedule import learning_rate, update_average


def test_the_learning_rate_rises_and_falls() -> None:
    config = TrainConfig(lr=1.0, warmup=10)
    rates = [learning_rate(step, 100, config) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * k for k in range(1, 11)])
    assert max(rates) == pytest.approx(1.0)
    assert all(later <= earlier for earlier, later in pairwise(rates[10:]))
    assert 0 < rates[-1] < 0.02
    constant = TrainConfig(lr=1.0, warmup=0, schedule="constant")
    assert {learning_rate(step, 100, constant) for step in range(100)} == {1.0}


@pytest.mark.parametrize("decay", [0.0, 0.999])
def test_the_average_is_that_of_torch(decay: float) -> None:
    @torch.no_grad()
    def tensor_by_tensor(averaged: list[Tensor], current: list[Tensor], count: Tensor) -> None:
        share = 1 - min(decay, (1 + int(count)) / (10 + int(count)))
        for old, new in zip(averaged, current, strict=True):
            if old.is_floating_point():
                old.lerp_(new, share)
            else:
                old.copy_(new)

    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
    ours = AveragedModel(network, use_buffers=True)
    theirs = AveragedModel(network, use_buffers=True, multi_avg_fn=tensor_by_tensor)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
    for count in range(12):
        network(torch.randn(2, 1, 8, 8)).square().mean().backward()
        optimizer.step()
        update_average(ours, network, decay, count)
        theirs.update_parameters(network)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    different = [name for name, value in ours.state_dict().items() if not torch.equal(value, theirs.state_dict()[name])]
    assert different == []
