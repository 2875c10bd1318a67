"""What is particular to this network."""

import pytest
import torch
from cxrkit_example_plugin.residual_unet import ResidualUNet, ResidualUnit


def test_a_unit_without_residual_is_its_shortcut() -> None:
    unit = ResidualUnit(2, 3, stride=2)
    torch.nn.init.zeros_(unit.residual[-1].weight)
    torch.nn.init.zeros_(unit.residual[-1].bias)
    features = torch.randn(2, 2, 8, 8)
    torch.testing.assert_close(unit(features), unit.shortcut(features))


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_depth_sets_the_multiple_and_the_coarsest_resolution(depth: int) -> None:
    network = ResidualUNet(("heart",), base_channels=4, depth=depth).eval()
    assert network.size_multiple == 2**depth
    sizes: list[tuple[int, ...]] = []
    network.encoder[-1].register_forward_hook(lambda _module, _inputs, output: sizes.append(tuple(output.shape)))
    network(torch.randn(1, 1, 32, 48))
    assert sizes == [(1, 4 * 2**depth, 32 // 2**depth, 48 // 2**depth)]


def test_size_by_hand() -> None:
    # base_channels=4, depth=1, one channel. A unit from i to o channels: batch norms 2i + 2o, convolutions
    # 9io + (9oo + o), shortcut io + o.
    def unit(i: int, o: int) -> int:
        return 2 * i + 2 * o + 9 * i * o + 9 * o * o + o + i * o + o

    expected = (9 * 4 + 4) + unit(4, 4) + unit(4, 8) + unit(12, 4) + (4 + 1)
    network = ResidualUNet(("heart",), base_channels=4, depth=1)
    assert sum(parameter.numel() for parameter in network.parameters()) == expected
