"""U-Net: the paper's shape."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cxrkit_plugins.models.unet import UNet


def test_the_papers_network_has_its_number_of_parameters() -> None:
    # Biases included: 4 poolings from 64 to 1024 channels, one input channel, one 1x1 output channel.
    widths = [64, 128, 256, 512, 1024]
    expected = 0
    for before, after in zip([1, *widths[:-1]], widths, strict=True):
        expected += 9 * before * after + after + 9 * after * after + after
    for width in widths[:-1]:
        expected += 4 * 2 * width * width + width  # up-convolution
        expected += 9 * 2 * width * width + width + 9 * width * width + width
    expected += 64 + 1
    assert expected == 31_030_593
    with torch.device("meta"):
        model = UNet(("heart",), norm="none")
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


def test_without_norm_a_films_logits_ignore_its_batch_even_in_training() -> None:
    torch.manual_seed(0)
    model = UNet(("heart",), base_channels=4, depth=2, norm="none").train()
    images = torch.rand(3, 1, 16, 16)
    torch.testing.assert_close(model(images)[:1], model(images[:1]))


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_biases_are_where_no_norm_takes_them_away(norm: str) -> None:
    model = UNet(("heart",), base_channels=4, depth=2, norm=norm)
    convolutions = [module for module in model.encoder.modules() if isinstance(module, nn.Conv2d)]
    assert {convolution.bias is None for convolution in convolutions} == {norm == "batch"}


def test_norm_momentum_reaches_every_batch_norm() -> None:
    model = UNet(("heart",), base_channels=4, depth=2, norm_momentum=0.3)
    assert {module.momentum for module in model.modules() if isinstance(module, nn.BatchNorm2d)} == {0.3}


def test_signals_keep_their_size_at_the_start() -> None:
    torch.manual_seed(0)
    model = UNet(("heart", "left_lung"), base_channels=16, depth=3, norm="none")
    with torch.no_grad():
        spread = model(torch.randn(4, 1, 64, 64)).std().item()
    assert 0.2 < spread < 5
