"""A small dataset that a test can spoil at will."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from cxrkit.interfaces import Dataset, Entry, Sample

Change = Callable[[Sample], object]


def chest(number: int, shape: tuple[int, int] = (160, 144)) -> Sample:
    """A crude chest: two dark lungs, a heart between them, noise by number."""
    rows, columns = np.indices(shape) / np.array(shape)[:, None, None]

    def ellipse(row: float, column: float, height: float, width: float) -> np.ndarray:
        return np.asarray(((rows - row) / height) ** 2 + ((columns - column) / width) ** 2 < 1)

    size = 1 + 0.01 * (number % 5)
    masks = {
        "left_lung": ellipse(0.5, 0.72, 0.35 * size, 0.15),
        "right_lung": ellipse(0.5, 0.28, 0.35 * size, 0.17),
        "heart": ellipse(0.62, 0.53, 0.15 * size, 0.14),
    }
    image = np.full(shape, 30_000.0)
    image[masks["left_lung"] | masks["right_lung"]] = 12_000
    image[masks["heart"]] = 36_000
    image += np.random.default_rng(number).normal(0, 900, shape) + 8_000 * (rows - 0.5)
    return Sample(f"film_{number:03d}", image.clip(0, 65535).astype(np.uint16), masks, (0.2, 0.2))


@dataclass
class _Settings:
    count: int = 6
    change: dict[str, Change] = field(default_factory=dict)
    entries: Sequence[Entry] | None = None


class ChestDataset(Dataset):
    """`count` chests; each has a file of its own, whose size and time key the store. `change` alters a sample."""

    structures = ("left_lung", "right_lung", "heart")

    def __init__(self, root: Path, **settings: object) -> None:
        super().__init__(root)
        self.settings = _Settings(**settings)  # type: ignore[arg-type]
        self.reads: list[str] = []
        self._lock = threading.Lock()
        for number in range(self.settings.count):
            file = root / f"film_{number:03d}.raw"
            if not file.exists():
                file.write_bytes(b"raw")

    def entries(self) -> Sequence[Entry]:
        if self.settings.entries is not None:
            return self.settings.entries
        numbers = range(self.settings.count)
        return [Entry(f"film_{n:03d}", f"patient_{n:03d}", (self.root / f"film_{n:03d}.raw",)) for n in numbers]  # type: ignore[operator]

    def read(self, entry: Entry) -> Sample:
        with self._lock:
            self.reads.append(entry.id)
        sample = chest(int(entry.id.removeprefix("film_")))
        return self.settings.change.get(entry.id, lambda s: s)(sample)  # type: ignore[return-value]


@pytest.fixture
def chests(tmp_path: Path) -> Callable[..., ChestDataset]:
    """Make a `ChestDataset` in the test's folder."""

    def make(**settings: object) -> ChestDataset:
        root = tmp_path / "films"
        root.mkdir(exist_ok=True)
        return ChestDataset(root, **settings)

    return make


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("CXRKIT_CACHE", str(folder))
    return folder
