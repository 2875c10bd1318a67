"""Self-training: films without masks train on the masks that the averaged network draws of them.

The network that learns sees such a film deformed, darkened and mixed; its average over the last updates, which draws
the masks, sees the film as it is. That is a mean teacher (Tarvainen & Valpola 2017, arXiv:1703.01780) that gives hard
pseudo-labels (Lee 2013). They are drawn again at every step: they get better along with the network, and a run that is
resumed needs no more than its weights to draw the same ones. Masks that training films lack are drawn likewise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cxrkit.config import PreprocessConfig, RunConfig, UnlabelledConfig
from cxrkit.data.preprocess import before_levels
from cxrkit.data.store import Store, open_store
from cxrkit.data.stored_films import StoredFilms
from cxrkit.data.unlabelled_folder import UnlabelledFolder
from cxrkit.engine.batches import fits
from cxrkit.engine.films import Films, progress_of, report_remarks
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
        fingerprint: that of a folder of such films; None where they are films of the data itself.
        share: of the films that a step draws, how many are these, on average.
        settings: as asked for.
        as_taken: whether they are films before levels and CLAHE, as those that they join.
    """

    store: Store
    indices: tuple[int, ...]
    fingerprint: str | None
    share: float
    settings: UnlabelledConfig
    as_taken: bool = False


def find_unlabelled(config: RunConfig, films: Films, observer: Observer) -> Unlabelled | None:
    """The films without masks that a run asks for, prepared; None where it asks for none, or no mask is left to draw.

    Raises:
        DataError: the folder isn't there, has no films, or one can't be read.
    """
    settings, split, fingerprint = config.unlabelled, films.split, None
    if settings.films == "none":
        return None
    if settings.films == "rest":
        taken = {*split.train, *split.test, *split.left_out}
        store = films.source
        indices = tuple(index for index, film in enumerate(store.ids) if film not in taken)
    else:
        preprocess = config.preprocess if films.as_taken is None else before_levels(config.preprocess)
        store = _open_folder(home_path(settings.films).resolve(), preprocess, observer)
        fingerprint = store.content_hash
        indices = store.without(films.source, films.indices((*split.train, *split.test)))
        if left_out := len(store) - len(indices):
            observer.say(
                f"{left_out} of the {len(store)} films without masks are training or test films already, "
                "and are left out."
            )
    if not indices and films.incomplete is None:
        observer.say("All films are training or test films: none is left to train on without its masks.")
        return None
    # Else a handful of films would be seen more often than those with masks.
    even = len(indices) / (len(indices) + len(split.train))
    share, as_taken = min(settings.share, even), films.as_taken is not None
    return Unlabelled(store, indices, fingerprint, share, settings, as_taken)


def _open_folder(folder: Path, preprocess: PreprocessConfig, observer: Observer) -> Store:
    store = open_store(
        UnlabelledFolder(folder),
        name="unlabelled",
        parameters={},
        preprocess=preprocess,
        structures=(),
        progress=progress_of("Preparing films without masks", observer),
    )
    report_remarks(store, "films without masks", observer)
    return store


class PseudoLabels:
    """Puts films without masks into a run's batches, and fills in the masks that their other films lack.

    Args:
        unlabelled: the films.
        steps: of the whole run.
        device: of the batches.
        config: the run's.
        network_input: makes what the network sees of films as they were taken.

    Attributes:
        start: the step from which they join.
    """

    def __init__(
        self,
        unlabelled: Unlabelled,
        steps: int,
        device: torch.device,
        config: RunConfig,
        network_input: Callable[[Batch], Batch] = lambda batch: batch,
    ) -> None:
        self.unlabelled, self.device, self.network_input = unlabelled, device, network_input
        self.standardise = config.preprocess.standardise
        self.start = math.ceil(unlabelled.settings.start * steps)
        indices = unlabelled.indices
        resident = bool(indices) and fits(2 * config.preprocess.size**2 * len(indices), device)
        self.films = self._load(indices) if resident else None

    def _load(self, indices: tuple[int, ...]) -> StoredFilms:
        kind = {"standardise": self.standardise, "masks": False, "as_taken": self.unlabelled.as_taken}
        films = self.unlabelled.store.films(indices, **kind)
        return films.map(lambda values: to_device(values, self.device))

    def join(self, batch: Batch, teacher: Model, random: torch.Generator) -> Batch:
        """A batch, not yet augmented, with some of its films replaced by films without masks, and no unknown masks.

        `teacher` draws all masks that are unknown, and stays in evaluation mode; `random` decides how many films are
        replaced, which and where.
        """
        # Rounded up or down by chance, so that the share holds on average for the smallest batch too.
        count = math.floor(self.unlabelled.share * len(batch) + float(torch.rand((), generator=random)))
        replaced = torch.randperm(len(batch), generator=random)[:count] if count else torch.arange(0)
        known = torch.ones(batch.targets.shape[:2], dtype=torch.bool) if batch.known is None else batch.known.clone()
        known[replaced] = False
        lacking = (~known.all(1)).index_fill(0, replaced, False).nonzero().flatten()
        drawn = torch.cat([replaced, lacking])
        if len(drawn) == 0:
            return batch
        images, targets, regions = batch.images.clone(), batch.targets.clone(), batch.regions
        if count:
            films = self._draw_films(count, random)
            images[to_device(replaced, self.device)] = films.images()
            if regions is not None and films.regions is not None:
                regions = regions.index_copy(0, replaced, films.regions)
        batch = batch.with_(images=images, targets=targets, regions=regions)
        places = to_device(drawn, self.device)
        labels = pseudo_labels(teacher.eval(), self.network_input(batch.pick(drawn)).images).to(self.device)
        given = to_device(known[drawn], self.device)[:, :, None, None]
        targets[places] = _with_background(torch.where(given, targets[places], labels), teacher.channels)
        return batch.with_(known=None if batch.known is None else known.fill_(True))

    def _draw_films(self, count: int, random: torch.Generator) -> StoredFilms:
        """So many films without masks."""
        indices = self.unlabelled.indices
        chosen = torch.randperm(len(indices), generator=random).repeat(math.ceil(count / len(indices)))[:count]
        if self.films is not None:
            return self.films.pick(chosen)
        return self._load(tuple(indices[int(place)] for place in chosen))


def pseudo_labels(teacher: Model, images: Tensor) -> Tensor:
    """What a network in evaluation mode takes for the masks of images `(B, 1, H, W)`: `(B, C, H, W)` of 0 and 1.

    A last channel `background` is what belongs to no structure, as in targets that were drawn by hand.
    """
    return _with_background((device_probabilities(teacher, images) > 0.5).float(), teacher.channels)


def _with_background(masks: Tensor, channels: Sequence[str]) -> Tensor:
    """Masks whose last channel, if it is the background, is what the others leave; changed in place."""
    if channels[-1] == BACKGROUND:
        masks[:, -1] = 1 - masks[:, :-1].amax(1)
    return masks
