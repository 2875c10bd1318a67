"""The dataset suite passes sound datasets, skips what needs data, and finds each fault."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import SkipTest

import cv2
import numpy as np
import pytest

from cxrkit.errors import DataError
from cxrkit.interfaces import Dataset, Entry, Sample
from cxrkit.testing import check_dataset

Judge = Callable[..., dict[str, str]]


class Good(Dataset):
    """Four films made of their number."""

    structures: tuple[str, ...] = ("left_lung", "heart")
    names: Sequence[str] = ("a", "b", "c", "d")

    def entries(self) -> Sequence[Entry]:
        return [Entry(name, f"patient-{name}") for name in self.names]

    def read(self, entry: Entry) -> Sample:
        image = np.full((32, 48), ord(entry.id[0]), np.uint8)
        return Sample(entry.id, image, {name: image > 98 for name in self.structures}, spacing=(0.2, 0.2))


class Folder(Good):
    """Films of a folder."""

    def entries(self) -> Sequence[Entry]:
        if self.root is None:
            raise DataError("A folder is needed.", "Give --data.")
        if not self.root.is_dir() or not any(self.root.glob("*.png")):
            raise DataError(f"{self.root}: no films.", "Check the path.")
        return [Entry(path.stem, path.stem, (path,)) for path in sorted(self.root.glob("*.png"))]


@pytest.fixture
def films(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.zeros((8, 8), np.uint8))
    return tmp_path


def test_a_dataset_that_makes_its_films_passes(failures: Judge, skips: Judge) -> None:
    assert failures("dataset", Good) == {}
    assert skips("dataset", Good) == {}


def test_films_may_lack_masks_that_they_are_not_labelled_with(failures: Judge) -> None:
    class Lacking(Good):
        """Half of the films have no heart drawn."""

        def entries(self) -> Sequence[Entry]:
            return [Entry(name, name, labelled=None if name in "ab" else ("left_lung",)) for name in self.names]

        def read(self, entry: Entry) -> Sample:
            good = super().read(entry)
            return Sample(entry.id, good.image, {name: good.masks[name] for name in entry.known(self.structures)})

    assert failures("dataset", Lacking) == {}


def test_a_dataset_that_reads_passes_on_its_folder(failures: Judge, skips: Judge, films: Path) -> None:
    assert failures("dataset", Folder, films) == {}
    assert skips("dataset", Folder, films) == {}


def test_without_a_folder_the_checks_are_skipped_with_a_reason(failures: Judge, skips: Judge) -> None:
    assert failures("dataset", Folder) == {}
    reasons = skips("dataset", Folder)
    assert "films fit their masks" in reasons
    assert "a wrong folder is reported" not in reasons  # that needs no data
    assert set(reasons.values()) == {"needs data: A folder is needed."}


def test_a_missing_folder_is_no_reason_to_skip(failures: Judge, tmp_path: Path) -> None:
    assert "no films" in failures("dataset", Folder, tmp_path / "nowhere")["films fit their masks"]


def test_check_dataset_takes_a_folder(films: Path) -> None:
    check_dataset(Folder, root=films)
    # pytest reports unittest's reason to skip as skipped.
    with pytest.raises(SkipTest):
        check_dataset(Folder)


def sample(**changes: Any) -> Callable[[Dataset, Entry], Sample]:
    def read(self: Dataset, entry: Entry) -> Sample:
        good = Good.read(self, entry)  # type: ignore[arg-type]
        fields = {"id": good.id, "image": good.image, "masks": good.masks, "spacing": good.spacing}
        return Sample(**(fields | {name: change(good) for name, change in changes.items()}))

    return read


def entries(*made: Any) -> Callable[[Dataset], Sequence[Entry]]:
    return lambda self: list(made)


COUNTER = itertools.count()

FAULTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "no structures": ({"structures": ()}, "structures have names", "snake_case"),
    "a list of structures": ({"structures": ["heart"]}, "structures have names", "a tuple"),
    "the background as structure": ({"structures": ("heart", "background")}, "structures have names", "background"),
    "structures with blanks": ({"structures": ("left lung",)}, "structures have names", "left lung"),
    "one id twice": ({"names": ("a", "b", "a")}, "entries are distinct", "'a' occurs twice"),
    "a slash in an id": ({"names": ("a/1", "b")}, "entries are distinct", "file name"),
    "an id that hides": ({"names": (".a", "b")}, "entries are distinct", "file names"),
    "no films": ({"names": ()}, "entries are distinct", "no films"),
    "no patient": ({"entries": entries(Entry("a", ""))}, "entries are distinct", "id as its group"),
    "a number as fold": ({"entries": entries(Entry("a", "a", fold=1))}, "entries are distinct", "fold"),  # type: ignore[arg-type]
    "another label": ({"entries": entries(Entry("a", "a", labelled=("rib",)))}, "entries are distinct", "rib"),
    "text as a label": ({"entries": entries(Entry("a", "a", labelled="heart"))}, "entries are distinct", "tuple"),  # type: ignore[arg-type]
    "text as a file": ({"entries": entries(Entry("a", "a", ("x",)))}, "entries are distinct", "paths"),  # type: ignore[arg-type]
    "files that are missing": (
        {"entries": entries(Entry("a", "a", (Path("no/such.png"),)))},
        "entries are distinct",
        "such.png",
    ),
    "a random order": (
        {"entries": lambda self: [Entry(f"{name}{next(COUNTER)}", "p") for name in "abc"]},
        "entries keep their order",
        "Sort",
    ),
    "no sample": ({"read": lambda self, entry: None}, "films fit their masks", "NoneType"),
    "another id": ({"read": sample(id=lambda good: "other")}, "films fit their masks", "'other'"),
    "a colour film": (
        {"read": sample(image=lambda good: np.zeros((32, 48, 3), np.uint8))},
        "films fit their masks",
        "(32, 48, 3)",
    ),
    "a film of doubles": (
        {"read": sample(image=lambda good: good.image.astype(float))},
        "films fit their masks",
        "float64",
    ),
    "a film with holes": (
        {"read": sample(image=lambda good: np.full((32, 48), np.nan, np.float32))},
        "films fit their masks",
        "finite",
    ),
    "a mask that is missing": (
        {"read": sample(masks=lambda good: {})},
        "films fit their masks",
        "no mask of 'left_lung'",
    ),
    "masks of numbers": (
        {"read": sample(masks=lambda good: {name: mask.astype(np.uint8) for name, mask in good.masks.items()})},
        "films fit their masks",
        "uint8",
    ),
    "masks of another size": (
        {"read": sample(masks=lambda good: {name: mask[::2] for name, mask in good.masks.items()})},
        "films fit their masks",
        "48 × 16",
    ),
    "a spacing of zero": ({"read": sample(spacing=lambda good: (0.0, 0.2))}, "films fit their masks", "millimetres"),
    "one number as spacing": ({"read": sample(spacing=lambda good: 0.2)}, "films fit their masks", "(row, column)"),
    "other pixels each time": (
        {"read": sample(image=lambda good: good.image + np.uint8(next(COUNTER) % 100))},
        "films read the same twice",
        "the same twice",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found(failures: Judge, fault: str) -> None:
    members, check, words = FAULTS[fault]
    found = failures("dataset", type("Faulty", (Good,), {"__doc__": "Faulty.", **members}))
    assert check in found
    assert words in found[check]


@pytest.mark.parametrize(
    ("fault", "words"),
    [(FileNotFoundError("raw"), "FileNotFoundError: raw"), (DataError("No luck."), "an error that names")],
)
def test_a_wrong_folder_must_be_reported_readably(failures: Judge, films: Path, fault: Exception, words: str) -> None:
    class Careless(Folder):
        """Doesn't look whether its folder is there."""

        def entries(self) -> Sequence[Entry]:
            try:
                return super().entries()
            except DataError:
                raise fault from None

    assert words in failures("dataset", Careless, films)["a wrong folder is reported"]


