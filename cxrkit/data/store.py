"""The store: preprocessed films and masks in one HDF5 file, made once and found again by what made it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import torch
from torch import Tensor

from cxrkit.component_config import Missing
from cxrkit.config import PreprocessConfig
from cxrkit.data.ahead import cores
from cxrkit.data.making import (
    FORMAT,
    ContentHash,
    Prepared,
    Progress,
    Recipe,
    index_hash,
    key_of,
    reader_of,
    write_store,
)
from cxrkit.data.preprocess import Placement, input_levels
from cxrkit.data.samples import choose_structures, keep_labelled, known_masks, list_entries
from cxrkit.data.stored_films import StoredFilms, known_channels
from cxrkit.errors import StorageError
from cxrkit.files import cache_folder
from cxrkit.interfaces import BACKGROUND, Batch, Dataset, Entry

#: Each holds a whole film, which may take some hundred megabytes while it is prepared.
MOST_READERS = 16


@dataclass(frozen=True)
class Store:
    """Preprocessed films of a dataset. Arrays stay on disk until `load` or `batch` fetches them.

    Attributes:
        path: the HDF5 file; its layout is described in `cxrkit.data.making`.
        entries: the films, in the dataset's order; positions in it are the indices used here.
        structures: names of the masks, in channel order.
        size: side S of the square films, pixels.
        placements: of each film, where it lies in the square, and how to come back.
        content_hash: SHA-256 of everything in the store: the data's fingerprint.
        remarks: the id of a film to what its file says that an upright frontal chest film's wouldn't.
        hashes: SHA-256 of each preprocessed film; empty of stores from before they were kept.
    """

    path: Path
    entries: tuple[Entry, ...]
    structures: tuple[str, ...]
    size: int
    placements: tuple[Placement, ...]
    content_hash: str
    remarks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    hashes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.entries)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The films' ids."""
        return tuple(entry.id for entry in self.entries)

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """The films' patients."""
        return tuple(entry.group for entry in self.entries)

    def spacing(self, index: int) -> tuple[float, float] | None:
        """(row, column) millimetres a pixel of a stored film, or None where unknown."""
        return self.placements[index].spacing

    def channels(self, *, background: bool) -> tuple[str, ...]:
        """The names of the channels of `batch`'s targets."""
        return (*self.structures, BACKGROUND) if background else self.structures

    def load(self, indices: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Films uint16 `(n, S, S)` and masks bool `(n, K, S, S)`.

        Raises:
            StorageError: the file is gone or has been damaged since it was opened.
        """
        return self._planes("images", indices), self._planes("masks", indices)

    def _planes(self, name: Literal["images", "masks"], indices: Sequence[int]) -> np.ndarray:
        shape = (self.size, self.size) if name == "images" else (len(self.structures), self.size, self.size)
        planes = np.empty((len(indices), *shape), dtype=np.uint16 if name == "images" else np.bool_)
        place = ""
        try:
            with _open(self.path) as file:
                stored = file[name]
                for first, positions in _runs(indices):
                    try:
                        planes[positions] = stored[first : first + len(positions)]
                    except OSError:  # one of them is damaged
                        for position in positions:
                            place = f" at the film '{self.entries[indices[position]].id}'"
                            planes[position] = stored[int(indices[position])]
                        raise
        except (OSError, RuntimeError, KeyError) as error:
            with suppress(OSError):
                self.path.unlink()
            raise StorageError(
                f"{self.path}: the store of preprocessed films can no longer be read{place}: {error}.",
                "Run the same command again, or continue with --resume: the store is rebuilt.",
            ) from error
        return planes

    def image_hashes(self, indices: Sequence[int]) -> list[str]:
        """SHA-256 of each preprocessed film, which is read only where the store doesn't have its hash.

        Raises:
            StorageError: see `load`.
        """
        if self.hashes:
            return [self.hashes[index] for index in indices]
        return [hashlib.sha256(self._planes("images", [index]).tobytes()).hexdigest() for index in indices]

    def without(self, other: Store, indices: Sequence[int]) -> tuple[int, ...]:
        """The films that aren't among those of another store of the same preprocessing, whatever their files' names.

        Raises:
            StorageError: see `load`.
        """
        taken = set(other.image_hashes(indices))
        return tuple(i for i, found in enumerate(self.image_hashes(range(len(self)))) if found not in taken)

    @cached_property
    def known(self) -> np.ndarray | None:
        """Which masks the films have, bool `(N, K)`; None where all have all."""
        return known_masks(self.entries, self.structures)

    def known_channels(self, indices: Sequence[int], *, background: bool) -> Tensor | None:
        """`Batch.known` of some films; the background is known where all structures are."""
        if self.known is None:
            return None
        return known_channels(torch.from_numpy(self.known[list(indices)]), background=background)

    def films(
        self, indices: Sequence[int], *, standardise: bool, masks: bool = True, as_taken: bool = False
    ) -> StoredFilms:
        """Films as they are stored, of which batches are made; without their masks if those aren't wanted.

        `as_taken`, of a store that was made with `before_levels`, adds where they lie, and doesn't standardise.

        Raises:
            StorageError: see `load`.
        """
        images = self._planes("images", indices)
        standardise = standardise and not as_taken
        levels = [
            input_levels(image, self.placements[index], standardise=standardise)
            for index, image in zip(indices, images, strict=True)
        ]
        return StoredFilms(
            torch.from_numpy(images.view(np.int16)),
            torch.from_numpy(np.array(levels, dtype=np.float32).reshape(-1, 2)),
            torch.from_numpy(self._planes("masks", indices)) if masks else torch.empty(len(images), 0),
            self.known_channels(indices, background=False),
            torch.tensor([self.placements[index].content for index in indices]).view(-1, 4) if as_taken else None,
        )

    def batch(self, indices: Sequence[int], *, background: bool, standardise: bool) -> Batch:
        """What the network sees and should say, see `StoredFilms.batch`.

        Raises:
            StorageError: see `load`.
        """
        return self.films(indices, standardise=standardise).batch(background=background)


def open_store(
    dataset: Dataset,
    *,
    name: str,
    parameters: Mapping[str, Any],
    preprocess: PreprocessConfig,
    structures: Sequence[str] | None,
    missing: Missing = "error",
    progress: Progress | None = None,
    workers: int | None = None,
    verify: Progress | None = None,
) -> Store:
    """Find the store of a dataset in the cache folder, or make it.

    A store is used again if nothing that it depends on has changed: the dataset's name, root and parameters, its
    films with the sizes and times of their files and the masks that they have, the structures, and the preprocessing.
    A damaged one is rebuilt: now if its index is, else once a film of it that can't be read has removed it. Stores of
    former settings are kept. Processes that make the same store at once don't disturb each other: each writes its own
    file, and the last one done stays.

    Args:
        dataset: `dataset.read` is called from several threads at once.
        name: the dataset's registered name.
        parameters: the dataset's, and the version of the package that it comes from.
        preprocess: `standardise` in it plays no part here.
        structures: which, in channel order; None for all of the dataset's.
        missing: whether masks that films lack are an error, or unknown.
        progress: called with (films done, films in all) while a store is made, never when one is found.
        workers: threads that read and prepare films; by default one a core, at most 16.
        verify: read all of a store that is found, and rebuild it unless it has the content that it had when made;
            called as `progress` is.

    Raises:
        DataError: a film, a mask or a structure is missing or can't be used.
        ContractError: the dataset plugin doesn't keep to its contract.
        StorageError: the cache folder can't be created or written to.
    """
    entries = list_entries(dataset, missing=missing)
    root = str(dataset.root.resolve()) if dataset.root else ""
    chosen = choose_structures(dataset, structures)
    entries = keep_labelled(entries, chosen)
    recipe = Recipe(name, root, dict(parameters), entries, chosen, preprocess, reader_of(dataset))
    key = key_of(recipe.to_json())
    path = store_path(recipe, key)
    store = _found(path, recipe, key, verify)
    if store is None:
        _make_folder(path.parent)
        try:
            write_store(path, dataset, recipe, progress, workers or min(MOST_READERS, cores()))
        except StorageError as error:
            raise StorageError(
                error.what, f"{error.remedy} The environment variable CXRKIT_CACHE chooses the place."
            ) from error
        store = _found(path, recipe, key)
    if store is None:
        raise StorageError(
            f"{path}: what was just written can't be read back.",
            "Check the disk, or set CXRKIT_CACHE to a folder on another one.",
        )
    return store


def store_path(recipe: Recipe, key: str) -> Path:
    """The file of a recipe's store, whether it is there or not."""
    readable = re.sub(r"[^A-Za-z0-9._-]", "_", recipe.name)
    return cache_folder() / f"{readable}-{recipe.preprocess.size}-{key[:16]}.h5"


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"{folder}: the folder for preprocessed films can't be created: {error.strerror}.",
            "Set the environment variable CXRKIT_CACHE to a folder that can be written to.",
        ) from error


