"""Reading one film through a dataset plugin, and holding the plugin to its contract."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cxrkit.component_config import Missing
from cxrkit.errors import ContractError, CxrkitError, DataError, nearest
from cxrkit.interfaces import BACKGROUND, STRUCTURE_NAME, Dataset, Entry, Sample

#: Films with faults that an error names.
_SHOWN = 3


def list_entries(dataset: Dataset, *, faulty: bool = False, missing: Missing = "error") -> tuple[Entry, ...]:
    """The dataset's entries; their ids are unique and usable as file names.

    Args:
        dataset: the dataset.
        faulty: whether films may have faults.
        missing: whether masks that films lack are a fault, or unknown.

    Raises:
        DataError: there are none, ids that are not so, or films with a fault.
        ContractError: an entry is labelled with something else than structures of the dataset.
    """
    entries = tuple(dataset.entries())
    if not entries:
        raise DataError(f"{_name(dataset)} has no films.", "Check --data.")
    seen: set[str] = set()
    for entry in entries:
        if not entry.id or entry.id in (".", "..") or any(sign in entry.id for sign in "/\\\0"):
            raise DataError(f"The film id {entry.id!r} can't be a file name.", "Rename the film without / and \\.")
        if entry.id in seen:
            raise DataError(f"The film id '{entry.id}' occurs twice{_files(entry)}.", "Give every film its own name.")
        try:
            entry.id.encode()
        except UnicodeEncodeError as error:  # a file's name needn't be UTF-8
            raise DataError(f"The film id {entry.id!r} isn't text{_files(entry)}.", "Rename the film.") from error
        for what, names in (("labelled with", entry.labelled), ("lacking", entry.lacking)):
            if names is not None and not (isinstance(names, tuple) and set(names) <= set(dataset.structures)):
                raise ContractError(
                    f"{_name(dataset)}: the film '{entry.id}' is {what} {names!r}.",
                    f"Fix the dataset: `Entry.{what.split()[0]}` is a tuple of its structures "
                    f"({', '.join(dataset.structures)}).",
                )
        seen.add(entry.id)
    if missing == "unknown":
        entries = tuple(_unknown(entry, dataset.structures) for entry in entries)
    if not faulty and (faults := [entry.fault for entry in entries if entry.fault]):
        shown = " ".join(faults[:_SHOWN]) + (f" And {len(faults) - _SHOWN} more." if len(faults) > _SHOWN else "")
        raise DataError(
            f"{_name(dataset)}: {len(faults)} of {len(entries)} films can't be used. {shown}",
            "Add what is missing, take these films away, or leave a structure out (--set data.structures=[...])"
            + (", or let films lack masks (--set data.missing=unknown)" * any(entry.lacking for entry in entries))
            + ". `cxrkit data check` lists all faults.",
        )
    return entries


def _unknown(entry: Entry, structures: Sequence[str]) -> Entry:
    """A film whose missing masks, if they are its only fault, are unknown."""
    if not entry.lacking:
        return entry
    labelled = tuple(name for name in entry.known(structures) if name not in entry.lacking)
    return replace(entry, labelled=labelled, lacking=(), fault="")


def keep_labelled(entries: Sequence[Entry], structures: Sequence[str]) -> tuple[Entry, ...]:
    """The entries that have a mask of one of the structures; all, where no structure is asked for.

    Warns the user of films that are left out.

    Raises:
        DataError: no film has one.
    """
    kept = tuple(entry for entry in entries if not structures or entry.known(structures))
    masks = f"mask of {' or '.join(map(repr, structures))}"
    if not kept:
        raise DataError(f"No film has a {masks}.", "Choose other --structures.")
    if left_out := len(entries) - len(kept):
        warnings.warn(f"{left_out} of the {len(entries)} films have no {masks}: they are left out.", stacklevel=2)
    return kept


def known_masks(entries: Sequence[Entry], structures: Sequence[str]) -> np.ndarray | None:
    """Which structures the films have masks of, bool `(films, structures)`; None where all have all."""
    known = np.array([[name in entry.known(structures) for name in structures] for entry in entries], dtype=bool)
    return None if known.all() else known


def choose_structures(dataset: Dataset, asked: Sequence[str] | None) -> tuple[str, ...]:
    """The structures asked for, or all of the dataset's. None may be asked of a dataset that has none.

    Raises:
        DataError: one is unknown or named twice, or none is.
    """
    known = tuple(dataset.structures)
    if not known and asked is not None and not asked:
        return ()  # films without masks
    if not known or BACKGROUND in known:
        fault = f"one called '{BACKGROUND}', which cxrkit adds itself" if known else "no structures"
        raise ContractError(f"{_name(dataset)} has {fault}.", "Fix the dataset: name what its masks show.")
    for name in known:
        # They name files and folders, also of people who are only sent a weights file.
        if not re.fullmatch(STRUCTURE_NAME, name):
            raise ContractError(
                f"{_name(dataset)} has a structure called {name!r}.",
                "Fix the dataset: a name is made of lower-case letters, digits and underscores.",
            )
    return pick_structures(known, asked, _name(dataset))


def pick_structures(known: Sequence[str], asked: Sequence[str] | None, source: str) -> tuple[str, ...]:
    """The structures asked for, or all that a source of films has.

    Raises:
        DataError: one is unknown or named twice, or none is.
    """
    chosen = tuple(known if asked is None else asked)
    if not chosen:
        raise DataError("No structure was requested.", f"Choose from: {', '.join(known)}.")
    for name in chosen:
        if name not in known:
            raise DataError(
                f"{source}: there are no masks of '{name}'.",
                f"{nearest(name, known)}Its structures are: {', '.join(known)}.",
            )
    if len(set(chosen)) < len(chosen):
        raise DataError(f"A structure was requested twice: {', '.join(chosen)}.", "Name each once.")
    return chosen


def read_sample(dataset: Dataset, entry: Entry, structures: Sequence[str]) -> Sample:
    """Read a film; its image and its masks are of one shape and of the types that `Sample` states.

    Of `structures` it has the masks that the entry is labelled with.

    Raises:
        DataError: the plugin raised it, a mask is missing, or film and mask differ in size; names the files.
        ContractError: the plugin returned something else than a `Sample` as it is stated.
    """
    try:
        sample = dataset.read(entry)
    except CxrkitError:
        raise
    except OSError as error:
        raise DataError(f"Film '{entry.id}' can't be read: {error}.", "Check the file and its permissions.") from error
    # Libraries raise anything at odd files, through any dataset's plugin.
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise DataError(
            f"Film '{entry.id}' can't be read ({reason}){_files(entry)}.",
            "Check that a viewer shows its files, and export them again. If nothing is wrong with them, this is a "
            f"defect of the dataset plugin ({type(dataset).__module__}): --debug shows where.",
        ) from error
    if not isinstance(sample, Sample):
        raise _broken(dataset, entry, "a cxrkit.Sample", type(sample).__name__, "return `Sample(entry.id, ...)`.")
    _check_image(dataset, entry, sample)
    for name in entry.known(structures):
        _check_mask(dataset, entry, sample, name)
    return sample


def _check_image(dataset: Dataset, entry: Entry, sample: Sample) -> None:
    image = sample.image
    if not isinstance(image, np.ndarray) or image.ndim != 2 or image.dtype not in (np.uint8, np.uint16, np.float32):
        expected = "an image (H, W) of uint8, uint16 or float32"
        raise _broken(dataset, entry, expected, _described(image), "convert it on reading.")
    if image.size == 0 or not np.isfinite(image).all():
        got = "an empty image" if image.size == 0 else "NaN or infinity"
        raise _broken(dataset, entry, "finite pixels", got, "raise a DataError for such a film.")
    spacing = sample.spacing
    if spacing is not None and not (
        np.shape(spacing) == (2,) and all(np.isfinite(side) and side > 0 for side in spacing)
    ):
        expected = "a spacing of (row, column) millimetres, or None"
        raise _broken(dataset, entry, expected, repr(spacing), "give None where it is unknown.")


def _check_mask(dataset: Dataset, entry: Entry, sample: Sample, name: str) -> None:
    mask = sample.masks.get(name)
    if mask is None:
        raise DataError(
            f"Film '{entry.id}' has no mask of '{name}'{_files(entry)}.",
            "Add the mask, leave the film out, or choose other --structures. A dataset whose films may lack masks "
            "names those that a film has in `Entry.labelled`.",
        )
    if not isinstance(mask, np.ndarray) or mask.ndim != 2 or mask.dtype != np.bool_:
        raise _broken(dataset, entry, f"a bool mask (H, W) of '{name}'", _described(mask), "threshold it on reading.")
    if mask.shape != sample.image.shape:
        raise DataError(
            f"Film '{entry.id}' is {_size(sample.image)} pixels, but its mask of '{name}' is {_size(mask)}"
            f"{_files(entry)}.",
            "Film and mask must have the same size: export the mask again, or resize one to the other.",
        )


def _broken(dataset: Dataset, entry: Entry, expected: str, got: str, remedy: str) -> ContractError:
    return ContractError(
        f"{_name(dataset)}: reading '{entry.id}' should give {expected}, but gave {got}.",
        f"Fix the dataset plugin: {remedy}",
    )


def _described(value: object) -> str:
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__


def _size(array: np.ndarray) -> str:
    return f"{array.shape[1]} × {array.shape[0]}"


def _files(entry: Entry) -> str:
    return f" (files: {', '.join(str(file) for file in entry.files)})" if entry.files else ""


def _name(dataset: Dataset) -> str:
    return type(dataset).__name__ + (f" ({dataset.root})" if dataset.root else "")
