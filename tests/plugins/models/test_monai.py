"""MONAI's networks behind cxrkit's contract."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch

from cxrkit.config import make_config, resolve
from cxrkit.errors import ConfigError, StorageError
from cxrkit.plugins import registry
from cxrkit_plugins.models.monai import NETWORKS, Monai

CHANNELS = ("left_lung", "heart")
LARGE = {"AHNet", "VNet", "DynUNet", "FlexibleUNet", "MedNeXt", "SegResNetDS", "SwinUNETR"}


@pytest.mark.parametrize(
    "network", [pytest.param(name, marks=[pytest.mark.slow] if name in LARGE else []) for name in NETWORKS]
)
def test_every_network_takes_films_whose_sides_are_multiples(network: str) -> None:
    model = Monai(CHANNELS, network=network)
    height = max(-(-32 // model.size_multiple), 2) * model.size_multiple
    width = height + model.size_multiple
    for training in (True, False):
        with torch.no_grad():
            assert model.train(training)(torch.randn(2, 1, height, width)).shape == (2, 2, height, width)


@pytest.mark.parametrize(("network", "multiple"), [("BasicUNet", 1), ("UNet", 16), ("SegResNet", 8)])
def test_size_multiple_is_found(network: str, multiple: int) -> None:
    assert Monai(CHANNELS, network=network).size_multiple == multiple


def test_options_reach_the_network() -> None:
    model = Monai(CHANNELS, network="UNet", options={"channels": (4, 8, 16), "strides": (2, 2)})
    assert model.size_multiple == 4
    assert model.network.channels == (4, 8, 16)


@pytest.mark.parametrize(
    ("parameters", "hint"),
    [
        ({"network": "AttentionUnets"}, "'AttentionUnet'"),
        ({"network": "unet++"}, "'UNet'"),
        ({"network": "UNETR"}, "SwinUNETR"),
        ({"options": {"chanels": [8]}}, "'channels'"),
        ({"options": {"in_channels": 3}}, "channels"),
        ({"options": {"strides": [2]}}, "documentation"),
        ({"network": "DynUNet", "options": {"deep_supervision": True}}, "kernel_size"),
        ({"network": "DynUNet", "options": {"strides": (2, 2, 2, 2, 2)}}, "as many steps up as down"),
        ({"network": "DiffusionModelUNet"}, "another network"),  # its forward asks for more than images
        ({"network": "VQVAE"}, "another network"),  # it returns a loss too
        ({"network": "UNet", "pretrained": True}, "There are: channels"),
    ],
    ids=str,
)
def test_what_does_not_exist_or_fit_is_reported_with_a_hint(parameters: dict[str, Any], hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Monai(CHANNELS, **parameters)
    assert hint in caught.value.remedy


@pytest.mark.parametrize("size", [32, [32, 32]])
def test_a_network_for_images_of_one_size_takes_that(size: object) -> None:
    options = {"img_size": size, "feature_size": 2, "hidden_size": 12, "mlp_dim": 12, "num_heads": 2}
    model = Monai(CHANNELS, network="UNETR", options=options)
    assert model.size_multiple == 32
    assert model(torch.randn(2, 1, 32, 32)).shape == (2, 2, 32, 32)


def test_a_network_that_is_not_listed_is_tried() -> None:
    model = Monai(CHANNELS, network="AutoEncoder", options={"channels": (4, 8), "strides": (2, 2)})
    assert model.size_multiple == 4
    assert model(torch.randn(2, 1, 8, 12)).shape == (2, 2, 8, 12)


@pytest.mark.parametrize("error", [AssertionError, TypeError, KeyError])
def test_a_networks_own_error_is_no_traceback(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    def refuse(*_: object) -> None:
        raise error("no")

    monkeypatch.setattr("monai.networks.nets.BasicUNet.forward", refuse)
    with pytest.raises(ConfigError, match="doesn't return one mask of the film's size"):
        Monai(CHANNELS, network="BasicUNet")


def test_pretrained_weights_are_downloaded_for_a_new_training_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("monai.networks.nets.efficientnet.model_zoo.load_url", fail)
    options = {"backbone": "efficientnet-b0", "pretrained": True}
    with pytest.raises(StorageError, match="no route to host"):
        Monai(CHANNELS, network="FlexibleUNet", options=options)
    Monai(CHANNELS, network="FlexibleUNet", options=options, **Monai.when_loading)
    Monai(CHANNELS, network="BasicUNet", **Monai.when_loading)


def test_without_monai_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "monai.networks", None)
    with pytest.raises(ConfigError, match="isn't installed") as caught:
        Monai(CHANNELS)
    assert "cxrkit[monai]" in caught.value.remedy


@pytest.mark.parametrize(
    ("written", "name", "key", "value"),
    [("monai:segresnet", "monai", "network", "segresnet"), ("fcn:16s", "fcn", "variant", "16s")],
)
def test_a_value_after_a_colon_is_the_first_parameters(written: str, name: str, key: str, value: str) -> None:
    config = make_config({"data": "phantom"}, overrides={"model": written})
    resolved = resolve(config, registry()).model
    assert (resolved.name, resolved.params[key]) == (name, value)
