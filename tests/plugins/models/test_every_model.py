"""What all built-in networks promise, each in its variants."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from cxrkit import Model, SideOutputs
from cxrkit.errors import ConfigError
from cxrkit.plugins import registry

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
    ("smp", {"architecture": "unet", "encoder": "tu-mobilenetv3_small_050"}, 32),
    ("smp", {"architecture": "fpn", "encoder": "mobilenet_v2"}, 32),
]


def _name(case: tuple[str, Mapping[str, Any], int]) -> str:
    return "-".join([case[0], *(f"{key}={value}" for key, value in case[1].items() if key not in BCDU)])


@pytest.fixture(params=CASES, ids=_name)
def case(request: pytest.FixtureRequest) -> tuple[str, Mapping[str, Any], int]:
    found: tuple[str, Mapping[str, Any], int] = request.param
    return found


@pytest.fixture
def build(case: tuple[str, Mapping[str, Any], int]) -> Callable[..., Model]:
    """Make the network of the case, always with the same weights."""

    def make(channels: tuple[str, ...] = CHANNELS) -> Model:
        torch.manual_seed(3)
        model = registry().get("model", case[0]).build(channels, **case[1])
        assert isinstance(model, Model)
        return model

    return make


@pytest.fixture
def images(case: tuple[str, Mapping[str, Any], int]) -> Tensor:
    """Three films, not square, the sides different multiples of what the network asks for."""
    multiple = max(case[2], 8)
    return torch.rand(3, 1, 2 * multiple, 3 * multiple, generator=torch.Generator().manual_seed(4))


def _main(output: Tensor | SideOutputs) -> Tensor:
    return output if isinstance(output, Tensor) else output.main


def test_logits_have_the_images_size(
    build: Callable[..., Model], images: Tensor, case: tuple[str, Mapping[str, Any], int]
) -> None:
    model = build().eval()
    assert model.size_multiple == case[2]
    assert model.channels == CHANNELS
    for height, width in ((images.shape[2], images.shape[3]), (2 * case[2], 2 * case[2]), (case[2], 3 * case[2])):
        with torch.no_grad():
            logits = model(torch.rand(1, 1, height, width))
        assert logits.shape == (1, 4, height, width)
        assert torch.isfinite(logits).all()


@pytest.mark.parametrize("channels", [("heart",), ("left_lung", "right_lung", "heart")])
def test_one_logit_per_channel(build: Callable[..., Model], images: Tensor, channels: tuple[str, ...]) -> None:
    model = build(channels).eval()
    assert model.channels == channels
    assert model(images).shape == (3, len(channels), *images.shape[2:])


def test_every_parameter_learns(build: Callable[..., Model], images: Tensor) -> None:
    model = build().train()
    output = model(images)
    main = _main(output)
    assert main.shape == (3, 4, *images.shape[2:])
    sides = output.sides if isinstance(output, SideOutputs) else ()
    torch.stack([((logits - 1) ** 2).mean() for logits in (main, *sides)]).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_steps_of_training_lower_the_loss(build: Callable[..., Model], images: Tensor) -> None:
    model = build().train()
    targets = (images > images.mean()).float().expand(-1, 4, -1, -1)
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    losses = []
    for _ in range(4):
        torch.manual_seed(0)  # the same dropout each time
        loss = torch.nn.functional.binary_cross_entropy_with_logits(_main(model(images)), targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_evaluation_repeats_and_ignores_the_rest_of_the_batch(build: Callable[..., Model], images: Tensor) -> None:
    model = build()
    model(images)  # moving statistics away from their start
    model.eval()
    with torch.no_grad():
        logits = model(images)
        assert isinstance(logits, Tensor), "side outputs are for training"
        assert torch.equal(logits, model(images))
        order = torch.tensor([2, 0, 1])
        torch.testing.assert_close(model(images[order]), logits[order], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(model(images[:1]), logits[:1], rtol=1e-4, atol=1e-4)


def test_one_seed_makes_one_network(build: Callable[..., Model]) -> None:
    first, second = build().state_dict(), build().state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_weights_survive_safetensors(build: Callable[..., Model], images: Tensor) -> None:
    model = build()
    model(images)
    stored = save({name: value.contiguous() for name, value in model.state_dict().items()})
    other = build()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    other.load_state_dict(load(stored), strict=True)
    with torch.no_grad():
        assert torch.equal(model.eval()(images), other.eval()(images))


def test_bfloat16_and_channels_last_agree_with_float32(build: Callable[..., Model], images: Tensor) -> None:
    model = build()
    model(images)
    model.eval()
    with torch.no_grad():
        exact = model(images)
        fast = build().to(memory_format=torch.channels_last)
        fast.load_state_dict(model.state_dict())
        with torch.autocast("cpu", torch.bfloat16):
            rounded = fast.eval()(images.contiguous(memory_format=torch.channels_last))
    assert rounded.dtype == torch.bfloat16
    assert (rounded.float() - exact).abs().mean() < 0.05 * exact.abs().mean() + 0.02


@pytest.mark.parametrize("name", ["attn-bcdu", "unet", "attn-unet", "smp"])
def test_every_parameter_is_described(name: str) -> None:
    fields = registry().get("model", name).parameters.model_fields
    assert fields
    for key, field in fields.items():
        assert field.description, f"{name}.{key}"


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("attn-bcdu", {"depth": 0}),
        ("attn-bcdu", {"depth": 7}),
        ("attn-bcdu", {"resampling": "sideways"}),
        ("attn-bcdu", {"norm_momentum": 0}),
        ("unet", {"base_channels": 0}),
        ("unet", {"norm": "layer"}),
        ("attn-unet", {"gate": "none"}),
        ("attn-unet", {"depth": 1}),
        ("smp", {"pretrained": "perhaps"}),
    ],
)
def test_values_out_of_range_are_refused(name: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        registry().get("model", name).build(CHANNELS, **wrong)
