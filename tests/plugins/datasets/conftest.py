"""Small films and masks on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def box(shape: tuple[int, int], rows: slice, columns: slice) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    mask[rows, columns] = 255
    return mask


@pytest.fixture
def write_film() -> Callable[..., Path]:
    """Write a film of random greys: `write_film(path, shape=(24, 20), dtype=np.uint8)`."""

    def write(path: Path, shape: tuple[int, int] = (24, 20), dtype: type = np.uint8) -> Path:
        high = np.iinfo(dtype).max
        return save(path, np.random.default_rng(len(path.name)).integers(0, high, shape).astype(dtype))

    return write


@pytest.fixture
def write_mask() -> Callable[..., Path]:
    """Write a mask with a box in it: `write_mask(path, shape=(24, 20), value=255)`."""

    def write(path: Path, shape: tuple[int, int] = (24, 20), value: int = 255) -> Path:
        mask = box(shape, slice(4, 12), slice(3, 9))
        return save(path, np.where(mask > 0, value, 0).astype(np.uint8))

    return write


@pytest.fixture
def folder(tmp_path: Path, write_film: Callable[..., Path], write_mask: Callable[..., Path]) -> Path:
    """Three films, a, b and c, with masks of the heart and the left lung."""
    root = tmp_path / "films"
    for name in "abc":
        write_film(root / "images" / f"{name}.png")
        write_mask(root / "masks" / "heart" / f"{name}.png")
        write_mask(root / "masks" / "left lung" / f"{name}.gif")
    return root
