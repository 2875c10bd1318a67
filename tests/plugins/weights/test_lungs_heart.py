"""The weights that come with cxrkit, on films that they never saw."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

import cxrkit
from cxrkit.errors import ConfigError
from cxrkit.plugins import registry

WINGSPAN = Path(__file__).parents[4] / "shared" / "data" / "wingspan"
TEST_FILMS = ("wingspan_085", "wingspan_074")


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


@pytest.mark.skipif(not WINGSPAN.is_dir(), reason="the wingspan films are not beside the project")
@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("name", TEST_FILMS)
def test_it_finds_lungs_and_heart_on_real_films(name: str, inverted: bool) -> None:
    film = cv2.imread(str(WINGSPAN / "images" / f"{name}.png"), cv2.IMREAD_GRAYSCALE)
    found = cxrkit.load(device="cpu")(255 - film if inverted else film)
    for structure, least in (("left_lung", 0.88), ("right_lung", 0.88), ("heart", 0.85)):
        truth = cv2.imread(str(WINGSPAN / "masks" / structure / f"{name}.png"), cv2.IMREAD_GRAYSCALE) > 127
        assert dice(found.masks[structure], truth) > least, structure


def test_it_is_small_and_its_card_says_what_it_must() -> None:
    weights = registry().get("weights", "lungs-heart").build()
    assert weights.file.stat().st_size < 8e6
    for word in ("not a medical device", "Data", "Licence", "Limits", "Scores"):
        assert word in weights.card


def test_unknown_weights_are_reported() -> None:
    with pytest.raises(ConfigError, match="no weights of that name"):
        cxrkit.load("lungs-hart")
