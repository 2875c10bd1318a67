"""segmentation-models-pytorch behind cxrkit's contract."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cxrkit.errors import ConfigError, StorageError
from cxrkit_plugins.models import smp as module
from cxrkit_plugins.models.smp import SegmentationModelsPytorch

CHANNELS = ("left_lung", "heart")
SMALL = "tu-mobilenetv3_small_050"


@pytest.mark.parametrize(
    ("architecture", "multiple"),
    [("unetplusplus", 32), ("linknet", 32), ("pspnet", 8), ("deeplabv3plus", 16), ("pan", 128), ("segformer", 32)],
)
def test_size_multiple_is_enough(architecture: str, multiple: int) -> None:
    model = SegmentationModelsPytorch(CHANNELS, architecture=architecture, encoder=SMALL).eval()
    assert model.size_multiple == multiple
    side = max(multiple, 32)
    with torch.no_grad():
        assert model(torch.rand(1, 1, side, side + multiple)).shape == (1, 2, side, side + multiple)


def test_dpt_takes_images_of_any_size() -> None:
    model = SegmentationModelsPytorch(CHANNELS, architecture="dpt", encoder="tu-vit_tiny_patch16_224").eval()
    with torch.no_grad():
        assert model(torch.rand(1, 1, 32, 64)).shape == (1, 2, 32, 64)


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"encoder": "resnet81"}, "resnet18"),
        ({"encoder": "tu-resnet81"}, "tu-resnet18"),
        ({"encoder": "vit_tiny_patch16_224"}, "encoder=tu-vit_tiny_patch16_224"),
        ({"architecture": "unet-plus-plus"}, "unetplusplus"),
        ({"architecture": "dpt", "encoder": "resnet18"}, "tu-vit_tiny_patch16_224"),
        ({"architecture": "linknet", "encoder": "mit_b0"}, "resnet18"),
        ({"encoder": "tu-vit_tiny_patch16_224"}, "resnet18"),
    ],
)
def test_what_does_not_exist_or_fit_is_reported_with_a_hint(options: dict[str, str], hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        SegmentationModelsPytorch(CHANNELS, **options)
    assert next(reversed(options.values())) in caught.value.what
    assert hint in caught.value.remedy


@pytest.mark.parametrize(("encoder", "weights"), [("resnet18", "imagenet"), (SMALL, True)])
def test_pretrained_weights_that_cannot_be_had(encoder: str, weights: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    make = module.smp.create_model
    asked: list[Any] = []

    def offline(architecture: str, *, encoder_weights: Any, **options: Any) -> Any:
        asked.append(encoder_weights)
        if encoder_weights is not None:
            raise OSError("Name or service not known\nand more")
        return make(architecture, encoder_weights=None, **options)

    monkeypatch.setattr(module.smp, "create_model", offline)
    with pytest.raises(StorageError, match="Name or service not known") as caught:
        SegmentationModelsPytorch(CHANNELS, encoder=encoder, pretrained=True)
    assert encoder in caught.value.what
    assert "pretrained=false" in caught.value.remedy
    assert asked[-1] == weights

    asked.clear()
    SegmentationModelsPytorch(CHANNELS, encoder=encoder)
    assert asked == [None]


def test_decoder_channels_make_a_smaller_network() -> None:
    full = SegmentationModelsPytorch(CHANNELS, encoder=SMALL)
    small = SegmentationModelsPytorch(CHANNELS, encoder=SMALL, decoder_channels=(32, 16, 16, 8, 8)).eval()

    def parameters(model: SegmentationModelsPytorch) -> int:
        return sum(p.numel() for p in model.parameters())

    assert parameters(small) < parameters(full)
    with torch.no_grad():
        assert small(torch.rand(1, 1, 32, 32)).shape == (1, 2, 32, 32)


@pytest.mark.parametrize(("architecture", "widths"), [("unet", (32, 16)), ("fpn", (32, 16, 16, 8, 8))])
def test_unsuitable_decoder_channels_are_refused(architecture: str, widths: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError):
        SegmentationModelsPytorch(CHANNELS, architecture=architecture, encoder=SMALL, decoder_channels=widths)
