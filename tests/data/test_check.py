from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxrkit.data.check import Finding, check_dataset
from cxrkit.data.images import read_film, read_mask
from cxrkit.errors import DataError
from cxrkit.interfaces import Dataset, Entry, Sample


def findings(dataset: Dataset, **options: Any) -> list[Finding]:
    """All findings, each of which must say what to do."""
    found = check_dataset(dataset, **options)
    assert all(item.message and item.remedy for item in found)
    return found


def with_masks(**masks: Callable[[Sample], np.ndarray]) -> Callable[[Sample], Sample]:
    return lambda s: replace(s, masks={**s.masks, **{name: make(s) for name, make in masks.items()}})


def test_a_good_dataset_has_no_findings(chests: Callable[..., Any]) -> None:
    calls: list[tuple[int, int]] = []
    assert findings(chests(count=12), progress=lambda done, total: calls.append((done, total))) == []
    assert calls == [(number, 12) for number in range(13)]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (with_masks(heart=lambda s: np.zeros(s.image.shape, bool)), "'heart' is empty"),
        (with_masks(heart=lambda s: np.ones(s.image.shape, bool)), "covers the whole film"),
        (with_masks(heart=lambda s: ~s.masks["heart"]), "seems inverted"),
        (
            with_masks(left_lung=lambda s: s.masks["right_lung"], right_lung=lambda s: s.masks["left_lung"]),
            "swapped, or the film mirrored",
        ),
        (with_masks(left_lung=lambda s: s.masks["right_lung"] | s.masks["left_lung"]), "share 100 %"),
        (
            with_masks(heart=lambda s: s.masks["left_lung"], left_lung=lambda s: s.masks["heart"]),
            "does not lie between",
        ),
        (with_masks(heart=lambda s: s.masks["heart"] & (np.indices(s.image.shape)[0] < 80)), "is usual here"),
        (lambda s: replace(s, image=s.image // 4096), "different grey values"),
        (lambda s: replace(s, image=np.where(np.indices(s.image.shape).sum(0) < 2, 65535, s.image // 4)), "dark"),
        (
            lambda s: replace(s, image=np.where(np.indices(s.image.shape).sum(0) < 2, 65535, 30_000 + s.image // 9)),
            "flat",
        ),
    ],
)
def test_each_oddity_is_a_warning_for_its_film(
    chests: Callable[..., Any], change: Callable[[Sample], Sample], told: str
) -> None:
    found = findings(chests(count=12, change={"film_004": change}))
    assert {item.id for item in found} == {"film_004"}
    assert {item.severity for item in found} == {"warning"}
    assert any(told in item.message for item in found)
    assert found[0].file is not None
    assert found[0].file.name == "film_004.raw"


def test_small_films(chests: Callable[..., Any]) -> None:
    def thumbnail(sample: Sample) -> Sample:
        masks = {name: mask[::2, ::2] for name, mask in sample.masks.items()}
        return replace(sample, image=sample.image[::2, ::2], masks=masks)

    (found,) = findings(chests(change={"film_001": thumbnail}))
    assert "72 × 80" in found.message


def test_errors_are_collected_and_come_first(chests: Callable[..., Any]) -> None:
    def refuse(sample: Sample) -> Sample:
        raise DataError("film_003.raw: is broken.", "Copy it again.")

    def crash(sample: Sample) -> Sample:
        raise ZeroDivisionError("of a plugin")

    empty = with_masks(heart=lambda s: np.zeros(s.image.shape, bool))
    found = findings(chests(change={"film_000": empty, "film_003": refuse, "film_005": crash}))
    assert [(item.severity, item.id) for item in found] == [
        ("error", "film_003"),
        ("error", "film_005"),
        ("warning", "film_000"),
    ]
    assert found[0].message == "film_003.raw: is broken."
    assert found[0].remedy == "Copy it again."
    assert "ZeroDivisionError" in found[1].message


def test_what_a_dataset_warns_of_is_a_finding_and_not_printed(chests: Callable[..., Any]) -> None:
    class Talkative(type(chests())):  # type: ignore[misc]
        def entries(self) -> list[Entry]:
            for text in ("2 masks have no film.", "2 masks have no film."):
                warnings.warn(text, stacklevel=2)
            warnings.warn("for programmers", DeprecationWarning, stacklevel=2)
            return list(super().entries())

    dataset = Talkative(chests().root)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (found,) = findings(dataset)
    assert (found.severity, found.id, found.message) == ("warning", "", "2 masks have no film.")


def test_duplicates(chests: Callable[..., Any]) -> None:
    first = chests().read(Entry("film_001", "p"))
    same = {"film_003": lambda s: replace(s, image=first.image), "film_005": lambda s: replace(s, image=first.image)}
    found = findings(chests(change=same))
    assert [(item.severity, item.id) for item in found] == [("warning", "film_003"), ("warning", "film_005")]
    assert all("'film_001'" in item.message for item in found)
    one_patient = [Entry(f"film_00{n}", "p") for n in range(6)]
    assert {item.severity for item in findings(chests(change=same, entries=one_patient))} == {"note"}


def test_films_that_lack_a_mask_are_counted(chests: Callable[..., Any]) -> None:
    entries = [Entry(f"film_00{n}", f"p{n}", labelled=("heart",) if n else None) for n in range(3)]
    findings = check_dataset(chests(entries=entries), ["left_lung", "heart"])
    assert [f.message for f in findings if "mask" in f.message] == ["2 of 3 films have no mask of 'left_lung'."]


def test_what_a_films_file_says_against_it_is_a_warning(chests: Callable[..., Any]) -> None:
    (found,) = findings(chests(change={"film_002": lambda s: replace(s, remarks=("the header says view LL",))}))
    assert (found.severity, found.id, found.message) == ("warning", "film_002", "The header says view LL.")
    assert "upright" not in found.remedy, "remarks are about anything in the file"


def test_missing_spacing_is_reported_once(chests: Callable[..., Any]) -> None:
    def without(sample: Sample) -> Sample:
        return replace(sample, spacing=None)

    (some,) = findings(chests(change={"film_001": without, "film_002": without}))
    assert some.severity == "note"
    assert some.id == ""
    assert "2 of 6" in some.message
    (none,) = findings(chests(change={f"film_00{n}": without for n in range(6)}))
    assert "No film" in none.message


def test_only_the_structures_asked_for(chests: Callable[..., Any]) -> None:
    empty = with_masks(heart=lambda s: np.zeros(s.image.shape, bool))
    dataset = chests(change={"film_000": empty})
    assert findings(dataset, structures=["left_lung", "right_lung"]) == []
    with pytest.raises(DataError, match="Did you mean"):
        check_dataset(dataset, ["lefft_lung"])


class _Wingspan(Dataset):
    structures = ("left_lung", "right_lung", "heart")

    def entries(self) -> list[Entry]:
        assert self.root is not None
        films = sorted((self.root / "images").glob("*.png"))[::4]
        folders = [self.root / "masks" / name for name in self.structures]
        return [Entry(f.stem, f.stem, (f, *(folder / f.name for folder in folders))) for f in films]

    def read(self, entry: Entry) -> Sample:
        film, *masks = entry.files
        read = {name: read_mask(file) for name, file in zip(self.structures, masks, strict=True)}
        return Sample(entry.id, read_film(film).pixels, read)


def test_real_films_raise_no_false_alarm(wingspan: Path) -> None:
    found = findings(_Wingspan(wingspan))
    assert [item for item in found if item.severity == "error"] == []
    # Their provenance says that some are very dark; nothing else is wrong with them.
    assert all("dark" in item.message for item in found if item.severity == "warning")
