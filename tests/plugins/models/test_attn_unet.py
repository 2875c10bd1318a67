"""Attention U-Net: both gates by their formulas, and side outputs."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cxrkit import SideOutputs
from cxrkit_plugins.models.attn_unet import AttentionUNet, SameResolutionGate
from cxrkit_plugins.models.blocks import CoarseGate
from cxrkit_plugins.models.unet import UNet

CHANNELS = ("left_lung", "heart")


def test_authors_gate_is_its_formula() -> None:
    torch.manual_seed(0)
    gate = CoarseGate(4, 6, nn.Identity()).double()
    skip, signal = torch.randn(2, 4, 8, 8).double(), torch.randn(2, 6, 2, 2).double()
    phi = F.interpolate(F.conv2d(signal, gate.phi.weight, gate.phi.bias), (4, 4), mode="bilinear")
    theta = F.conv2d(skip, gate.theta.weight, stride=2)
    attention = torch.sigmoid(F.conv2d(F.relu(theta + phi), gate.psi.weight, gate.psi.bias))
    expected = gate.out(skip * F.interpolate(attention, (8, 8), mode="bilinear"))
    torch.testing.assert_close(gate(skip, signal), expected)
    assert gate.theta.bias is None
    assert gate.theta.out_channels == 2


def test_same_resolution_gate_is_its_formula() -> None:
    torch.manual_seed(0)
    gate = SameResolutionGate(4, nn.BatchNorm2d).double()
    skip, signal = torch.randn(2, 4, 5, 5).double(), torch.randn(2, 4, 5, 5).double()

    def branch(part: nn.Sequential, x: torch.Tensor) -> torch.Tensor:
        return F.batch_norm(F.conv2d(x, part[0].weight, part[0].bias), None, None, training=True)

    attention = torch.sigmoid(branch(gate.psi, F.relu(branch(gate.theta, skip) + branch(gate.phi, signal))))
    torch.testing.assert_close(gate(skip, signal), skip * attention)


@pytest.mark.parametrize("gate", ["authors", "same-resolution"])
@pytest.mark.parametrize("first", [False, True])
def test_first_skip_is_gated_on_demand(gate: str, first: bool) -> None:
    model = AttentionUNet(CHANNELS, base_channels=4, depth=3, gate=gate, gate_first_skip=first)
    kind = CoarseGate if gate == "authors" else SameResolutionGate
    assert [isinstance(step.gate, kind) for step in model.decoder] == [True, True, first]


def test_deep_supervision_gives_coarser_logits_in_training_only() -> None:
    model = AttentionUNet(CHANNELS, base_channels=4, depth=3, deep_supervision=True)
    images = torch.rand(2, 1, 16, 24)
    output = model(images)
    assert isinstance(output, SideOutputs)
    assert output.main.shape == (2, 2, 16, 24)
    assert [side.shape for side in output.sides] == [(2, 2, 4, 6), (2, 2, 8, 12)]
    evaluated = model.eval()(images)
    assert isinstance(evaluated, torch.Tensor)
    assert evaluated.shape == output.main.shape


def test_without_deep_supervision_training_gives_logits() -> None:
    model = AttentionUNet(CHANNELS, base_channels=4, depth=2).train()
    assert isinstance(model(torch.rand(2, 1, 8, 8)), torch.Tensor)


def test_it_differs_from_a_unet_in_the_gates_alone_also_at_its_start() -> None:
    torch.manual_seed(0)
    gated, plain = (network(("heart",), base_channels=16, depth=3) for network in (AttentionUNet, UNet))
    without = [
        weight for name, weight in gated.state_dict().items() if ".gate." not in name and name.endswith("weight")
    ]
    weights = [weight for name, weight in plain.state_dict().items() if name.endswith("weight")]
    assert len(without) == len(weights)

    def spreads(tensors: list[torch.Tensor]) -> list[tuple[tuple[int, ...], float]]:
        return sorted((tuple(tensor.shape), float(tensor.std())) for tensor in tensors if tensor.ndim == 4)

    for (shape, spread), (other_shape, other_spread) in zip(spreads(without), spreads(weights), strict=True):
        assert shape == other_shape
        assert spread == pytest.approx(other_spread, rel=0.35)  # the smallest have 16 weights
