"""Films as tensors: on the device where all of them fit, else read from the store a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from cxrkit.config import RunConfig
from cxrkit.engine.films import Films
from cxrkit.engine.hardware import to_device
from cxrkit.interfaces import Batch


class FilmBatches:
    """Films and targets on the device where all of them fit, else read from the store a batch at a time."""

    def __init__(self, films: Films, indices: list[int], device: torch.device, config: RunConfig) -> None:
        self.films, self.positions, self.device = films, indices, device
        self.standardise = config.preprocess.standardise
        self.held: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}
        self.bytes_a_film = 4 * config.preprocess.size**2 * (1 + len(films.channels))
        self.resident = fits(self.bytes_a_film * len(indices), device)
        if self.resident:
            self.images, self.targets = self._load(indices)

    def _load(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        images, targets = self.films.store.input_tensors(
            indices, background=self.films.background, standardise=self.standardise
        )
        return to_device(images, self.device), to_device(targets, self.device)

    def take(self, chosen: Tensor) -> Batch:
        """The films at these places of the training part."""
        if self.resident:
            chosen = to_device(chosen, self.device)
            return Batch(self.images[chosen], self.targets[chosen])
        return Batch(*self._load([self.positions[int(index)] for index in chosen]))

    def each(self, indices: list[int], batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Some films of the store, a batch at a time; they stay on the device for the next time where they fit."""
        key = tuple(indices)
        if key not in self.held and fits(self.bytes_a_film * len(indices), self.device):
            self.held[key] = self._load(indices)
        if key in self.held:
            yield from zip(*(part.split(batch_size) for part in self.held[key]), strict=True)
            return
        for start in range(0, len(indices), batch_size):
            yield self._load(indices[start : start + batch_size])


def fits(needed: int, device: torch.device) -> bool:
    """Whether so many bytes are less than half of a device's free memory."""
    return needed < 0.5 * _free_memory(device)


def _free_memory(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    free = [found for found in (_available(), _left_of_container()) if found is not None]
    return min(free, default=4e9)


def _available() -> float | None:
    """What Linux could give to a process, the page cache included."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return 1024.0 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, ValueError, StopIteration):
        return None


def _left_of_container(folder: Path = Path("/sys/fs/cgroup")) -> float | None:
    """What a container's limit leaves; None where there is no container or no limit (`max`)."""
    try:
        limit, used = (int((folder / name).read_text()) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):
        return None
    return float(max(0, limit - used))
