"""Masks without the spots that lie apart from the structure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

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


@pytest.mark.parametrize(("keep", "pixels"), [(False, 20 * 20), (True, 20 * 20 - 6 * 6 + 10 * 10)])
def test_a_heart_is_one_piece_without_holes_unless_all_is_kept(keep: bool, pixels: int) -> None:
    film = np.zeros((64, 64), np.uint8)
    film[10:30, 10:30] = 255
    film[16:22, 16:22] = 0
    film[46:56, 46:56] = 255
    film[0, :] = 40  # of two values it would be taken for a mask
    card = NetworkCard(
        cxrkit="0",
        model=ComponentConfig(name="bright"),
        channels=("heart",),
        preprocess=PreprocessConfig(size=64, clahe=None),
        precision="32",
        package=("tests", "0"),
        step=1,
    )
    found = Segmenter(Bright(("heart",)), card, device="cpu", keep_spots=keep)(film)
    assert int(found.masks["heart"].sum()) == pixels
    assert "heart: found in two places" in found.warnings
    assert found.probabilities["heart"][52, 52] > 0.9, "probabilities are those of the network"
