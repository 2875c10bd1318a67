"""From a configuration to films ready for the network: dataset, store, split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cxrkit.config import RunConfig
from cxrkit.data.making import Progress
from cxrkit.data.splits import Split, make_split
from cxrkit.data.store import Store, open_store
from cxrkit.engine.observer import Observer
from cxrkit.errors import DataError
from cxrkit.files import home_path
from cxrkit.interfaces import BACKGROUND, Dataset
from cxrkit.registry import Registry


@dataclass(frozen=True)
class Films:
    """The preprocessed films of a run and how they are split.

    Attributes:
        store: films and masks at the network's size.
        split: ids that train, validate and test.
        channels: the network's output channels: the structures, and `background` last if the run has it.
    """

    store: Store
    split: Split
    channels: tuple[str, ...]

    def indices(self, ids: tuple[str, ...]) -> list[int]:
        """Positions in the store of some ids."""
        position = {film: index for index, film in enumerate(self.store.ids)}
        return [position[film] for film in ids]

    @property
    def background(self) -> bool:
        """Whether the last channel is the background."""
        return self.channels[-1] == BACKGROUND


def build_dataset(config: RunConfig, registry: Registry) -> Dataset:
    """The dataset that a configuration names, over its root made absolute."""
    root: Path | None = config.data.root
    component = registry.get("dataset", config.data.name)
    dataset: Dataset = component.build(home_path(root).resolve() if root else None, **config.data.params)
    return dataset


def prepare_store(config: RunConfig, registry: Registry, observer: Observer, *, verify: bool = False) -> Store:
    """The preprocessed films, made now or found in the cache, and then read through with `verify`."""
    component = registry.get("dataset", config.data.name)
    dataset = build_dataset(config, registry)
    parameters = component.validate(config.data.params) | {"version": component.version}
    store = open_store(
        dataset,
        name=config.data.name,
        parameters=parameters,
        preprocess=config.preprocess,
        structures=config.structures,
        progress=progress_of("Preparing films", observer),
        verify=progress_of("Verifying films", observer) if verify else None,
    )
    report_remarks(store, "films", observer)
    return store


def progress_of(stage: str, observer: Observer) -> Progress:
    """What reports the making of a store as a stage; nothing where it is found."""

    def progress(done: int, total: int) -> None:
        if done == 1:
            observer.stage(stage, total)
        observer.advance(done)

    return progress


def report_remarks(store: Store, films: str, observer: Observer) -> None:
    """Report on how many of the films there are remarks, such as that one isn't an upright frontal chest film."""
    if store.remarks:
        film, remarks = next(iter(store.remarks.items()))
        observer.say(
            f"There are remarks on {len(store.remarks)} of the {len(store)} {films}, such as {film} "
            f"({'; '.join(remarks)}): see cxrkit data check."
        )


def prepare_films(config: RunConfig, registry: Registry, observer: Observer) -> Films:
    """Everything that a run needs to know of its films.

    Raises:
        DataError: films that can't be read, too few for the split, or a channel that no training film would train.
    """
    store = prepare_store(config, registry, observer)
    split = make_split(store.entries, config.split, config.seed, config.train.protocol)
    films = Films(store, split, store.channels(background=config.background))
    known = store.known_channels(films.indices(split.train), background=films.background)
    if known is not None and not known.any(0).all():
        name = films.channels[int(known.any(0).int().argmin())]
        lacking = "all masks, from which the background follows" if name == BACKGROUND else f"a mask of '{name}'"
        raise DataError(
            f"No training film has {lacking}.",
            f"Choose other --structures or another split{', or --set background=false' * (name == BACKGROUND)}.",
        )
    return films
