"""Films as tensors: on the device where all of them fit, else read from the store a batch at a time."""

from __future__ import annotations

import os

import torch
from torch import Tensor

from cxrkit.config import RunConfig
from cxrkit.engine.films import Films
from cxrkit.interfaces import Batch


class FilmBatches:
    """Films and targets on the device where all of them fit, else read from the store a batch at a time."""

    def __init__(self, films: Films, indices: list[int], device: torch.device, config: RunConfig) -> None:
        self.films, self.positions, self.device = films, indices, device
        self.standardise = config.preprocess.standardise
        self.held: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}
        self.resident = fits(4 * config.preprocess.size**2 * (1 + len(films.channels)) * len(indices), device)
        if self.resident:
            self.images, self.targets = self._load(indices)

    def _load(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        images, targets = self.films.store.input_tensors(
            indices, background=self.films.background, standardise=self.standardise
        )
        return images.to(self.device), targets.to(self.device)

    def take(self, chosen: Tensor) -> Batch:
        """The films at these places of the training part."""
        if self.resident:
            chosen = chosen.to(self.device)
            return Batch(self.images[chosen], self.targets[chosen])
        return Batch(*self._load([self.positions[int(index)] for index in chosen]))

    def whole(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """All of some films, kept for the next time where memory allows."""
        key = tuple(indices)
        if key not in self.held:
            loaded = self._load(indices)
            if not self.resident:
                return loaded
            self.held[key] = loaded
        return self.held[key]


def fits(needed: int, device: torch.device) -> bool:
    """Whether so many bytes are less than half of a device's free memory."""
    return needed < 0.5 * _free_memory(device)


def _free_memory(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (ValueError, OSError, AttributeError):
        return 4e9
