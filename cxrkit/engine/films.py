"""From a configuration to films ready for the network: datasets, store, split."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cxrkit.config import DataConfig, RunConfig
from cxrkit.data.joined import join_stores, structures_of
from cxrkit.data.making import Progress
from cxrkit.data.preprocess import before_levels
from cxrkit.data.splits import Split, make_split
from cxrkit.data.store import Store, open_store
from cxrkit.engine.observer import Observer
from cxrkit.errors import DataError, located
from cxrkit.files import home_path
from cxrkit.interfaces import BACKGROUND, Augment, Dataset, Entry
from cxrkit.registry import Registry


@dataclass(frozen=True)
class Films:
    """The preprocessed films of a run and how they are split.

    Attributes:
        store: films and masks at the network's size.
        split: ids that train, validate and test.
        channels: the network's output channels: the structures, and `background` last if the run has it.
        as_taken: the same films before levels and CLAHE, where an augment acts on those.
    """

    store: Store
    split: Split
    channels: tuple[str, ...]
    as_taken: Store | None = None

    @property
    def source(self) -> Store:
        """The store that training films are read from."""
        return self.store if self.as_taken is None else self.as_taken

    def indices(self, ids: tuple[str, ...]) -> list[int]:
        """Positions in the store of some ids."""
        position = {film: index for index, film in enumerate(self.store.ids)}
        return [position[film] for film in ids]

    @property
    def incomplete(self) -> tuple[str, ...] | None:
        """The structures that a training film has masks of which lacks others; None where none does."""
        known = (entry.known(self.store.structures) for entry in self.training)
        return next((names for names in known if len(names) < len(self.store.structures)), None)

    @property
    def training(self) -> list[Entry]:
        """The films that train."""
        return [self.store.entries[index] for index in self.indices(self.split.train)]

    @property
    def background(self) -> bool:
        """Whether the last channel is the background."""
        return self.channels[-1] == BACKGROUND


def build_datasets(config: RunConfig, registry: Registry) -> dict[str, Dataset]:
    """The datasets of a configuration by alias, over their roots made absolute; one alone may have none, ""."""
    return {
        item.alias or "": registry.get("dataset", item.name).build(
            home_path(item.root).resolve() if item.root else None, **item.params
        )
        for item in config.datasets
    }


def build_dataset(config: RunConfig, registry: Registry) -> Dataset:
    """The dataset of a configuration that has one."""
    (dataset,) = build_datasets(config, registry).values()
    return dataset


def check_places(config: RunConfig, file: Path) -> None:
    """Make sure that the films of a run, whose configuration is saved in a file, are where they were.

    Raises:
        DataError: they aren't; says where to set their new location.
    """
    for root in [item.root for item in config.datasets]:
        if root is not None and not home_path(root).exists():
            raise DataError(
                f"{file.parent}: its films were in {root}, which no longer exists.",
                f"Put them back, or set data.root to their new location in {file}.",
            )


def prepare_store(config: RunConfig, registry: Registry, observer: Observer, *, verify: bool = False) -> Store:
    """The preprocessed films, made now or found in the cache, and then read through with `verify`.

    Of several datasets each has its own store; they are returned as one.
    """
    store = _open_stores(config, registry, observer, verify=verify)
    report_remarks(store, "films", observer)
    return store


def _open_stores(config: RunConfig, registry: Registry, observer: Observer, *, verify: bool = False) -> Store:
    datasets = build_datasets(config, registry)

    def open_one(item: DataConfig, structures: Sequence[str] | None) -> Store:
        component = registry.get("dataset", item.name)
        return open_store(
            datasets[item.alias or ""],
            name=item.name,
            parameters=component.validate(item.params) | {"version": component.version},
            preprocess=config.preprocess,
            structures=structures,
            missing=item.missing,
            progress=progress_of("Preparing films", observer),
            verify=progress_of("Verifying films", observer) if verify else None,
        )

    if list(datasets) == [""]:
        return open_one(config.datasets[0], config.structures)
    chosen = structures_of(datasets, config.structures)
    stores: dict[str, Store] = {}
    for item in config.datasets:
        alias = item.alias or ""
        own = [name for name in chosen if name in datasets[alias].structures]
        if own:
            with located(alias):
                stores[alias] = open_one(item, own)
        else:
            warnings.warn(f"{alias} has none of the structures and is left out.", stacklevel=2)
    return join_stores(stores, chosen)


def with_films_as_taken(
    films: Films, config: RunConfig, augments: Sequence[Augment], registry: Registry, observer: Observer
) -> Films:
    """The films of a run, with those before levels and CLAHE if one of its augments acts on them.

    Raises:
        DataError: the films changed meanwhile.
    """
    if not any(augment.stage == "film" for augment in augments):
        return films
    earlier = config.model_copy(update={"preprocess": before_levels(config.preprocess)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the other stores' have been reported
        as_taken = _open_stores(earlier, registry, observer)
    if as_taken.ids != films.store.ids:
        raise DataError("Films were added or removed while they were read.", "Run it again.")
    return replace(films, as_taken=as_taken)


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


def report_unwatched(films: Films, observer: Observer) -> None:
    """Report what the validation films say nothing of: structures, and datasets."""
    if not films.split.validation:
        return
    watched = [films.store.entries[index] for index in films.indices(films.split.validation)]
    if blind := [name for name in films.store.structures if not any(entry.known([name]) for entry in watched)]:
        observer.say(f"No validation film has a mask of {', '.join(blind)}: the weights are chosen by the others.")
    unseen = {entry.dataset: None for entry in films.training if entry.dataset not in {e.dataset for e in watched}}
    if unseen:
        observer.say(
            f"No validation film is of {', '.join(unseen)}: the weights are chosen by those of other datasets. "
            "A larger --validation includes them."
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
