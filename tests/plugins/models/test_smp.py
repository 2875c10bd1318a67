"""segmentation-models-pytorch behind cxrkit's contract."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cxrkit.engine.trial import Trial
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


@pytest.mark.parametrize("architecture", ["unet", "unetplusplus", "fpn", "linknet", "manet"])
@pytest.mark.parametrize("encoder", ["resnet18", "mobilenet_v2", "tu-tf_efficientnet_lite0"])
def test_what_is_not_tried_would_give_the_same(architecture: str, encoder: str) -> None:
    model = SegmentationModelsPytorch(CHANNELS, architecture=architecture, encoder=encoder)
    assert model.size_multiple == module._size_multiple(model.network, architecture) == 32


@pytest.mark.parametrize(
    ("architecture", "encoder", "multiple"),
    [
        ("dpt", "tu-vit_tiny_patch16_224", 32),  # its decoder halves the grid of patches once
        ("dpt", "tu-vit_small_patch14_dinov2", 32),  # made with patches of 16
        ("pspnet", "tu-hrnet_w18_small", 32),
        ("pspnet", "tu-swin_tiny_patch4_window7_224", 8),  # told not to insist on 224
        ("fpn", "tu-maxvit_pico_rw_256", 256),  # windows of 8 on each level
    ],
)
def test_the_size_multiple_is_found_by_trying(architecture: str, encoder: str, multiple: int) -> None:
    model = SegmentationModelsPytorch(CHANNELS, architecture=architecture, encoder=encoder).eval()
    assert model.size_multiple == multiple
    size = -(-96 // multiple) * multiple
    with torch.no_grad():
        assert model.to("meta")(torch.empty(1, 1, size, size, device="meta")).shape == (1, 2, size, size)


def test_an_encoder_of_one_size_says_it() -> None:
    model = SegmentationModelsPytorch(CHANNELS, architecture="fpn", encoder="tu-hiera_tiny_224").eval()
    assert model.size_multiple == 224
    with pytest.raises(ConfigError, match="doesn't take films of 256x256") as caught:
        Trial(model, "smp").check(2, 256)
    assert caught.value.remedy == "Use --size 224."
    Trial(model, "smp").check(2, 200)


def test_an_architecture_that_takes_no_image_with_an_encoder_says_it() -> None:
    with pytest.raises(ConfigError, match=r"pspnet.*tu-rexnet_100"):
        SegmentationModelsPytorch(CHANNELS, architecture="pspnet", encoder="tu-rexnet_100")


def test_trying_draws_no_random_numbers() -> None:
    torch.manual_seed(0)
    SegmentationModelsPytorch(CHANNELS, architecture="pspnet", encoder="tu-swin_tiny_patch4_window7_224")
    after = torch.rand(1)
    torch.manual_seed(0)
    module.smp.create_model(
        "pspnet", encoder_name="tu-swin_tiny_patch4_window7_224", encoder_weights=None, in_channels=1, classes=2
    )
    assert torch.equal(torch.rand(1), after)


@pytest.mark.parametrize(("architecture", "layer"), [("deeplabv3plus", "aspp"), ("upernet", "psp"), ("pan", "fpa")])
def test_one_film_at_a_time_is_refused_where_a_decoder_pools_it_all(architecture: str, layer: str) -> None:
    model = SegmentationModelsPytorch(CHANNELS, architecture=architecture, encoder=SMALL)
    with pytest.raises(ConfigError, match=rf"batch norm network\.decoder\.{layer}") as caught:
        Trial(model, "smp").check(1, 128)
    assert caught.value.remedy == "Use at least --batch-size 2."


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
