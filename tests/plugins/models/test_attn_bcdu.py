"""Attention BCDU-Net: equal to the released network and to the textbook's ConvLSTM."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cxrkit_plugins.models.attn_bcdu import AttentionBCDUNet
from cxrkit_plugins.models.blocks import AttentionGate, ConvLSTM, SameConvTranspose2d, TwoStepConvLSTM

CHANNELS = ("left_lung", "right_lung", "heart", "background")


def keras_count(model: nn.Module) -> int:
    """Weights as Keras counts them: with moving means and variances, without PyTorch's counter of batches."""
    statistics = (value for name, value in model.named_buffers() if name.endswith(("running_mean", "running_var")))
    return sum(value.numel() for value in (*model.parameters(), *statistics))


def hard_sigmoid(x: Tensor) -> Tensor:
    return (0.2 * x + 0.5).clamp(0, 1)


def textbook_convlstm(lstm: ConvLSTM, sequence: list[Tensor]) -> Tensor:
    """The ConvLSTM as its equations are printed (Shi 2015, equation 3, without peepholes), states zero at first."""
    filters = lstm.recurrent_weight.shape[1]
    batch, _, height, width = sequence[0].shape
    hidden = cell = sequence[0].new_zeros(batch, filters, height, width)
    for x in sequence:
        parts = [
            F.conv2d(x, input_weight, bias, padding=1) + F.conv2d(hidden, recurrent_weight, padding=1)
            for input_weight, recurrent_weight, bias in zip(
                lstm.input_weight.split(filters),
                lstm.recurrent_weight.split(filters),
                lstm.bias.split(filters),
                strict=True,
            )
        ]
        enter, forget, candidate, leave = parts
        cell = hard_sigmoid(forget) * cell + hard_sigmoid(enter) * torch.tanh(candidate)
        hidden = hard_sigmoid(leave) * torch.tanh(cell)
    return hidden


def textbook_transposed(layer: SameConvTranspose2d, x: Tensor, stride: int) -> Tensor:
    """TensorFlow's 3x3 "same" transposed convolution, pixel by pixel.

    It is the gradient of a "same" convolution, which pads 1 before and after at stride 1, and at stride 2 with
    even sizes nothing before and 1 after.
    """
    before = 1 if stride == 1 else 0
    height, width = stride * x.shape[2], stride * x.shape[3]
    result = x.new_zeros(x.shape[0], layer.out_channels, height, width) + layer.bias.view(1, -1, 1, 1)
    for row in range(x.shape[2]):
        for column in range(x.shape[3]):
            for k in range(3):
                for m in range(3):
                    to_row, to_column = stride * row + k - before, stride * column + m - before
                    if 0 <= to_row < height and 0 <= to_column < width:
                        part = x[:, :, row, column] @ layer.weight[:, :, k, m]
                        result[:, :, to_row, to_column] = result[:, :, to_row, to_column] + part
    return result


def assert_same_values_and_gradients(ours: Tensor, theirs: Tensor, sources: list[Tensor]) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    direction = torch.randn(ours.shape, dtype=ours.dtype, generator=torch.Generator().manual_seed(9))
    gradients = torch.autograd.grad(ours, sources, direction, retain_graph=True)
    expected = torch.autograd.grad(theirs, sources, direction, retain_graph=True)
    for ours_, theirs_ in zip(gradients, expected, strict=True):
        torch.testing.assert_close(ours_, theirs_, rtol=1e-9, atol=1e-11)


def test_the_released_network_has_its_number_of_parameters() -> None:
    # Keras's count of the code that the author released on 2021-01-23, at its defaults.
    assert keras_count(AttentionBCDUNet(CHANNELS, bidirectional=False)) == 3_654_552


def test_channels_double_every_second_level() -> None:
    model = AttentionBCDUNet(CHANNELS, base_channels=2, depth=5)
    assert [block[0].out_channels for block in model.encoder] == [2, 2, 4, 4, 8]
    assert model.centre[0][0].out_channels == 8
    # The gating signal is the pair's input: the centre's, then what two steps of the decoder made.
    assert [step.gating_signal[0].in_channels for step in model.decoder] == [8, 16, 16, 8, 8]
    assert [step.enters_pair for step in model.decoder] == [True, True, False, True, False]


