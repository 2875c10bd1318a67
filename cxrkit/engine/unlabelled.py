"""Self-training: films without masks train on the masks that the averaged network draws of them.

The network that learns sees such a film deformed, darkened and mixed; its average over the last updates, which draws
the masks, sees the film as it is. That is a mean teacher (Tarvainen & Valpola 2017, arXiv:1703.01780) that gives hard
pseudo-labels (Lee 2013). They are drawn anew at every step: they get better along with the network, and a run that is
resumed needs no more than its weights to draw the same ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cxrkit.config import RunConfig, UnlabelledConfig
from cxrkit.data.store import Store, open_store
from cxrkit.data.unlabelled_folder import UnlabelledFolder
from cxrkit.engine.batches import fits
from cxrkit.engine.films import Films
from cxrkit.engine.forward import device_probabilities
from cxrkit.engine.hardware import to_device
from cxrkit.engine.observer import Observer
from cxrkit.files import home_path
from cxrkit.interfaces import BACKGROUND, Batch, Model


@dataclass(frozen=True)
class Unlabelled:
    """The films without masks of a run: where they lie, which they are, and how they train.

    Attributes:
        store: preprocessed films; masks that it may hold aren't read.
        indices: positions in it.
        own: it is a store of its own, not that of the films with masks.
        share: of the films that a step draws, how many are these, on average.
        settings: as asked for.
    """

    store: Store
    indices: tuple[int, ...]
    own: bool
    share: float
    settings: UnlabelledConfig


def find_unlabelled(config: RunConfig, films: Films, observer: Observer) -> Unlabelled | None:
    """The films without masks that a run asks for, prepared; None where it asks for none, or no film is left.

    Raises:
        DataError: the folder isn't there, has no films, or one can't be read.
    """
    settings = config.unlabelled
    if settings.films == "none":
        return None
    if settings.films == "rest":
        taken = {*films.split.train, *films.split.test, *films.split.left_out}
        rest = tuple(film for film in films.store.ids if film not in taken)
        store, indices = films.store, tuple(films.indices(rest))
    else:
        store = _prepare(UnlabelledFolder(home_path(settings.films).resolve()), config, observer)
        indices = _others(store, films, observer)
    if not indices:
        observer.say("All films train or test: none is left that could train without its masks.")
        return None
    # Else a handful of films would be seen more often than those with masks.
    even = len(indices) / (len(indices) + len(films.split.train))
    return Unlabelled(store, indices, settings.films != "rest", min(settings.share, even), settings)


def _others(store: Store, films: Films, observer: Observer) -> tuple[int, ...]:
    """The films of a folder that neither train with their masks nor test, whatever their files are called."""
    taken = set(films.store.image_hashes(films.indices((*films.split.train, *films.split.test))))
    kept = tuple(i for i, found in enumerate(store.image_hashes(range(len(store)))) if found not in taken)
    if left_out := len(store) - len(kept):
        observer.say(f"{left_out} of the {len(store)} films without masks train or test already: they are left out.")
    return kept


def _prepare(dataset: UnlabelledFolder, config: RunConfig, observer: Observer) -> Store:
    def progress(done: int, total: int) -> None:
        if done == 1:
            observer.stage("Preparing films without masks", total)
        observer.advance(done)

    return open_store(
        dataset, name="unlabelled", parameters={}, preprocess=config.preprocess, structures=(), progress=progress
    )


class PseudoLabels:
    """Puts films without masks into a run's batches.

    Args:
        unlabelled: the films.
        steps: of the whole run.
        device: of the batches.
        config: the run's.

    Attributes:
        start: the step from which they join.
    """

    def __init__(self, unlabelled: Unlabelled, steps: int, device: torch.device, config: RunConfig) -> None:
        self.unlabelled, self.device = unlabelled, device
        self.standardise = config.preprocess.standardise
        self.start = math.ceil(unlabelled.settings.start * steps)
        indices = unlabelled.indices
        resident = fits(4 * config.preprocess.size**2 * len(indices), device)
        self.images = self._load(indices) if resident else None

    def _load(self, indices: tuple[int, ...]) -> Tensor:
        return to_device(self.unlabelled.store.input_images(indices, standardise=self.standardise), self.device)

    def join(self, batch: Batch, teacher: Model, random: torch.Generator) -> Batch:
        """The drawn batch with some of its films replaced by films without masks, and what `teacher` makes of them.

        Args:
            batch: before augmentation.
            teacher: comes back in evaluation mode.
            random: decides how many, which and where.
        """
        # Rounded up or down by chance, so that the share holds on average for the smallest batch too.
        count = math.floor(self.unlabelled.share * len(batch) + float(torch.rand((), generator=random)))
        if count == 0:
            return batch
        replaced = torch.randperm(len(batch), generator=random)[:count]
        places = to_device(replaced, self.device)
        indices = self.unlabelled.indices
        chosen = torch.randperm(len(indices), generator=random).repeat(math.ceil(count / len(indices)))[:count]
        if self.images is not None:
            drawn = self.images[to_device(chosen, self.device)]
        else:
            drawn = self._load(tuple(indices[int(place)] for place in chosen))
        images, targets = batch.images.clone(), batch.targets.clone()
        images[places], targets[places] = drawn, pseudo_labels(teacher.eval(), drawn)
        # The teacher draws every mask.
        known = None if batch.known is None else batch.known.index_fill(0, replaced, True)
        return batch.with_(images=images, targets=targets, known=known)


def pseudo_labels(teacher: Model, images: Tensor) -> Tensor:
    """What a network in evaluation mode takes for the masks of images `(B, 1, H, W)`: `(B, C, H, W)` of 0 and 1.

    A last channel `background` is what belongs to no structure, as in targets that were drawn by hand.
    """
    found = (device_probabilities(teacher, images) > 0.5).float()
    if teacher.channels[-1] == BACKGROUND:
        found[:, -1] = 1 - found[:, :-1].amax(1)
    return found
