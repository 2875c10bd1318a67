"""What the conformance suite doesn't check of the built-in networks: that they learn with each of their options.

The suite itself runs on them in tests/testing/test_builtins_conform.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from cxrkit import Model, SideOutputs
from cxrkit.plugins import registry
from cxrkit.testing.expectations import Subject
from cxrkit.testing.models import gradients_reach_every_parameter

CHANNELS = ("left_lung", "right_lung", "heart", "background")

# name, parameters, size_multiple. Widths are small: the suite asks for behaviour, not for quality.
BCDU: Mapping[str, Any] = {"base_channels": 4, "lstm_filters": 3, "center_length": 1}
CASES: list[tuple[str, Mapping[str, Any], int]] = [
    ("attn-bcdu", {**BCDU, "depth": 4, "center_length": 3}, 16),
    *(("attn-bcdu", {**BCDU, "depth": depth}, 2**depth) for depth in (1, 2, 3)),
    ("attn-bcdu", {**BCDU, "depth": 6, "base_channels": 3}, 64),
    ("attn-bcdu", {**BCDU, "bidirectional": False}, 16),
    ("attn-bcdu", {**BCDU, "merge": "sum"}, 16),
    ("attn-bcdu", {**BCDU, "resampling": "features-down", "depth": 3}, 8),
    ("attn-bcdu", {**BCDU, "decoder_convs": True, "depth": 3}, 8),
    ("attn-bcdu", {**BCDU, "spatial_channel_attention": True, "depth": 2}, 4),
    ("attn-bcdu", {**BCDU, "norm": "group", "depth": 2}, 4),
    ("attn-bcdu", {**BCDU, "norm": "instance", "depth": 2}, 4),
    *(("unet", {"base_channels": 4, "depth": depth}, 2**depth) for depth in (1, 4)),
    *(("unet", {"base_channels": 6, "depth": 2, "norm": norm}, 4) for norm in ("none", "group", "instance")),
    *(
        ("attn-unet", {"base_channels": 4, "depth": depth, "gate": gate}, 2**depth)
        for depth, gate in ((2, "authors"), (4, "authors"), (3, "same-resolution"))
    ),
    ("attn-unet", {"base_channels": 4, "depth": 2, "gate_first_skip": True, "norm": "group"}, 4),
    ("attn-unet", {"base_channels": 4, "depth": 2, "gate_first_skip": True, "norm": "instance"}, 4),
    ("attn-unet", {"base_channels": 4, "depth": 3, "deep_supervision": True}, 8),
    ("bcdu", {"base_channels": 4}, 8),
    ("bcdu", {"base_channels": 4, "dense_blocks": 1, "bidirectional": False, "dropout": 0.0}, 8),
    ("unetpp", {"base_channels": 4, "depth": 3}, 8),
    ("unetpp", {"base_channels": 4, "depth": 2, "deep_supervision": False, "dropout": 0.0}, 4),
    *(("fcn", {"base_channels": 2, "variant": variant, "dropout": 0.0}, 1) for variant in ("8s", "16s", "32s")),
    ("scau", {"base_channels": 4, "depth": 3}, 8),
    ("scau", {"base_channels": 4, "depth": 2, "pooling": "sum", "norm": "group"}, 4),
    ("scag", {"base_channels": 4, "depth": 3, "deep_supervision": True}, 8),
    ("scag", {"base_channels": 4, "depth": 2, "gate_first_skip": False, "norm": "instance"}, 4),
    ("focal-attn-unet", {"base_channels": 4}, 16),
    ("focal-attn-unet", {"base_channels": 4, "image_pyramid": False, "deep_supervision": False}, 16),
    ("scan", {"base_channels": 4}, 16),
    ("cole", {"base_channels": 4, "depth": 3, "branch_supervision": True}, 8),
    ("cole", {"base_channels": 4, "depth": 2, "norm": "group"}, 4),
    ("monai", {"network": "SegResNet"}, 8),
    ("smp", {"architecture": "unet", "encoder": "tu-mobilenetv3_small_050"}, 32),
    ("smp", {"architecture": "fpn", "encoder": "mobilenet_v2"}, 32),
]


def _name(case: tuple[str, Mapping[str, Any], int]) -> str:
    return "-".join([case[0], *(f"{key}={value}" for key, value in case[1].items() if key not in BCDU)])


@pytest.fixture(params=CASES, ids=_name)
def case(request: pytest.FixtureRequest) -> tuple[str, Mapping[str, Any], int]:
    found: tuple[str, Mapping[str, Any], int] = request.param
    return found


def build(case: tuple[str, Mapping[str, Any], int]) -> Model:
    """The network of the case, always with the same weights."""
    torch.manual_seed(3)
    model = registry().get("model", case[0]).build(CHANNELS, **case[1])
    assert isinstance(model, Model)
    return model


def films(multiple: int) -> Tensor:
    """Three films, not square, the sides different multiples of what the network asks for."""
    multiple = max(multiple, 8)
    return torch.rand(3, 1, 2 * multiple, 3 * multiple, generator=torch.Generator().manual_seed(4))


def test_every_parameter_learns_and_steps_lower_the_loss(case: tuple[str, Mapping[str, Any], int]) -> None:
    model = build(case).train()
    assert model.size_multiple == case[2]
    images = films(case[2])
    targets = (images > images.mean()).float().expand(-1, 4, -1, -1)
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    losses = []
    for _ in range(4):
        torch.manual_seed(0)  # the same dropout each time
        output = model(images)
        main, sides = (output.main, output.sides) if isinstance(output, SideOutputs) else (output, ())
        loss = torch.nn.functional.binary_cross_entropy_with_logits(main, targets)
        optimiser.zero_grad()
        torch.stack([loss, *((side**2).mean() for side in sides)]).sum().backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    gradients_reach_every_parameter(Subject(registry().get("model", case[0]), case[1]))