def test_both_gates_of_a_pair_see_the_feature_that_enters_it() -> None:
    model = AttentionBCDUNet(CHANNELS, base_channels=2, lstm_filters=2).eval()
    sizes: list[int] = []
    for step in model.decoder:
        step.gating_signal.register_forward_hook(lambda _, inputs, __: sizes.append(inputs[0].shape[-1]))
    with torch.no_grad():
        model(torch.rand(1, 1, 32, 32))
    assert sizes == [2, 2, 8, 8]


@settings(deadline=None, max_examples=25)
@given(
    features=st.integers(1, 4),
    filters=st.integers(1, 4),
    height=st.integers(1, 5),
    width=st.integers(1, 5),
    scale=st.sampled_from([0.1, 1.0, 5.0]),  # 5: hard sigmoids at both their ends
    seed=st.integers(0, 1000),
)
def test_convlstm_is_the_textbooks(
    features: int, filters: int, height: int, width: int, scale: float, seed: int
) -> None:
    torch.manual_seed(seed)
    lstm = ConvLSTM(features, filters).double()
    nn.init.normal_(lstm.bias)
    first, second = (scale * torch.randn(2, features, height, width).double() for _ in range(2))
    first.requires_grad_()
    second.requires_grad_()
    assert_same_values_and_gradients(
        lstm(first, second), textbook_convlstm(lstm, [first, second]), [first, second, *lstm.parameters()]
    )


@pytest.mark.parametrize("merge", ["concat", "sum"])
def test_bidirectional_convlstm_is_two_textbook_ones(merge: Literal["concat", "sum"]) -> None:
    torch.manual_seed(0)
    lstm = TwoStepConvLSTM(3, 2, bidirectional=True, merge=merge).double()
    assert lstm.forwards is not None
    phi, theta = (torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True) for _ in range(2))
    states = [textbook_convlstm(lstm.forwards, [phi, theta]), textbook_convlstm(lstm.backwards, [theta, phi])]
    expected = torch.cat(states, 1) if merge == "concat" else states[0] + states[1]
    assert lstm.out_channels == expected.shape[1]
    assert_same_values_and_gradients(lstm(phi, theta), expected, [phi, theta, *lstm.parameters()])


@pytest.mark.parametrize("stride", [1, 2])
def test_transposed_convolution_is_tensorflows(stride: Literal[1, 2]) -> None:
    torch.manual_seed(0)
    layer = SameConvTranspose2d(3, 2, stride=stride).double()
    x = torch.randn(2, 3, 3, 4, dtype=torch.float64, requires_grad=True)
    assert_same_values_and_gradients(layer(x), textbook_transposed(layer, x, stride), [x, *layer.parameters()])


