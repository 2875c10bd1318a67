"""A run's updates and predictions on random films, to see what they cost: nothing is read, written or learnt.

The updates are those of `loop.py`, the predictions those of `forward.py`; only the films are made up.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from cxrkit.config import RunConfig
from cxrkit.data.joined import structures_of
from cxrkit.data.splits import Split
from cxrkit.data.store import Store
from cxrkit.data.stored_films import StoredFilms
from cxrkit.engine.batches import build_augments
from cxrkit.engine.capture import CapturedPass
from cxrkit.engine.films import Films, build_datasets
from cxrkit.engine.forward import pad_to_multiple, probabilities
from cxrkit.engine.hardware import autocast, choose_precision, make_fabric, synchronise
from cxrkit.engine.loop import TrainingLoop
from cxrkit.engine.observer import Observer, Silent
from cxrkit.engine.run import RunDirectory
from cxrkit.engine.sampling import generator
from cxrkit.engine.starting import Start
from cxrkit.errors import ConfigError, CxrkitError, DataError, TrainingError
from cxrkit.interfaces import Entry, Model
from cxrkit.registry import Registry

#: Of the learning rate's schedule: far more than are ever rehearsed.
_STEPS = 100_000


class RandomFilms(Store):
    """A store of made-up films: noise, on which each structure that is known is an ellipse somewhere in the middle."""

    def films(
        self, indices: Sequence[int], *, standardise: bool, masks: bool = True, as_taken: bool = False
    ) -> StoredFilms:
        """Films whose images are in [0, 1] or of mean 0 and variance 1, with their masks."""
        random = generator(0, "rehearsal")
        shape = (len(indices), self.size, self.size)
        grey = torch.randint(-(2**15), 2**15, shape, dtype=torch.int16, generator=random)
        levels = torch.tensor([0.5, 12**-0.5] if standardise and not as_taken else [0.0, 1.0]).expand(len(indices), 2)
        ellipses = torch.rand((4, len(indices), len(self.structures), 1, 1), generator=random)
        centre_y, centre_x = 0.3 + 0.4 * ellipses[:2]
        radius_y, radius_x = 0.1 + 0.2 * ellipses[2:]
        side = torch.linspace(0, 1, self.size)
        inside = ((side[:, None] - centre_y) / radius_y) ** 2 + ((side - centre_x) / radius_x) ** 2 <= 1
        regions = torch.tensor([0, 0, self.size, self.size]).expand(len(indices), 4) if as_taken else None
        return StoredFilms(grey, levels, inside, self.known_channels(indices, background=False), regions)


class Rehearsal:
    """A run's network, losses and optimizers on random films, of which it can make single updates and predictions.

    Self-training plays no part in it.

    Args:
        config: the run's, resolved.
        padded: whether films may be padded for the network, as a training pads them.
        labelled: the structures that the films have masks of; None: all.
        start: the weights that it begins with; None: random ones.
        observer: is informed of what is taken of them.

    Attributes:
        device, precision: what `auto` meant here.
        parameters: how many numbers of the network are trained.

    Raises:
        ConfigError: a device that isn't there, several of them, or a size that the network would be shown padded.
        DataError: the structures aren't known without the films.
        CxrkitError: a component that can't be built. TrainingError: no memory.
    """

    def __init__(
        self,
        config: RunConfig,
        registry: Registry,
        *,
        padded: bool = False,
        labelled: tuple[str, ...] | None = None,
        start: Start | None = None,
        observer: Observer | None = None,
    ) -> None:
        if config.train.devices * config.train.num_nodes > 1:
            raise ConfigError("Several devices can't be measured.", "Set train.devices=1 and train.num_nodes=1.")
        alone = {"steps": _STEPS, "epochs": None, "strategy": "auto"}
        config = config.model_copy(update={"train": config.train.model_copy(update=alone)})
        self.fabric = make_fabric(config.train)
        self.device = self.fabric.device
        self.precision = choose_precision(config.train.precision, self.device)
        before = _allocated(self.device)
        films = _random_films(config, registry, labelled)
        nowhere = RunDirectory(Path(os.devnull))  # nothing is written
        with _readable_failures():
            self.loop = TrainingLoop(nowhere, config, registry, films, None, self.fabric, observer or Silent(), start)
            self.film = self.loop.network_input(self.loop.batches.take(torch.tensor([0]))).images
        self.held = _allocated(self.device) - before
        self.parameters = sum(p.numel() for p in self.loop.network.parameters() if p.requires_grad)
        if not padded:
            _check_size(config, self.loop.network.size_multiple)

    def update(self) -> float:
        """Make an update of the network, as a training does, and return the seconds that it took.

        Raises:
            TrainingError: no memory, or a loss that isn't finite. ConfigError: a batch too small to be normalised.
        """
        synchronise(self.device)
        began = time.perf_counter()
        with _readable_failures():
            self.loop.update()
            synchronise(self.device)
            seconds = time.perf_counter() - began
            self.loop.look(threading.Event())
        return seconds

    def predict(self) -> float:
        """Predict one film's probabilities, and return the seconds from its tensor on the device to them on the CPU.

        Raises:
            TrainingError: no memory.
        """
        network = self.loop.kept_network().eval()
        synchronise(self.device)
        began = time.perf_counter()
        with _readable_failures(), autocast(self.device, self.precision):
            probabilities(network, self.film, batch_size=1)
        return time.perf_counter() - began

    def multiply_adds(self) -> int:
        """Multiply-adds of one film's forward pass: those of its convolutions and matrix products."""
        with _readable_failures():
            return count_multiply_adds(self.loop.kept_network().eval(), self.film)

    def warm_up(self) -> int | None:
        """Make some updates and predictions, so that what happens once is over.

        Returns the most bytes that an update occupies, with the network, optimizers and films; None but on CUDA.
        """
        others = _allocated(self.device) - self.held
        self.update()
        self.predict()
        if self.device.type != "cuda":
            self.update()
            self.predict()
            return None
        torch.cuda.reset_peak_memory_stats(self.device)
        self.update()
        peak = torch.cuda.max_memory_allocated(self.device) - others
        for _ in range(CapturedPass.WARM_UP):  # until a graph is recorded, whose memory the counter doesn't see
            self.update()
        self.predict()
        return peak


