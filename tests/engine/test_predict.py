"""What a segmenter makes of probabilities, whatever computes them: masks in one piece, and warnings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cxrkit import Film, Segmenter
from cxrkit.config import PreprocessConfig
from tests.data.test_dicom import write


class Bright:
    """Finds the heart where the film is bright, without any network: all that a segmenter asks for."""

    channels = ("heart", "background")
    preprocess = PreprocessConfig(size=64, clahe=None)
    weights = None

    def __call__(self, images: np.ndarray) -> np.ndarray:
        heart = 1 / (1 + np.exp(-8 * (images - 0.5)))
        return np.concatenate([heart, 1 - heart], axis=1).astype(np.float32)


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
    found = Segmenter(Bright(), keep_spots=keep)(film)
    assert int(found.masks["heart"].sum()) == pixels
    assert "heart: found in two places" in found.warnings
    assert found.probabilities["heart"][52, 52] > 0.9, "probabilities are those of the network"


def test_what_a_film_says_of_itself_comes_first_among_the_warnings(film: np.ndarray) -> None:
    found = Segmenter(Bright())(Film(film, None, ("it is a lateral one",)))
    assert found.warnings[:1] == ("it is a lateral one",)
    assert "heart: found in two places" in found.warnings


def test_a_border_changes_nothing_inside_it() -> None:
    film = np.random.default_rng(0).integers(20, 200, (96, 80), dtype=np.uint8)
    film[0, 0], film[-1, -1], film[:, :30] = 0, 255, 250
    framed = np.pad(film, ((50, 30), (40, 60)))
    plain, found = Segmenter(Bright())(film), Segmenter(Bright())(framed)
    inside = (slice(50, -30), slice(40, -60))
    for maps, whole in ((plain.probabilities, found.probabilities), (plain.masks, found.masks)):
        assert whole["heart"].shape == framed.shape
        np.testing.assert_array_equal(whole["heart"][inside], maps["heart"])
        assert whole["heart"].sum(dtype=float) == pytest.approx(maps["heart"].sum(dtype=float)), "nothing outside"
    assert found.warnings == plain.warnings
    kept = Segmenter(Bright(), keep_borders=True)(framed)
    assert not np.array_equal(kept.probabilities["heart"][inside], plain.probabilities["heart"])


def test_the_window_of_dicom_films_can_be_chosen(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 4096, (40, 30)).astype(np.uint16)
    path = write(tmp_path / "film.dcm", pixels, WindowCenter=1000, WindowWidth=1000)
    np.testing.assert_array_equal(Segmenter(Bright(), window=None)(path).film.pixels, pixels)
    assert (Segmenter(Bright())(path).film.pixels != pixels).any()
