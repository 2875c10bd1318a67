"""Making the store of preprocessed films: what keys it, and how it is written.

Layout of the HDF5 file, N films, K structures, side S:

* `images` uint16 `(N, S, S)`, `masks` bool `(N, K, S, S)`, K may be 0: a chunk a plane, compressed, with checksums;
* `original_shape` int64 `(N, 2)`, `content` int64 `(N, 4)`, `spacing` float64 `(N, 2)` with NaN for unknown;
* `known` bool `(N, K)`, only where a film lacks a mask: whether it has it; planes of those that it lacks are empty;
* `inside` int64 `(N, 4)` where borders may have been left out;
* `remarks`, where a film has any: JSON, the id of a film to its remarks;
* `image_hashes` uint8 `(N, 32)`: the SHA-256 of each film, which stores of before don't have;
* `recipe`: JSON;
* attributes `format`, `key`, `content_hash`, and `index_hash`, of all but `images` and `masks`.
"""

from __future__ import annotations

import hashlib
import inspect
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np

from cxrkit.config import PreprocessConfig
from cxrkit.data.ahead import read_ahead
from cxrkit.data.preprocess import Placement, preprocess_film, preprocess_mask
from cxrkit.data.samples import known_masks, read_sample
from cxrkit.errors import DataError
from cxrkit.files import atomic_path, sweep
from cxrkit.interfaces import Dataset, Entry

