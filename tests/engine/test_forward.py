from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from cxrkit.engine.forward import apply_model, probabilities
from cxrkit.errors import ContractError
from cxrkit.interfaces import Model, SideOutputs


class Pointwise(Model):
    size_multiple = 8

    def __init__(self, channels: tuple[str, ...], out: int | None = None) -> None:
        super().__init__(channels)
        self.conv = nn.Conv2d(1, out or len(channels), 1)
        self.seen: tuple[int, ...] = ()

    def forward(self, images: Tensor) -> Tensor:
        self.seen = tuple(images.shape)
        return self.conv(images)


@pytest.mark.parametrize("size", [(16, 16), (17, 30), (1, 1), (24, 9)])
def test_images_are_padded_to_the_multiple_and_cut_back(size: tuple[int, int]) -> None:
    model = Pointwise(("a", "b"))
    images = torch.randn(2, 1, *size)
    logits = apply_model(model, images, size_multiple=8, channels=2)
    assert tuple(logits.shape) == (2, 2, *size)
    assert model.seen[2] % 8 == 0
    assert model.seen[3] % 8 == 0
    assert torch.allclose(logits, model.conv(images), atol=1e-6)


def test_a_wrong_output_says_what_was_expected() -> None:
    with pytest.raises(ContractError, match=r"Pointwise: expected logits of shape \(1, 2, 8, 8\), got shape \(1, 3"):
        apply_model(Pointwise(("a", "b"), out=3), torch.zeros(1, 1, 8, 8), size_multiple=8, channels=2)


def test_probabilities_are_the_same_in_any_batches() -> None:
    model = Pointwise(("a", "b")).eval()
    images = torch.randn(5, 1, 8, 8)
    whole, parts = probabilities(model, images, 5), probabilities(model, images, 2)
    assert torch.allclose(whole, parts, atol=1e-6)
    assert whole.min() >= 0
    assert whole.max() <= 1


def test_sides_lose_the_padding_as_the_main_output_does() -> None:
    class Pyramid(Pointwise):
        def forward(self, images: Tensor) -> SideOutputs:
            main = images.repeat(1, 2, 1, 1)
            return SideOutputs(main, (nn.functional.avg_pool2d(main, 8),))

    ramp = torch.arange(20.0).view(1, 1, 1, 20).expand(1, 1, 20, 20).contiguous()
    output = apply_model(Pyramid(("a", "b")), ramp, size_multiple=8, channels=2)
    assert isinstance(output, SideOutputs)
    assert output.sides[0].shape == output.main.shape == (1, 2, 20, 20)
    # Away from the border, the coarse ramp lies on the fine one.
    assert torch.allclose(output.sides[0][..., 4:12], output.main[..., 4:12], atol=0.01)
    unpadded = apply_model(Pyramid(("a", "b")), ramp[..., :16, :16], size_multiple=8, channels=2)
    assert isinstance(unpadded, SideOutputs)
    assert unpadded.sides[0].shape == (1, 2, 2, 2)
