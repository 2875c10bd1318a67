"""Means of networks and of views, and the quality that follows from how well they agree."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from cxrkit import PretrainedWeights, Segmenter, inference
from cxrkit.config import ComponentConfig, PreprocessConfig
from cxrkit.engine.checkpoint import NetworkCard, amend_card, load_tensors, save_network
from cxrkit.engine.ensemble import Ensemble, TestTime, load_weights
from cxrkit.engine.views import VIEWS, view_probabilities
from cxrkit.engine.weights import find_weights
from cxrkit.errors import ConfigError
from cxrkit.metrics.quality import Calibration
from cxrkit.plugins import registry
from cxrkit.registry import Component, Registry
from cxrkit.segmentation import WeightsSource

RISING = Calibration(agreement=(0.0, 1.0), dice=(0.0, 1.0), films=9)


class Constant:
    """Finds each of its structures with a probability that depends on the channel alone."""

    postprocess = None

    def __init__(self, probabilities: Sequence[float], *channels: str, size: int = 32, name: str = "a") -> None:
        self.values = np.array(probabilities, np.float32)[None, :, None, None]
        self.channels, self.preprocess = channels, PreprocessConfig(size=size, clahe=None)
        sha256 = hashlib.sha256(name.encode()).hexdigest()
        self.weights: WeightsSource | None = WeightsSource(None, None, f"{name}.safetensors", sha256, 5, "0")

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return np.broadcast_to(self.values, (len(images), len(self.channels), *images.shape[-2:])).copy()


def slightly_larger(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors of another network that finds nearly the same."""
    return {name: value * 1.001 if value.is_floating_point() else value for name, value in tensors.items()}


class Bright:
    """Finds the heart where the film is bright."""

    channels = ("heart", "background")
    preprocess = PreprocessConfig(size=64, clahe=None)
    weights = None

    def __call__(self, images: np.ndarray) -> np.ndarray:
        heart = 1 / (1 + np.exp(-8 * (images - 0.5)))
        return np.concatenate([heart, 1 - heart], axis=1).astype(np.float32)


def disc(size: int = 128) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size] - size / 2
    return np.asarray((np.hypot(rows * 1.1, columns + 9) < size / 5) * 200 + 20 + (rows == 0) * 5, dtype=np.uint8)


def test_networks_that_see_a_film_differently_are_averaged_at_its_size() -> None:
    members = [
        Constant([0.9, 0.2], "heart", "left_lung"),
        Constant([0.4, 0.5], "left_lung", "heart", size=48, name="b"),
    ]
    found = Segmenter(Ensemble(members), keep_borders=True)(disc())
    np.testing.assert_allclose(found.probabilities["heart"], 0.7, atol=1e-6)
    np.testing.assert_allclose(found.probabilities["left_lung"], 0.3, atol=1e-6)
    assert found.probabilities["heart"].shape == (128, 128)
    assert found.weights is not None
    assert [one.file for one in found.weights.members] == ["a.safetensors", "b.safetensors"]
    with pytest.raises(ConfigError, match="preprocess films differently"):
        Ensemble(members)(np.zeros((1, 1, 32, 32), np.float32))


def test_different_structures_leave_the_common_ones() -> None:
    one = Constant([0.9, 0.2, 0.1], "heart", "left_lung", "background")
    both = Ensemble([one, Constant([0.4, 0.6], "heart", "background", name="b")])
    assert both.channels == ("heart",), "the background of one isn't that of the other"
    assert both.left_out == ("left_lung",)
    np.testing.assert_allclose(both(np.zeros((2, 1, 32, 32), np.float32)), 0.65, atol=1e-6)
    with pytest.raises(ConfigError, match="no structure in common") as caught:
        Ensemble([one, Constant([0.4], "aorta", name="b")])
    assert "b.safetensors: aorta" in caught.value.what


def test_every_view_comes_back_to_its_place() -> None:
    rows, columns = np.mgrid[:96, :96] / 96
    blob = np.exp(-(((rows - 0.45) / 0.15) ** 2) - ((columns - 0.6) / 0.1) ** 2).astype(np.float32)[None, None]
    for view in VIEWS:
        back = view.back(view.look(blob) / view.contrast)
        np.testing.assert_allclose(back, blob, atol=0.02)
    moved = [view.look(blob)[0, 0] for view in VIEWS]
    peaks = [np.unravel_index(one.argmax(), one.shape) for one in moved]
    assert peaks[4][0] > peaks[0][0], "down"
    assert peaks[4][1] > peaks[0][1], "to the right"
    assert moved[1].sum() < moved[0].sum() < moved[6].sum(), "smaller and larger"


