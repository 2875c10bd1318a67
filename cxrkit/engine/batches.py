"""Batches: films as tensors, on the device where all of them fit, and what the augments make of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cxrkit.config import ComponentConfig, PreprocessConfig, RunConfig
from cxrkit.data.preprocess import network_input
from cxrkit.data.store import Store
from cxrkit.data.stored_films import StoredFilms
from cxrkit.engine.films import Films
from cxrkit.engine.hardware import to_device
from cxrkit.engine.sampling import Sampler
from cxrkit.errors import ConfigError, ContractError
from cxrkit.interfaces import Augment, Batch
from cxrkit.registry import Registry

_CHECK = "Fix the augment; `cxrkit plugins check` says more."


class FilmBatches:
    """A run's films on the device, as they are stored, where all of them fit; else read from the store by batches.

    So are those of a run that draws fewer films than there are: reading all of them would only delay its start.
    Training films as they were taken stay on the CPU, which makes the network's input of them.

    Args:
        indices: the training films in the store.
        drawn: how many of them the whole run takes, counted as often as it takes them.

    Attributes:
        waited: seconds that `take` has waited for the disk.
    """

    def __init__(self, films: Films, indices: list[int], device: torch.device, config: RunConfig, drawn: int) -> None:
        self.films, self.positions, self.device = films, indices, device
        self.standardise = config.preprocess.standardise
        self.bytes_a_film = config.preprocess.size**2 * (2 + len(films.store.structures))
        self.held: dict[tuple[int, ...], StoredFilms] = {}
        self.place = device if films.as_taken is None else torch.device("cpu")
        resident = drawn >= len(indices) and fits(self.bytes_a_film * len(indices), self.place)
        self.resident = self._load(films.source, indices, self.place) if resident else None
        self.reader = ThreadPoolExecutor(1, "cxrkit-batches")
        self.ahead: dict[tuple[int, ...], Future[StoredFilms]] = {}
        self.waited = 0.0

    def _read(self, store: Store, indices: list[int]) -> StoredFilms:
        return store.films(indices, standardise=self.standardise, as_taken=store is self.films.as_taken)

    def _load(self, store: Store, indices: list[int], device: torch.device) -> StoredFilms:
        return self._read(store, indices).map(lambda values: to_device(values, device))

    def take(self, chosen: Tensor, following: Tensor | None = None) -> Batch:
        """The films at these places of the training part; a thread reads `following` meanwhile, if it must be read."""
        if self.resident is not None:
            return self.resident.pick(chosen).batch(background=self.films.background)
        began = time.monotonic()
        reading = self.ahead.pop(tuple(chosen.tolist()), None) or self._begin(chosen)
        films = reading.result()
        self.waited += time.monotonic() - began
        self.ahead.clear()
        if following is not None:
            self.ahead[tuple(following.tolist())] = self._begin(following)
        return films.map(lambda values: to_device(values, self.place)).batch(background=self.films.background)

    def _begin(self, chosen: Tensor) -> Future[StoredFilms]:
        return self.reader.submit(self._read, self.films.source, [self.positions[index] for index in chosen.tolist()])

    def each(self, indices: list[int], batch_size: int) -> Iterator[Batch]:
        """Some films of the store, a batch at a time; they stay on the device for the next time where they fit."""
        key = tuple(indices)
        if key not in self.held and fits(self.bytes_a_film * len(indices), self.device):
            self.held[key] = self._load(self.films.store, indices, self.device)
        for start in range(0, len(indices), batch_size):
            some = slice(start, start + batch_size)
            held = self.held.get(key)
            films = self._load(self.films.store, indices[some], self.device) if held is None else held.pick(some)
            yield films.batch(background=self.films.background)


class NetworkInput:
    """Makes the network's input of batches of films as they were taken: levels, CLAHE, and what follows, on the CPU.

    Args:
        config: the network's preprocessing.
        device: where the batches go.
    """

    def __init__(self, config: PreprocessConfig, device: torch.device) -> None:
        self.config, self.device = config, device

    def __call__(self, batch: Batch) -> Batch:
        """The batch on the device; one that holds the network's input already is returned unchanged."""
        if batch.regions is None:
            return batch
        films = zip(batch.images[:, 0].numpy(), batch.regions.tolist(), strict=True)
        images = np.stack([network_input(film, tuple(content), self.config) for film, content in films])
        made = batch.with_(images=torch.from_numpy(images), regions=None)
        return made.map(lambda values: to_device(values, self.device))


def sampler_of(config: RunConfig, films: Films, augments: Sequence[Augment], processes: int) -> Sampler:
    """Which films each step of a run sees.

    Raises:
        DataError: there are too few for a batch, or it can't be divided evenly; see `Sampler`.
    """
    weights = {item.alias: item.weight for item in config.datasets}
    return Sampler(
        len(films.split.train),
        config.train.batch_size,
        math.prod(augment.draws for augment in augments),
        config.seed,
        processes,
        tuple(weights.get(entry.dataset, 1.0) for entry in films.training),
    )


def build_augments(items: Sequence[ComponentConfig], registry: Registry) -> list[Augment]:
    """The augments of a configuration, in its order, those that act on films as they were taken first.

    Raises:
        ConfigError: one that mixes films comes before one that doesn't. ContractError: one that mixes films as they
            were taken.
    """
    built = [(item.name, registry.get("augment", item.name).build(**item.params)) for item in items]
    built.sort(key=lambda one: one[1].stage != "film")
    names, augments = [name for name, _ in built], [augment for _, augment in built]
    pairing = [augment.draws > 1 for augment in augments]
    for name, augment in built:
        if augment.stage == "film" and augment.draws > 1:
            raise ContractError(f"{name}: films as they were taken can't be mixed.", _CHECK)
    if pairing != sorted(pairing):
        raise ConfigError(
            f"The augments {', '.join(names)} can't run in this order: those that mix films come last.",
            f"Move {names[pairing.index(True)]} to the end.",
        )
    return augments


def augment_batch(
    augments: Sequence[Augment],
    batch: Batch,
    generator: torch.Generator,
    network_input: Callable[[Batch], Batch] = lambda batch: batch,
) -> Batch:
    """A drawn batch after all augments, in their order; `network_input` comes after those of the stage "film".

    Raises:
        ContractError: one returned something else than a batch of the expected shapes.
    """
    for augment in augments:
        batch = batch if augment.stage == "film" else network_input(batch)
        films, before = len(batch) // augment.draws, batch
        batch = augment(batch, generator)
        name = type(augment).__name__
        if not isinstance(batch, Batch):
            raise ContractError(f"{name}: expected a cxrkit.Batch, got a {type(batch).__name__}.", _CHECK)
        if before.known is not None and batch.known is None:
            raise ContractError(
                f"{name}: its batches no longer say which masks are known.",
                "Fix the augment: return `batch.with_(...)`; of films that are mixed, `known` is the logical and.",
            )
        if before.regions is not None and batch.regions is None:
            raise ContractError(
                f"{name}: its batches no longer say where the films lie.", "Fix the augment: return `batch.with_(...)`."
            )
        for what in ("images", "targets", "known", "regions"):
            new, old = getattr(batch, what), getattr(before, what)
            if old is not None and tuple(new.shape) != (films, *old.shape[1:]):
                expected = (films, *old.shape[1:])
                raise ContractError(f"{name}: expected {what} of shape {expected}, got {tuple(new.shape)}.", _CHECK)
    return network_input(batch)


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