@pytest.mark.parametrize("halvings", [1, 2])
def test_released_gate_is_its_formula(halvings: Literal[1, 2]) -> None:
    """θ first, φ last (`go_backwards`), ReLU, one weight a pixel, nearest x2, convolution, batch norm."""
    torch.manual_seed(0)
    lstm = TwoStepConvLSTM(3, 2, bidirectional=False, merge="concat")
    gate = AttentionGate(
        3, 5, inner=3, halvings=halvings, lstm=lstm, resampling="gating-up", norm=nn.BatchNorm2d(3, eps=1e-3)
    ).double()
    skip = torch.randn(2, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    side = 8 // 2**halvings
    signal = torch.randn(2, 5, side, side, dtype=torch.float64, requires_grad=True)

    one_by_one, up = gate.phi
    assert isinstance(up, SameConvTranspose2d)
    phi = textbook_transposed(up, F.conv2d(signal, one_by_one.weight, one_by_one.bias), halvings)
    theta = F.conv2d(skip, gate.theta.weight, gate.theta.bias, stride=2)
    state = F.relu(textbook_convlstm(lstm.backwards, [theta, phi]))
    weights = torch.sigmoid(F.conv2d(state, gate.psi.weight, gate.psi.bias))
    weights = weights.repeat_interleave(2, 2).repeat_interleave(2, 3)
    mixed = F.conv2d(skip * weights, gate.out.weight, gate.out.bias)
    mean, variance = mixed.mean((0, 2, 3), keepdim=True), mixed.var((0, 2, 3), keepdim=True, correction=0)
    expected = (mixed - mean) / torch.sqrt(variance + 1e-3)

    assert_same_values_and_gradients(gate(skip, signal), expected, [skip, signal])


@pytest.mark.parametrize("halvings", [1, 2])
def test_features_down_finds_attention_on_the_gating_signals_grid(halvings: Literal[1, 2]) -> None:
    lstm = TwoStepConvLSTM(3, 2, bidirectional=True, merge="concat")
    gate = AttentionGate(3, 5, inner=3, halvings=halvings, lstm=lstm, resampling="features-down", norm=nn.Identity())
    seen: list[torch.Size] = []
    lstm.register_forward_hook(lambda _, inputs, __: seen.extend(x.shape for x in inputs))
    side = 8 // 2**halvings
    gated = gate(torch.rand(1, 3, 8, 8), torch.rand(1, 5, side, side))
    assert gated.shape == (1, 3, 8, 8)
    assert seen == [(1, 3, side, side)] * 2


def test_initial_weights() -> None:
    torch.manual_seed(0)
    model = AttentionBCDUNet(CHANNELS, base_channels=16, lstm_filters=8)
    lstms = [module for module in model.modules() if isinstance(module, ConvLSTM)]
    assert len(lstms) == 8
    for lstm in lstms:
        rows = lstm.recurrent_weight.flatten(1)
        torch.testing.assert_close(rows @ rows.T, torch.eye(32), rtol=0, atol=1e-5)
        assert lstm.bias.tolist() == [0.0] * 8 + [1.0] * 8 + [0.0] * 16
    convolution = model.centre[1][3]
    assert isinstance(convolution, nn.Conv2d)
    glorot = (2 / (9 * (convolution.in_channels + convolution.out_channels))) ** 0.5
    assert convolution.weight.std().item() == pytest.approx(glorot, rel=0.03)
    assert not convolution.bias.any()
    for first, second in pairwise(lstms):
        assert not torch.equal(first.recurrent_weight, second.recurrent_weight)


def test_norm_momentum_is_pytorchs() -> None:
    model = AttentionBCDUNet(CHANNELS, base_channels=2, depth=1, norm_momentum=0.01)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {(norm.momentum, norm.eps) for norm in norms} == {(0.01, 1e-3)}
    images = torch.rand(4, 1, 8, 8)
    mean = model.encoder[0][0](images).mean((0, 2, 3))
    model(images)
    torch.testing.assert_close(norms[0].running_mean, 0.01 * mean)


def test_instance_norm_is_pytorchs() -> None:
    model = AttentionBCDUNet(CHANNELS, base_channels=6, depth=1, norm="instance")
    x = torch.rand(2, 6, 5, 4)
    torch.testing.assert_close(model.encoder[0][1](x), F.instance_norm(x, eps=1e-3))


def test_spatial_and_channel_attention_weigh_both_ends_and_the_centre_by_sums() -> None:
    torch.manual_seed(0)
    model = AttentionBCDUNet(CHANNELS, base_channels=4, depth=2, spatial_channel_attention=True).eval()
    places = {"first": model.first_attention, "centre": model.centre_attention, "last": model.last_attention}
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    for name, attention in places.items():
        attention.register_forward_hook(lambda _, inputs, output, name=name: seen.update({name: (inputs[0], output)}))
    with torch.no_grad():
        model(0.1 * torch.randn(1, 1, 16, 16))
        for name, channels in (("first", 4), ("last", 8)):
            feature, weighted = seen[name]
            assert feature.shape == (1, channels, 16, 16)
            weights = places[name].weigh(feature.sum(1, keepdim=True))
            torch.testing.assert_close(weighted, feature * weights)
        feature, weighted = seen["centre"]
        assert feature.shape == (1, 8, 4, 4)
        weights = model.centre_attention.weigh(feature.sum((2, 3)))
        torch.testing.assert_close(weighted, feature * weights[:, :, None, None])


def test_it_can_be_mapped_over_films_and_weights() -> None:
    model = AttentionBCDUNet(("a", "b"), base_channels=3, lstm_filters=2, depth=1, center_length=1).eval()
    images = torch.rand(3, 1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    weights = {name: value.detach() for name, value in model.named_parameters()}

    def loss(parameters: dict[str, Tensor], film: Tensor) -> Tensor:
        logits: Tensor = torch.func.functional_call(model, parameters, (film,))
        return logits.square().mean()

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(weights, images)
    for place, film in enumerate(images):
        alone = torch.func.grad(loss)(weights, film)
        for name, value in alone.items():
            torch.testing.assert_close(each[name][place], value, rtol=1e-3, atol=1e-5)
