"""What cxrkit expects of every dataset: distinct entries, and films that fit their masks.

A dataset that reads files needs a folder for its checks; without one they are skipped, which says why.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from unittest import SkipTest

import numpy as np

from cxrkit.data.samples import list_entries, read_sample
from cxrkit.errors import ConfigError, CxrkitError, DataError, PluginError, reason
from cxrkit.interfaces import BACKGROUND, Dataset, Entry
from cxrkit.testing.expectations import Check, ConformanceError, Subject, describe, expect


def _dataset(subject: Subject) -> Dataset:
    return _with_entries(subject)[0]


def _with_entries(subject: Subject) -> tuple[Dataset, Sequence[Entry]]:
    """The dataset and its entries.

    Raises:
        unittest.SkipTest: it needs a folder and has none.
    """
    try:
        dataset: Dataset = subject.build(subject.root)
        return dataset, dataset.entries()
    except (ConfigError, DataError) as error:
        if subject.root is None:
            raise SkipTest(f"needs data: {error.what}") from error
        raise


def structures_have_names(subject: Subject) -> None:
    """`structures` is a tuple of different names in snake_case; the background isn't one of them."""
    structures = _dataset(subject).structures
    right = isinstance(structures, tuple) and bool(structures) and len(set(structures)) == len(structures)
    names = all(isinstance(name, str) and re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", name) for name in structures)
    expect(
        right and names and BACKGROUND not in structures,
        f"a tuple of different snake_case names without '{BACKGROUND}'",
        repr(structures),
        "Name what the masks show, as in ('left_lung', 'right_lung', 'heart').",
    )


def entries_are_distinct(subject: Subject) -> None:
    """Every film has its own id, which can be a file's name, a patient, and files that exist."""
    for entry in list_entries(_dataset(subject)):
        expect(
            bool(re.fullmatch(r"[\w+=@-][\w.+=@ -]{0,127}", entry.id)),
            "ids that can be file names",
            repr(entry.id),
            "Use letters, digits, '-', '_' and '.', at most 128, and no '/'.",
        )
        fold = entry.fold is None or (isinstance(entry.fold, str) and bool(entry.fold))
        files = isinstance(entry.files, tuple) and all(isinstance(file, Path) for file in entry.files)
        expect(
            isinstance(entry.group, str) and bool(entry.group) and fold and files,
            "Entry(id, group, files, fold) with a group, a tuple of paths, and a fold or None",
            repr(entry),
            "If patients are unknown, use each film's id as its group.",
        )
        missing = [str(file) for file in entry.files if not file.is_file()]
        expect(not missing, f"the files of {entry.id}", f"none at {', '.join(missing)}", "Raise DataError for them.")


def entries_keep_their_order(subject: Subject) -> None:
    """Asking twice, or rebuilding the dataset, gives the same films in the same order: splits rely on it."""
    dataset, entries = _with_entries(subject)
    again = _with_entries(subject)[1]
    expect(
        list(dataset.entries()) == list(entries) and list(again) == list(entries),
        "the same entries in the same order every time",
        "others",
        "Sort what a folder listing gives.",
    )


def films_fit_their_masks(subject: Subject) -> None:
    """A film is finite uint8, uint16 or float32 (H, W); each structure that it is labelled with has a bool mask."""
    dataset, entries = _with_entries(subject)
    for entry in _some(entries):
        sample = read_sample(dataset, entry, dataset.structures)
        expect(sample.id == entry.id, f"the id {entry.id!r}", repr(sample.id), "Give the sample its entry's id.")


def films_read_the_same_twice(subject: Subject) -> None:
    """Reading a film again, also with a rebuilt dataset, gives the same pixels and masks."""
    dataset, entries = _with_entries(subject)
    other = _dataset(subject)
    for entry in _some(entries)[:2]:
        first, second = dataset.read(entry), other.read(entry)
        same = np.array_equal(first.image, second.image) and first.spacing == second.spacing
        masks = first.masks.keys() == second.masks.keys() and all(
            np.array_equal(mask, second.masks[name]) for name, mask in first.masks.items()
        )
        expect(same and masks, f"film {entry.id} to read the same twice", "others", "Seed by the entry's id.")


def a_wrong_folder_is_reported(subject: Subject) -> None:
    """A missing folder and an empty one raise an error that names it, unless the dataset reads no folder."""
    with tempfile.TemporaryDirectory() as empty:
        for wrong in (Path(empty) / "missing", Path(empty)):
            try:
                dataset: Dataset = subject.build(wrong)
                entries = dataset.entries()
            except PluginError:
                raise
            except CxrkitError as error:
                message = str(error)
                expect(
                    wrong.name in message, f"an error that names {wrong.name}", repr(message), "Name the folder in it."
                )
            except Exception as error:
                raise ConformanceError(
                    "a DataError for a folder without films",
                    reason(error),
                    "Check for the folder in `entries` and raise `cxrkit.errors.DataError(what, remedy)`.",
                ) from error
            else:
                expect(len(entries) > 0, "a DataError for a folder without films", "no entries", "Raise DataError.")


def only_its_own_places_are_recognised(subject: Subject) -> None:
    """`recognises` says True or False of any place without raising, and an empty folder isn't recognised."""
    recognises = getattr(subject.component.target, "recognises", None)
    if recognises is None:
        raise SkipTest("it isn't registered as a class, so users name it: --data NAME:PLACE")
    with tempfile.TemporaryDirectory() as empty:
        file = Path(empty) / "files" / "film.unknown"
        file.parent.mkdir()
        file.touch()
        bare = Path(empty) / "bare"
        bare.mkdir()
        for place in (bare, file, *([] if subject.root is None else [subject.root])):
            try:
                answer = recognises(place)
            except Exception as error:
                raise ConformanceError(
                    "True or False of any place",
                    reason(error),
                    "Check first whether it is a file or a folder; it may hold anything.",
                ) from error
            expect(isinstance(answer, bool), "True or False", describe(answer), "Return a bool, as `any(...)` does.")
            expect(
                not answer or place == subject.root,
                "only places of its own to be recognised",
                "True for an empty folder or file",
                "Look for names that only this dataset's places hold; users can name the dataset: NAME:PLACE.",
            )


def _some(entries: Sequence[Entry]) -> list[Entry]:
    """The first, middle and last film."""
    places = sorted({0, len(entries) // 2, len(entries) - 1})
    return [entries[place] for place in places]


CHECKS: tuple[Check, ...] = (
    structures_have_names,
    entries_are_distinct,
    entries_keep_their_order,
    films_fit_their_masks,
    films_read_the_same_twice,
    a_wrong_folder_is_reported,
    only_its_own_places_are_recognised,
)
