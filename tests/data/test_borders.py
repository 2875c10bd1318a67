"""Frames around films: taken off where they are, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrkit.data.borders import film_region
from cxrkit.plugins import registry


@pytest.fixture(scope="module")
def film() -> np.ndarray:
    """A synthetic radiograph."""
    dataset = registry().get("dataset", "phantom").build(None, count=1, size=96)
    return dataset.read(dataset.entries()[0]).image


def whole(pixels: np.ndarray) -> tuple[slice, slice]:
    return slice(0, pixels.shape[0]), slice(0, pixels.shape[1])


@given(st.tuples(*[st.integers(0, 60)] * 4), st.booleans())
def test_a_wide_frame_is_taken_off_and_a_thin_one_left(film, margins, white: bool) -> None:
    film = film_without_flat_lines(film)
    top, bottom, left, right = margins
    value = film.max() if white else film.min()
    framed = np.pad(film, ((top, bottom), (left, right)), constant_values=value)
    inside = slice(top, top + film.shape[0]), slice(left, left + film.shape[1])
    wide = film.size <= 0.8 * framed.size
    assert film_region(framed) == (inside if wide else whole(framed))


def film_without_flat_lines(film: np.ndarray) -> np.ndarray:
    """The film with a ramp along its sides, so that where it begins is beyond doubt."""
    film = film.copy()
    ramp = np.linspace(film.min(), film.max(), film.shape[0]).astype(film.dtype)
    film[0], film[-1], film[:, 0], film[:, -1] = ramp, ramp, ramp, ramp
    return film


def test_noise_of_jpeg_and_specks_do_not_hide_a_frame(film) -> None:
    film = film_without_flat_lines(film)
    span = float(film.max()) - float(film.min())
    framed = np.pad(film.astype(np.float32), 40, constant_values=film.min())
    frame = np.ones(framed.shape, bool)
    frame[40:-40, 40:-40] = False
    framed[frame] += (0.02 * span * np.random.default_rng(0).random(int(frame.sum()))).astype(np.float32)
    framed[5, 5] = film.max()
    assert film_region(framed) == (slice(40, 136), slice(40, 136))


@pytest.mark.parametrize("count", [40])
def test_films_without_frames_stay_whole(count: int) -> None:
    dataset = registry().get("dataset", "phantom").build(None, count=count, size=96)
    for entry in dataset.entries():
        pixels = dataset.read(entry).image
        assert film_region(pixels) == whole(pixels)


@pytest.mark.parametrize(
    "pixels",
    [
        np.tile(np.linspace(0, 255, 128), (128, 1)),
        np.pad(np.arange(64.0).reshape(8, 8), 100),  # a speck
        np.pad(np.arange(6000.0).reshape(20, 300), 30),  # a strip
        np.zeros((64, 64)),
        np.ones((1, 1)),
    ],
    ids=["gradient", "speck", "strip", "constant", "pixel"],
)
def test_what_would_remain_must_be_a_film(pixels: np.ndarray) -> None:
    assert film_region(pixels) == whole(pixels)