def _open(path: Path) -> h5py.File:
    # A finished store never changes in place, and locks fail on some network disks.
    return h5py.File(path, "r", locking=False)


def _found(path: Path, recipe: Recipe, key: str, verify: Progress | None = None) -> Store | None:
    """The store at `path` if it is there, whole and of this recipe.

    Its films have checksums, which are looked at where they are read; its index has one of its own, which stores of
    before don't have: those are read whole.
    """
    if not path.is_file():
        return None
    try:
        with _open(path) as file:
            if file.attrs["format"] != FORMAT or file.attrs["key"] != key:
                return None
            placements = _placements(file, recipe.preprocess.size)
            content_hash = file.attrs["content_hash"]
            index = file.attrs.get("index_hash")
            if index is not None and index != index_hash(file):
                return None
            if (verify or index is None) and content_hash != _rehash(file, recipe, placements, verify):
                return None
            remarks = json.loads(file["remarks"][()]) if "remarks" in file else {}
            hashes = tuple(one.tobytes().hex() for one in file["image_hashes"][:]) if "image_hashes" in file else ()
    # Whatever a damaged file makes HDF5 raise: it is rebuilt.
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, IndexError):
        return None
    found = {film: tuple(signs) for film, signs in remarks.items()}
    size = recipe.preprocess.size
    return Store(path, recipe.entries, recipe.structures, size, placements, content_hash, found, hashes)