def test_an_empty_folder_is_no_empty_dataset(failures: Judge, films: Path) -> None:
    class Silent(Folder):
        """Finds nothing and says nothing."""

        def entries(self) -> Sequence[Entry]:
            assert self.root is not None
            return [Entry(path.stem, path.stem, (path,)) for path in sorted(self.root.glob("*.png"))]

    assert "no entries" in failures("dataset", Silent, films)["a wrong folder is reported"]


ITS_OWN = "only its own places are recognised"


@pytest.mark.parametrize(
    ("recognises", "words"),
    [
        (lambda root: any(root.iterdir()), "NotADirectoryError"),
        (lambda root: [path for path in (root / "films").glob("*")], "a list"),
        (lambda root: root.is_dir(), "True for an empty folder"),
    ],
    ids=["looks before it asks", "no bool", "claims every folder"],
)
def test_careless_recognition_is_found(failures: Judge, recognises: Callable[[Path], Any], words: str) -> None:
    faulty = type("Faulty", (Good,), {"__doc__": "Faulty.", "recognises": staticmethod(recognises)})
    assert words in failures("dataset", faulty)[ITS_OWN]


def test_recognition_of_its_own_folder_is_welcome(failures: Judge, films: Path) -> None:
    class Known(Folder):
        """Knows its films."""

        @classmethod
        def recognises(cls, root: Path) -> bool:
            return root.is_dir() and any(root.glob("*.png"))

    assert failures("dataset", Known, films) == {}


def test_a_factory_that_cannot_recognise_is_passed_over(skips: Judge) -> None:
    def make(root: Path | None) -> Good:
        """Four films."""
        return Good(root)

    assert "NAME:PLACE" in skips("dataset", make)[ITS_OWN]
