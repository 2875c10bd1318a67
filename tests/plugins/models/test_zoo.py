"""What is particular to each network that the paper compares itself with or is built on."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cxrkit import SideOutputs
from cxrkit.errors import ConfigError
from cxrkit_plugins.models.bcdu import BCDUNet
from cxrkit_plugins.models.blocks import AttentionGate, ChannelAttention, SpatialAttention, interpolate_bilinearly
from cxrkit_plugins.models.cole import CoLeCNN
from cxrkit_plugins.models.fcn import FCN
from cxrkit_plugins.models.focal_attn_unet import FocalAttentionUNet
from cxrkit_plugins.models.scag import SpatialChannelGate
from cxrkit_plugins.models.scau import SCAUNet
from cxrkit_plugins.models.unetpp import UNetPlusPlus

CHANNELS = ("left_lung", "heart")


def multiply_adds(model: nn.Module, images: Tensor) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(images)
    return int(counter.get_total_flops()) // 2


def side_outputs(model: nn.Module, images: Tensor) -> SideOutputs:
    output = model.train()(images)
    assert isinstance(output, SideOutputs)
    return output


def test_bcdu_gives_each_dense_block_what_all_before_it_found() -> None:
    model = BCDUNet(CHANNELS, base_channels=2, dense_blocks=4)
    assert [block[0].in_channels for block in model.centre] == [8, 16, 32, 48]


def test_bcdus_tail_has_two_channels_that_are_not_negative() -> None:
    torch.manual_seed(0)
    model = BCDUNet(CHANNELS, base_channels=4, two_channel_tail=True).eval()
    seen: list[Tensor] = []
    model.tail.register_forward_hook(lambda *arguments: seen.append(arguments[-1]))
    model(torch.randn(2, 1, 16, 16))
    assert seen[0].shape == (2, 2, 16, 16)
    assert (seen[0] >= 0).all()
    assert (seen[0] > 0).any()


class Tenfold(nn.Module):
    """Stands for dropout, so that its places can be seen."""

    def forward(self, feature: Tensor) -> Tensor:
        return 10 * feature


def inputs_of(module: nn.Module, seen: list[tuple[Tensor, ...]]) -> None:
    """Collect what it is given."""
    module.register_forward_pre_hook(lambda _, given: seen.append(tuple(value.clone() for value in given)))


def test_bcdu_drops_the_deepest_skip_and_between_dense_blocks_only() -> None:
    torch.manual_seed(0)
    model = BCDUNet(CHANNELS, base_channels=2)
    model.dropout = Tenfold()  # type: ignore[assignment]
    seen: list[tuple[Tensor, ...]] = []
    for module in (*model.centre, *model.decoder):
        inputs_of(module, seen)
    images = torch.randn(1, 1, 16, 16)
    model(images)
    deepest = model.encoder(images)[-1]
    (first,), (second,), (third,), (centre, skip), *_ = seen
    torch.testing.assert_close(first, F.max_pool2d(deepest, 2))
    a = 10 * model.centre[0](first)
    b = 10 * model.centre[1](second)
    torch.testing.assert_close(second, a)
    torch.testing.assert_close(third, torch.cat([b, a], 1))
    torch.testing.assert_close(centre, 10 * model.centre[2](third))
    torch.testing.assert_close(skip, 10 * deepest)
    d1 = BCDUNet(CHANNELS, base_channels=2, dense_blocks=1)
    d1.dropout = Tenfold()  # type: ignore[assignment]
    seen.clear()
    for module in (d1.centre[0], d1.decoder[0]):
        inputs_of(module, seen)
    d1(images)
    torch.testing.assert_close(seen[1][0], d1.centre[0](seen[0][0]))


def test_bcdus_released_lstm_reads_the_coarser_feature_first_and_the_skip_last() -> None:
    torch.manual_seed(0)
    step = BCDUNet(CHANNELS, base_channels=32, bidirectional=False).decoder[0]
    assert step.lstm.forwards is None
    seen: list[tuple[Tensor, ...]] = []
    inputs_of(step.lstm.backwards, seen)
    running, skip = torch.randn(1, 256, 4, 4), torch.randn(1, 128, 8, 8)
    step(running, skip)
    torch.testing.assert_close(seen[0], (step.up(running), skip))
    deviation = float(step.lstm.backwards.input_weight.std())
    assert deviation == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.02), "He-normal"


def test_dropout_follows_each_layer_that_has_it() -> None:
    unit = UNetPlusPlus(CHANNELS, base_channels=2, depth=1, dropout=0.3).nodes["0-1"]
    assert [type(layer) for layer in unit] == 2 * [nn.Conv2d, nn.ReLU, nn.Dropout]
    dense = FCN(CHANNELS, base_channels=1, dropout=0.3).dense
    assert [type(layer) for layer in dense] == 2 * [nn.Conv2d, nn.ReLU, nn.Dropout]
    assert {layer.p for layer in (*unit, *dense) if isinstance(layer, nn.Dropout)} == {0.3}


def test_unetpp_infers_by_the_mean_of_its_heads_or_by_one_for_less_work() -> None:
    torch.manual_seed(0)
    images = torch.randn(2, 1, 16, 24)
    whole = UNetPlusPlus(CHANNELS, base_channels=4, depth=3, dropout=0.0)
    heads = side_outputs(whole, images)
    assert [side.shape for side in heads.sides] == [(2, 2, 16, 24)] * 2
    mean = torch.stack([*heads.sides, heads.main]).sigmoid().mean(0)
    torch.testing.assert_close(whole.eval()(images).sigmoid(), mean)
    costs = [multiply_adds(whole, images)]
    for depth, expected in ((2, heads.sides[1]), (1, heads.sides[0])):
        pruned = UNetPlusPlus(CHANNELS, base_channels=4, depth=3, dropout=0.0, inference_head=depth).eval()
        pruned.load_state_dict(whole.state_dict())
        torch.testing.assert_close(pruned(images), expected)
        costs.append(multiply_adds(pruned, images))
    assert costs == sorted(costs, reverse=True)
    assert costs[2] < costs[0] / 2


@pytest.mark.parametrize(
    ("logits", "expected"),
    [
        ((-1.0, -1.0, -1.0, 8.0), 0.4516),  # the mean of the logits would give 0.78
        ((0.5, 0.5, 0.5, 0.5), 0.6225),
        ((-200.0, -200.0, -200.0, 200.0), 0.25),
        ((200.0, 200.0, 200.0, 200.0), 1.0),
    ],
)
def test_unetpp_averages_probabilities(logits: tuple[float, ...], expected: float) -> None:
    model = UNetPlusPlus(CHANNELS, base_channels=1, dropout=0.0).eval()
    for head, logit in zip(model.heads.values(), logits, strict=True):
        nn.init.zeros_(head.weight)
        nn.init.constant_(head.bias, logit)
    averaged = model(torch.randn(1, 1, 16, 16))
    assert averaged.isfinite().all()
    torch.testing.assert_close(averaged.sigmoid(), torch.full((1, 2, 16, 16), expected), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("options", "heads"), [({}, "1, 2"), ({"deep_supervision": False}, "There is: 2.")])
def test_unetpp_has_no_head_deeper_than_itself(options: dict[str, Any], heads: str) -> None:
    with pytest.raises(ConfigError) as caught:
        UNetPlusPlus(CHANNELS, base_channels=2, depth=2, inference_head=3 if not options else 1, **options)
    assert heads in caught.value.remedy


@pytest.mark.parametrize("variant", ["32s", "16s", "8s"])
def test_fcn_puts_masks_where_the_film_has_them(variant: str) -> None:
    """With symmetric weights a mirrored film has mirrored masks: no crop is off by a pixel."""
    torch.manual_seed(0)
    model = FCN(CHANNELS, base_channels=1, variant=variant).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter))
            if parameter.ndim == 4:
                parameter.copy_((parameter + parameter.flip(2)) / 2)
                parameter.copy_((parameter + parameter.flip(3)) / 2)
        # 198 more than these are multiples of 32: poolings don't leave out or add a row.
        images = torch.randn(1, 1, 58, 90, dtype=torch.float64)
        torch.testing.assert_close(model(images.flip(2, 3)), model(images).flip(2, 3))


def test_fcn_begins_at_one_half_everywhere_for_films_of_any_size() -> None:
    model = FCN(CHANNELS, base_channels=1)
    logits = model(torch.randn(1, 1, 33, 50))
    assert torch.equal(logits, torch.zeros(1, 2, 33, 50))


def test_deconvolutions_interpolate_bilinearly_at_the_start() -> None:
    up = nn.ConvTranspose2d(2, 2, 8, stride=4, padding=2)
    interpolate_bilinearly(up)
    feature = torch.randn(1, 2, 5, 6)
    expected = F.interpolate(feature, scale_factor=4.0, mode="bilinear", align_corners=False)
    torch.testing.assert_close(up(feature)[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2])


@pytest.mark.parametrize("pooling", ["mean", "sum"])
def test_scau_attention_is_its_formula(pooling: Literal["mean", "sum"]) -> None:
    torch.manual_seed(0)
    feature = torch.randn(2, 6, 5, 7)
    scale = {"mean": 1.0, "sum": 6.0}[pooling]
    spatial = SpatialAttention(pooling)
    expected = torch.sigmoid(spatial.weigh[2](F.relu(spatial.weigh[0](scale * feature.mean(1, keepdim=True)))))
    torch.testing.assert_close(spatial(feature), feature * expected)
    scale = {"mean": 1.0, "sum": 35.0}[pooling]
    channel = ChannelAttention(6, pooling, units=3)
    expected = torch.sigmoid(channel.weigh[2](F.relu(channel.weigh[0](scale * feature.mean((2, 3))))))
    torch.testing.assert_close(channel(feature), feature * expected[:, :, None, None])


def test_scau_pools_and_skips_the_feature_that_attention_weighed() -> None:
    torch.manual_seed(0)
    model = SCAUNet(CHANNELS, base_channels=4, depth=2).eval()
    seen: list[tuple[Tensor, ...]] = []
    for module in (model.encoder[1], model.decoder[0], model.decoder[-1]):
        inputs_of(module, seen)
    images = torch.randn(1, 1, 16, 16)
    model(images)
    weighed, *_, deepest = model.encoder(images)
    (below,), (coarse,), (finest,) = seen[0], seen[1], seen[2]
    torch.testing.assert_close(below, F.max_pool2d(weighed, 2))
    torch.testing.assert_close(finest[:, :4], weighed)
    convolve, attention = model.encoder[0]
    torch.testing.assert_close(weighed, attention(convolve(images)))
    up = F.interpolate(deepest, scale_factor=2.0, mode="bilinear", align_corners=False)
    torch.testing.assert_close(coarse[:, -16:], up)
    assert isinstance(model.encoder[-1][1], ChannelAttention)


def test_spatial_channel_gate_weighs_the_skip_by_pixel_and_by_channel() -> None:
    torch.manual_seed(0)
    gate = SpatialChannelGate(8, 6, 4, nn.Identity())
    skip, signal = torch.randn(2, 8, 8, 8), torch.randn(2, 6, 4, 4)
    attention = torch.sigmoid(gate.spatial.psi(F.relu(gate.spatial.theta(skip) + gate.spatial.phi(signal))))
    by_pixel = F.interpolate(attention, size=(8, 8), mode="bilinear", align_corners=False)
    first, _, second, _ = gate.channel
    assert first.out_features == 2
    by_channel = torch.sigmoid(second(F.relu(first(signal.mean((2, 3))))))[:, :, None, None]
    torch.testing.assert_close(gate(skip, signal), gate.spatial.out(skip * by_pixel * by_channel))


def test_focal_attn_unets_gate_adds() -> None:
    torch.manual_seed(0)
    gate = AttentionGate(3, 5, inner=4, halvings=1, lstm=None, resampling="gating-up", norm=nn.Identity())
    skip, signal = torch.randn(2, 3, 8, 8), torch.randn(2, 5, 4, 4)
    weights = torch.sigmoid(gate.psi(F.relu(gate.theta(skip) + gate.phi(signal))))
    torch.testing.assert_close(
        gate(skip, signal), gate.out(skip * weights.repeat_interleave(2, 2).repeat_interleave(2, 3))
    )


def test_focal_attn_unet_has_heads_at_four_sizes_and_sees_the_film_at_four() -> None:
    torch.manual_seed(0)
    model = FocalAttentionUNet(CHANNELS, base_channels=2)
    output = side_outputs(model, torch.randn(2, 1, 32, 48))
    assert [side.shape[-2:] for side in (*output.sides, output.main)] == [(4, 6), (8, 12), (16, 24), (32, 48)]
    assert [convolve[0].in_channels for convolve in model.encoder] == [1, 4 + 2, 8 + 4, 16 + 8]


def test_cole_subtracts_the_context_and_supervises_both_branches_on_demand() -> None:
    torch.manual_seed(0)
    model = CoLeCNN(CHANNELS, base_channels=4, depth=2, branch_supervision=True)
    output = side_outputs(model, torch.randn(2, 1, 8, 12))
    torch.testing.assert_close(output.main, output.sides[0] + output.sides[1])
    assert isinstance(model.eval()(torch.randn(2, 1, 8, 12)), Tensor)