@torch.no_grad()
def count_multiply_adds(network: Model, film: Tensor) -> int:
    """Multiply-adds of a forward pass in convolutions and matrix products, in evaluation mode; on any device.

    As they are executed: where a transposed convolution is computed as an ordinary one with zeros among its weights, as
    in attn-bcdu and focal-attn-unet, multiplications by these count.
    """
    with _no_fused_products(), FlopCounterMode(display=False) as counter:
        network(pad_to_multiple(film, network.size_multiple))
    return int(counter.get_total_flops()) // 2


def _random_films(config: RunConfig, registry: Registry, labelled: tuple[str, ...] | None) -> Films:
    """As many made-up films as an update draws, all of which train."""
    if config.structures:
        structures = tuple(config.structures)
    else:
        try:
            structures = structures_of(build_datasets(config, registry), None)
        except CxrkitError as error:
            remedy = error.remedy.replace("--data ", "--set data.root=")  # there is no --data here
            raise DataError(
                f"The number of channels cannot be determined without the data: {error.what}",
                f"Name the structures: --set 'structures=[left_lung,right_lung,heart]'. Or: {remedy}",
            ) from error
    augments = build_augments(config.augment, registry)
    draws = math.prod(augment.draws for augment in augments)
    ids = tuple(f"random-{number}" for number in range(draws * config.train.batch_size))
    entries = tuple(Entry(name, name, labelled=labelled) for name in ids)
    store = RandomFilms(Path(os.devnull), entries, structures, config.preprocess.size, (), "")
    as_taken = store if any(augment.stage == "film" for augment in augments) else None
    split, channels = Split(train=ids, validation=(), test=(), seed=0), store.channels(background=config.background)
    return Films(store, split, channels, as_taken)


def _check_size(config: RunConfig, multiple: int) -> None:
    """Refuse films that the engine would pad: what was measured would be of a larger size than asked for."""
    size = config.preprocess.size
    if size % multiple:
        near = [number for number in (size // multiple * multiple, -(-size // multiple) * multiple) if number]
        raise ConfigError(
            f"--size {size}: is not a multiple of {multiple}, which the network {config.model.name} needs: films "
            f"would be padded, and what was measured would be {near[-1]}.",
            f"Use --size {' or '.join(map(str, near))}.",
        )


@contextmanager
def _no_fused_products() -> Iterator[None]:
    """Let attention and recurrent layers multiply matrices: torch counts some of their fused kernels as nothing."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with (
            sdpa_kernel(SDPBackend.MATH),
            torch.backends.mkldnn.flags(enabled=False, allow_tf32=None),
            torch.backends.cudnn.flags(enabled=False, allow_tf32=None),
        ):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


@contextmanager
def _readable_failures() -> Iterator[None]:
    """Explain failures that a user can do something about; any other, a component's defect, is raised unchanged."""
    try:
        yield
    except TrainingError as error:
        raise TrainingError(
            "The loss or the gradients of an update on random films are not finite.",
            "Lower the learning rate (--set train.lr=1e-4), or use --precision 32.",
        ) from error
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        raise TrainingError(
            "There isn't enough memory.", "Use a smaller --batch-size or --size, or leave this arm out."
        ) from error


def _allocated(device: torch.device) -> int:
    """Bytes of tensors on a CUDA device; 0 on others, which keep no such account."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