def test_test_time_augmentation_is_the_mean_over_the_views() -> None:
    film = disc()
    plain, averaged = Segmenter(Bright()), Segmenter(TestTime(Bright()))
    one, many = plain(film), averaged(film)
    assert (one.probabilities["heart"] != many.probabilities["heart"]).any()
    overlap = (one.masks["heart"] & many.masks["heart"]).sum() / (one.masks["heart"] | many.masks["heart"]).sum()
    assert overlap > 0.95
    images = np.random.default_rng(0).normal(size=(2, 1, 64, 64)).astype(np.float32)
    np.testing.assert_allclose(TestTime(Bright())(images), view_probabilities(Bright(), images).mean(axis=0), rtol=1e-6)
    assert (averaged.settings["tta"], plain.settings.get("tta")) == (True, None), "--resume must tell them apart"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A network of random weights, calibrated."""
    channels = ("left_lung", "right_lung", "heart", "background")
    parameters = {"base_channels": 4, "depth": 2}
    torch.manual_seed(0)
    network = registry().get("model", "unet").build(channels, **parameters)
    card = NetworkCard(
        cxrkit="0",
        model=ComponentConfig(name="unet", **parameters),
        channels=channels,
        preprocess=PreprocessConfig(size=32),
        package=("cxrkit", "0"),
        step=1,
        quality={"heart": RISING, "left_lung": RISING},
    )
    save_network(tmp_path / "one.safetensors", network.state_dict(), card)
    return tmp_path / "one.safetensors"


def test_calibrated_weights_estimate_quality_and_change_no_mask_by_it(saved: Path) -> None:
    film = disc()
    with_it, without = inference.load(saved, device="cpu"), inference.load(saved, device="cpu", quality=False)
    one, other = with_it(film), without(film)
    assert one.quality.keys() == {"heart", "left_lung"}
    assert all(0 <= value <= 1 for value in one.quality.values())
    assert other.quality == {}
    for name, mask in one.masks.items():
        np.testing.assert_array_equal(mask, other.masks[name])
    doubts = [text for text in one.warnings if "its Dice coefficient is estimated at" in text]
    assert len(doubts) == sum(value < 0.9 for value in one.quality.values()) > 0, "random weights agree on little"
    assert set(one.warnings) - set(other.warnings) == set(doubts)


def test_an_ensemble_has_the_mean_of_its_members_estimates(saved: Path) -> None:
    other = saved.with_name("other.safetensors")
    tensors, card = load_tensors(saved)
    torch.manual_seed(1)
    noise = {
        name: value + 0.1 * torch.randn_like(value) if value.dim() > 1 else value for name, value in tensors.items()
    }
    save_network(other, noise, card)
    single = [inference.load(path, device="cpu")(disc()) for path in (saved, other)]
    both = inference.load([saved, other], device="cpu")(disc())
    for name in ("heart", "left_lung"):
        assert both.quality[name] == pytest.approx(np.mean([one.quality[name] for one in single]), abs=1e-4)
        expected = np.mean([one.probabilities[name] for one in single], axis=0)
        np.testing.assert_allclose(both.probabilities[name], expected, atol=1e-6)


def test_an_ensemble_with_a_member_that_is_not_calibrated_estimates_nothing_of_it(saved: Path) -> None:
    other = saved.with_name("other.safetensors")
    tensors, card = load_tensors(saved)
    save_network(other, slightly_larger(tensors), card.model_copy(update={"quality": {"heart": RISING}}))
    both = inference.load([saved, other], device="cpu")
    assert both(disc()).quality.keys() == {"heart"}, "left_lung is a guess of one"
    amend_card(other, quality=None)
    for tta in (False, True):
        assert inference.load([saved, other], device="cpu", tta=tta)(disc()).quality == {}


def test_the_same_weights_twice_are_refused(saved: Path) -> None:
    with pytest.raises(ConfigError, match="given twice"):
        inference.load([saved, saved])


def test_a_card_without_a_calibration_can_be_read_by_earlier_versions(saved: Path) -> None:
    amend_card(saved, quality=None)
    assert "quality" not in load_tensors(saved)[1].model_dump_json()


class Pair(PretrainedWeights):
    """Two networks of one name."""

    both: ClassVar[tuple[Path, ...]]

    @property
    def file(self) -> Path:
        return self.both[0]

    @property
    def files(self) -> tuple[Path, ...]:
        return self.both

    @property
    def card(self) -> str:
        return ""


def test_a_name_can_stand_for_several_networks(saved: Path) -> None:
    other = saved.with_name("other.safetensors")
    tensors, card = load_tensors(saved)
    save_network(other, slightly_larger(tensors), card)
    Pair.both = (saved, other)
    known = Registry()
    for kind in ("model", "postprocess"):
        for component in registry().components(kind):
            known.add(component)
    known.add(Component("weights", "pair", Pair, "of a test", "tests", "0"))
    found = load_weights("pair", known, device="cpu")
    assert isinstance(found, Ensemble)
    assert found.weights is not None
    assert (found.weights.name, len(found.weights.members)) == ("pair", 2)
    with pytest.raises(ConfigError, match="holds 2 networks"):
        find_weights("pair", known)