def _runs(indices: Sequence[int], longest: int = 16) -> Iterator[tuple[int, np.ndarray]]:
    """Neighbours are read at once: the first index of each run of them, and the positions in `indices` of all."""
    wanted = np.asarray(indices, dtype=np.int64)
    order = np.argsort(wanted)
    for run in np.split(order, np.flatnonzero(np.diff(wanted[order]) != 1) + 1):
        for start in range(0, len(run), longest):
            yield int(wanted[run[start]]), run[start : start + longest]


def _placements(file: h5py.File, size: int) -> tuple[Placement, ...]:
    shapes, contents, spacings = (file[name][:].tolist() for name in ("original_shape", "content", "spacing"))
    insides = file["inside"][:].tolist() if "inside" in file else [None] * len(shapes)
    return tuple(
        Placement(
            tuple(shape),
            tuple(content),
            size,
            None if np.isnan(spacing).any() else tuple(spacing),
            None if inside is None or inside[2:] == shape else tuple(inside),
        )
        for shape, content, spacing, inside in zip(shapes, contents, spacings, insides, strict=True)
    )


def _rehash(file: h5py.File, recipe: Recipe, placements: Sequence[Placement], progress: Progress | None = None) -> str:
    """The hash of what is really there, film by film."""
    digest = ContentHash(recipe.structures, None if recipe.known is None else file["known"][:])
    images, masks = file["images"], file["masks"]
    for index, (entry, placement) in enumerate(zip(recipe.entries, placements, strict=True)):
        digest.add(entry.id, Prepared(images[index], masks[index], placement))
        if progress is not None:
            progress(index + 1, len(recipe.entries))
    return digest.hexdigest()
