"""Several datasets as one: the union of their structures, their films side by side, and a store of stores.

Each dataset keeps the store that it has alone. A film's id and patient begin with its dataset's alias, and a structure
that its dataset doesn't annotate is unknown. Whoever gets a `Store` needn't know that it is a joined one.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, combinations
from typing import Literal

import numpy as np

from cxrkit.data.samples import choose_structures, pick_structures
from cxrkit.data.store import Store
from cxrkit.errors import DataError
from cxrkit.interfaces import Dataset, Entry

#: Between a dataset's alias, which has none, and the id of a film in it.
SEPARATOR = "+"
_SHOWN = 3


def structures_of(datasets: Mapping[str, Dataset], asked: Sequence[str] | None) -> tuple[str, ...]:
    """The structures of one dataset or of several by alias, in channel order: all that any has, or those asked for.

    Raises:
        DataError: see `choose_structures` and `join_structures`.
    """
    if len(datasets) == 1:
        return choose_structures(next(iter(datasets.values())), asked)
    return join_structures({alias: choose_structures(one, None) for alias, one in datasets.items()}, asked)


def join_structures(datasets: Mapping[str, Sequence[str]], asked: Sequence[str] | None) -> tuple[str, ...]:
    """The union of the structures of several datasets, by alias, in the order in which they come; or those asked for.

    Warns the user of datasets that have no structure in common.

    Raises:
        DataError: none has a structure that is asked for, or it is named twice; or two datasets seem to call one
            structure by two names, and none is asked for.
    """
    union = tuple(dict.fromkeys(chain.from_iterable(datasets.values())))
    if asked is None:
        check_names(datasets, f"list all that you want: --structures {','.join(union)}.")
    chosen = pick_structures(union, asked, ", ".join(datasets))
    for (one, first), (other, second) in combinations(datasets.items(), 2):
        if not set(first) & set(second):
            warnings.warn(
                f"{one} ({', '.join(first)}) and {other} ({', '.join(second)}) have no structure in common.",
                stacklevel=2,
            )
    return chosen


def check_names(datasets: Mapping[str, Sequence[str]], if_different: str) -> None:
    """Make sure that no two sources of masks, with their structures, seem to call one structure by two names.

    Raises:
        DataError: they do; the remedy ends in what to do if the structures are different ones.
    """
    for (one, first), (other, second) in combinations(datasets.items(), 2):
        for name in first:
            for twin in second:
                if name not in second and twin not in first and _alike(name, twin):
                    raise DataError(
                        f"{one} has masks of '{name}', and {other} of '{twin}': they seem to mean the same.",
                        "Give them one name: rename the folder, column or label. If they are different structures, "
                        + if_different,
                    )


def _alike(name: str, other: str) -> bool:
    """Whether two names have the same words, in any order or number, or differ by a slip of the pen.

    >>> _alike("lung_left", "left_lungs"), _alike("hart", "heart"), _alike("left_lung", "right_lung")
    (True, True, False)
    """
    words, others = (sorted(word.removesuffix("s") for word in text.split("_")) for text in (name, other))
    alike = (difflib.SequenceMatcher(None, *pair).ratio() >= 0.8 for pair in zip(words, others, strict=False))
    return len(words) == len(others) and all(alike)


@dataclass(frozen=True)
class JoinedStore(Store):
    """The stores of several datasets as one, which is no file of its own.

    Attributes:
        parts: alias to store, in the order of the films.
    """

    parts: Mapping[str, Store] = field(default_factory=dict)

    def _planes(self, name: Literal["images", "masks"], indices: Sequence[int]) -> np.ndarray:
        shape = (self.size, self.size) if name == "images" else (len(self.structures), self.size, self.size)
        planes = np.zeros((len(indices), *shape), dtype=np.uint16 if name == "images" else np.bool_)
        wanted, first = np.asarray(indices, dtype=np.int64), 0
        for store in self.parts.values():
            there = np.flatnonzero((wanted >= first) & (wanted < first + len(store)))
            if there.size:
                own = store._planes(name, (wanted[there] - first).tolist())
                if name == "images":
                    planes[there] = own
                else:
                    for channel, structure in enumerate(store.structures):
                        planes[there, self.structures.index(structure)] = own[:, channel]
            first += len(store)
        return planes


def join_stores(stores: Mapping[str, Store], structures: Sequence[str]) -> JoinedStore:
    """Stores by alias as one that has these structures.

    Films that are in two datasets, to the last grey value of the network's input, become films of one patient. Warns
    the user of them.
    """
    entries: list[Entry] = []
    for alias, store in stores.items():
        for entry in store.entries:
            start = f"{alias}{SEPARATOR}"
            labelled = entry.known(store.structures)
            entries.append(
                replace(entry, id=start + entry.id, group=start + entry.group, labelled=labelled, dataset=alias)
            )
    first = next(iter(stores.values()))
    content = [[alias, store.content_hash] for alias, store in stores.items()]
    joined = JoinedStore(
        path=first.path.parent,
        entries=tuple(entries),
        structures=tuple(structures),
        size=first.size,
        placements=tuple(chain.from_iterable(store.placements for store in stores.values())),
        content_hash=hashlib.sha256(json.dumps([content, list(structures)]).encode()).hexdigest(),
        remarks={
            f"{alias}{SEPARATOR}{film}": remarks
            for alias, store in stores.items()
            for film, remarks in store.remarks.items()
        },
        hashes=tuple(chain.from_iterable(store.image_hashes(range(len(store))) for store in stores.values())),
        parts=dict(stores),
    )
    return replace(joined, entries=_with_shared_films(joined))


def _with_shared_films(store: JoinedStore) -> tuple[Entry, ...]:
    """The entries; groups that share a picture are one."""
    merged: dict[str, str] = {}
    seen: dict[str, Entry] = {}
    shared: list[str] = []

    def group_of(entry: Entry) -> str:
        group = entry.group
        while group in merged:
            group = merged[group]
        return group

    for entry, found in zip(store.entries, store.hashes, strict=True):
        other = seen.setdefault(found, entry)
        if other.dataset != entry.dataset:
            shared.append(f"{other.id} and {entry.id}")
            if group_of(other) != group_of(entry):
                merged[group_of(entry)] = group_of(other)
    if shared:
        more = f" and {len(shared) - _SHOWN} more" if len(shared) > _SHOWN else ""
        warnings.warn(
            f"{len(shared)} films are in several datasets: {', '.join(shared[:_SHOWN])}{more}. All copies are used, "
            "but never in different parts of the split.",
            stacklevel=2,
        )
    return tuple(replace(entry, group=group_of(entry)) for entry in store.entries)
