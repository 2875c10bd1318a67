"""JSRT's raw films in their exact format, and what is told about other files of that suffix."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cxrkit.data.images import read_film, read_mask
from cxrkit.data.jsrt_img import read_img
from cxrkit.errors import DataError

#: 2048 × 2048 values of 12 bits, as they are to come out; the corners tell transposed or mirrored films.
BRIGHT = np.add.outer(np.arange(2048), np.arange(0, 4096, 2) // 2).astype(np.uint16) % 4093
BRIGHT[0, 0], BRIGHT[0, -1] = 4095, 0


def stored(path: Path, bright: np.ndarray = BRIGHT) -> Path:
    """The film as JSRT stores it: big-endian, high values dark."""
    (4095 - bright.astype(np.int32)).astype(">u2").tofile(path)
    return path


@pytest.mark.parametrize("name", ["JPCLN001.IMG", "film.img"])
def test_films_come_out_with_bone_bright_and_in_millimetres(tmp_path: Path, name: str) -> None:
    film = read_film(stored(tmp_path / name))
    assert film.pixels.dtype == np.uint16
    assert film.pixels.dtype.isnative
    np.testing.assert_array_equal(film.pixels, BRIGHT)
    assert film.spacing == (0.175, 0.175)


@pytest.mark.parametrize(("length", "state"), [(8_388_607, "truncated"), (0, "truncated"), (8_388_610, "not a raw")])
def test_films_of_another_length_are_reported(tmp_path: Path, length: int, state: str) -> None:
    path = tmp_path / "JPCLN001.IMG"
    path.write_bytes(b"\0" * length)
    with pytest.raises(DataError, match=state) as caught:
        read_img(path)
    assert str(path) in caught.value.what
    assert "expected 8,388,608 bytes" in caught.value.what
    assert f"found {length:,}" in caught.value.what


def test_more_than_twelve_bits_are_reported(tmp_path: Path) -> None:
    path = tmp_path / "JPCLN001.IMG"
    BRIGHT.astype("<u2").tofile(path)
    with pytest.raises(DataError, match="little-endian") as caught:
        read_img(path)
    assert "12 bits" in caught.value.what

    film = BRIGHT.copy()
    film[0, 0] = 4096
    film.astype(">u2").tofile(path)
    with pytest.raises(DataError, match="values up to 4096") as caught:
        read_img(path)
    assert "little-endian" not in caught.value.what


def test_a_film_that_shows_nothing_or_is_missing_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="every pixel is 4088"):
        read_film(stored(tmp_path / "flat.IMG", np.full((2048, 2048), 4088)))
    with pytest.raises(DataError, match="can't be read"):
        read_img(tmp_path / "none.IMG")


def test_a_raw_film_is_no_mask(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"film\.img: is a raw file"):
        read_mask(stored(tmp_path / "film.img"))
