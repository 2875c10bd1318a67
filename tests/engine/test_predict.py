"""What a segmenter makes of a network's output: masks in one piece, and warnings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from cxrkit import Film
from cxrkit.config import ComponentConfig, PreprocessConfig
from cxrkit.engine.checkpoint import NetworkCard
from cxrkit.engine.predict import Segmenter
from cxrkit.interfaces import Model


class Bright(Model):
    """Finds the heart where the film is bright."""

    def __init__(self, channels: Sequence[str]) -> None:
        super().__init__(channels)
        self.gain = torch.nn.Parameter(torch.tensor(8.0))

    def forward(self, images: Tensor) -> Tensor:
        return self.gain * (images - 0.5)


CARD = NetworkCard(
    cxrkit="0",
    model=ComponentConfig(name="bright"),
    channels=("heart",),
    preprocess=PreprocessConfig(size=64, clahe=None),
    precision="32",
    package=("tests", "0"),
    step=1,
)


@pytest.fixture
def film() -> np.ndarray:
    """A bright square with a hole, and a smaller one apart from it."""
    pixels = np.zeros((64, 64), np.uint8)
    pixels[10:30, 10:30] = 255
    pixels[16:22, 16:22] = 0
    pixels[46:56, 46:56] = 255
    pixels[0, :] = 40  # of two values it would be taken for a mask
    return pixels


@pytest.mark.parametrize(("keep", "pixels"), [(False, 20 * 20), (True, 20 * 20 - 6 * 6 + 10 * 10)])
def test_a_heart_is_one_piece_without_holes_unless_all_is_kept(film: np.ndarray, keep: bool, pixels: int) -> None:
    found = Segmenter(Bright(("heart",)), CARD, device="cpu", keep_spots=keep)(film)
    assert int(found.masks["heart"].sum()) == pixels
    assert "heart: found in two places" in found.warnings
    assert found.probabilities["heart"][52, 52] > 0.9, "probabilities are those of the network"


def test_what_a_film_says_of_itself_comes_first_among_the_warnings(film: np.ndarray) -> None:
    found = Segmenter(Bright(("heart",)), CARD, device="cpu")(Film(film, None, ("it is a lateral one",)))
    assert found.warnings[:1] == ("it is a lateral one",)
    assert "heart: found in two places" in found.warnings