#: Part of the key: raise it whenever preprocessing or the layout changes what a store holds.
FORMAT = 2

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a store holds; stores of equal recipes are the same.

    Attributes:
        name: of the dataset, as registered.
        root: the folder or file that it reads, or "".
        parameters: the dataset's, with the version of the package that it comes from.
        entries: the films, each with the sizes and times of its files and the masks that it has.
        structures: in channel order.
        preprocess: all but `standardise`, which happens after the store.
        reader: what reads and resizes the films, see `reader_of`.
    """

    name: str
    root: str
    parameters: Mapping[str, Any]
    entries: tuple[Entry, ...]
    structures: tuple[str, ...]
    preprocess: PreprocessConfig
    reader: str = ""

    @cached_property
    def known(self) -> np.ndarray | None:
        """Which masks the films have, bool `(N, K)`; None where all have all."""
        return known_masks(self.entries, self.structures)

    def to_json(self) -> str:
        """The recipe as text, the same for equal recipes.

        Raises:
            DataError: a file of an entry isn't there any more.
        """
        content = {
            "format": FORMAT,
            "name": self.name,
            "root": self.root,
            "parameters": self.parameters,
            "entries": [
                [entry.id, entry.group, entry.fold, [_file_state(file) for file in entry.files]]
                for entry in self.entries
            ],
            "structures": self.structures,
            "preprocess": self.preprocess.stored(),
            "reader": self.reader,
            # Nothing of complete data, so that stores from before films could lack masks are found again.
            **({} if self.known is None else {"known": self.known.tolist()}),
        }
        return json.dumps(content, sort_keys=True, default=str)


def _file_state(file: Path) -> tuple[str, int, int]:
    try:
        state = file.stat()
    except OSError as error:
        raise DataError(
            f"{file}: can't be read: {error.strerror}.", "Put the file back, or leave its film out."
        ) from error
    return str(file), state.st_size, state.st_mtime_ns


def reader_of(dataset: Dataset) -> str:
    """OpenCV's version and a hash of the dataset's source file: who writes a dataset of their own changes it often."""
    try:
        source = Path(inspect.getsourcefile(type(dataset)) or "").read_bytes()
    except (TypeError, OSError):
        source = b""
    return f"OpenCV {cv2.__version__}, {hashlib.sha256(source).hexdigest()}"


def key_of(recipe_text: str) -> str:
    """The key of a recipe: the SHA-256 of its text."""
    return hashlib.sha256(recipe_text.encode()).hexdigest()


@dataclass(frozen=True)
class Prepared:
    """One film ready to be stored: uint16 `(S, S)`, bool `(K, S, S)`, where it lies in the square, its remarks."""

    image: np.ndarray
    masks: np.ndarray
    placement: Placement
    remarks: tuple[str, ...] = ()


def prepare(dataset: Dataset, entry: Entry, structures: Sequence[str], config: PreprocessConfig) -> Prepared:
    """Read and preprocess one film and the masks that it has; those of other structures stay empty.

    Raises:
        CxrkitError: see `read_sample`.
    """
    try:
        sample = read_sample(dataset, entry, structures)
    except DataError as error:
        error.remedy = f"{error.remedy} `cxrkit data check` lists all films that can't be used."
        raise
    image, placement = preprocess_film(sample.image, config, spacing=sample.spacing, aspect=sample.aspect)
    masks = np.zeros((len(structures), config.size, config.size), dtype=bool)
    for name in entry.known(structures):
        masks[structures.index(name)] = preprocess_mask(sample.masks[name], placement)
    return Prepared(image, masks, placement, sample.remarks)


def write_store(path: Path, dataset: Dataset, recipe: Recipe, progress: Progress | None, workers: int) -> None:
    """Make the store at `path`, film by film, with `workers` threads reading ahead; whole or not at all.

    Raises:
        DataError: a film or mask can't be used, or files changed meanwhile.
        StorageError: the disk is full or can't be written to.
    """
    sweep(path.parent.glob(".*"))
    text = recipe.to_json()
    with atomic_path(path) as temporary, _Disk(temporary) as disk:
        # Chunks are written whole, once: a cache of them would only put errors off.
        file = h5py.File(disk, "w", rdcc_nbytes=0)
        try:
            _fill(file, disk, dataset, recipe, progress, workers)
            if recipe.to_json() != text:
                raise DataError(f"Films of {recipe.root or recipe.name} changed while they were read.", "Run it again.")
            file.attrs.update({"format": FORMAT, "key": key_of(text)})
            # A dataset, because attributes are limited to 64 KiB.
            file.create_dataset("recipe", data=text)
            file.attrs["index_hash"] = index_hash(file)
        finally:
            file.close()
        disk.check()


def _fill(
    file: h5py.File, disk: _Disk, dataset: Dataset, recipe: Recipe, progress: Progress | None, workers: int
) -> None:
    total, size = len(recipe.entries), recipe.preprocess.size
    options = {"compression": "lzf", "shuffle": True, "fletcher32": True}
    planes = (total, len(recipe.structures), size, size)
    images = file.create_dataset("images", (total, size, size), np.uint16, chunks=(1, size, size), **options)
    # A store of films without masks has no plane of masks, which HDF5 can't divide into chunks.
    chunked = {"chunks": (1, 1, size, size), **options} if recipe.structures else {}
    masks = file.create_dataset("masks", planes, np.bool_, **chunked)
    digest = ContentHash(recipe.structures, recipe.known)
    placements: list[Placement] = []
    hashes: list[bytes] = []
    remarks: dict[str, tuple[str, ...]] = {}

    def work(entry: Entry) -> Prepared:
        return prepare(dataset, entry, recipe.structures, recipe.preprocess)

    for index, prepared in enumerate(read_ahead(work, recipe.entries, workers)):
        images[index] = prepared.image
        if recipe.structures:
            masks[index] = prepared.masks
        disk.check()
        digest.add(recipe.entries[index].id, prepared)
        placements.append(prepared.placement)
        hashes.append(hashlib.sha256(prepared.image.astype(np.uint16).tobytes()).digest())
        if prepared.remarks:
            remarks[recipe.entries[index].id] = prepared.remarks
        if progress is not None:
            progress(index + 1, total)
    unknown = (np.nan, np.nan)
    file["original_shape"] = np.array([item.original_shape for item in placements], dtype=np.int64)
    file["content"] = np.array([item.content for item in placements], dtype=np.int64)
    file["image_hashes"] = np.frombuffer(b"".join(hashes), dtype=np.uint8).reshape(total, -1)
    file["spacing"] = np.array([item.original_spacing or unknown for item in placements], dtype=np.float64)
    if recipe.known is not None:
        file["known"] = recipe.known
    if recipe.preprocess.remove_borders:
        inside = [item.inside or (0, 0, *item.original_shape) for item in placements]
        file["inside"] = np.array(inside, dtype=np.int64)
    if remarks:
        file.create_dataset("remarks", data=json.dumps(remarks))
    file.attrs["content_hash"] = digest.hexdigest()


def index_hash(file: h5py.File) -> str:
    """SHA-256 of all of a store but its films and masks: what tells damage to it without reading those."""
    digest = hashlib.sha256(repr([str(file.attrs.get(name)) for name in ("format", "key", "content_hash")]).encode())
    for name in sorted(set(file) - {"images", "masks"}):
        value = file[name][()]
        digest.update(name.encode() + (value if isinstance(value, bytes) else value.tobytes()))
    return digest.hexdigest()


class _Disk(io.FileIO):
    """The file that HDF5 writes to: it keeps the first error of a write to itself until `check` raises it.

    HDF5 can't close a file that it can no longer write to: it fails again at each object that it closes, and
    at the end of the process. So it never learns of the error; what it writes afterwards is lost, and so is the file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "r+b")
        self._error: OSError | None = None

    def check(self) -> None:
        """Raise the OSError of the first write that failed, if one did."""
        if self._error is not None:
            raise self._error

    def write(self, data: Any) -> int:
        """Write all of `data`, or pretend to."""
        left = memoryview(data)
        try:
            while left and self._error is None:
                left = left[super().write(left) :]
        except OSError as error:
            self._error = error
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        """Set the file's size, or pretend to."""
        try:
            return super().truncate(size)
        except OSError as error:
            self._error = self._error or error
            return size or 0


class ContentHash:
    """SHA-256 over structures, `known` if films lack masks, and each film's id, image, masks, placement and spacing."""

    def __init__(self, structures: Sequence[str], known: np.ndarray | None) -> None:
        self._digest = hashlib.sha256(json.dumps(list(structures)).encode())
        if known is not None:
            self._digest.update(known.tobytes())

    def add(self, film: str, prepared: Prepared) -> None:
        """Take the next film into account."""
        placement = prepared.placement
        place = [film, placement.original_shape, placement.content, placement.original_spacing]
        place += [] if placement.inside is None else [placement.inside]
        self._digest.update(json.dumps(place).encode())
        self._digest.update(prepared.image.astype("<u2").tobytes())
        self._digest.update(np.packbits(prepared.masks).tobytes())

    def hexdigest(self) -> str:
        """The hash of all films so far."""
        return self._digest.hexdigest()
