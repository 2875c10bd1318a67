"""Checking a whole dataset for what would go wrong in training; all findings are reported, not only the first."""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from cxrkit.component_config import Missing
from cxrkit.data.joined import SEPARATOR, structures_of
from cxrkit.data.samples import list_entries, read_sample
from cxrkit.errors import CxrkitError
from cxrkit.interfaces import Dataset, Entry, Sample

Severity = Literal["error", "warning", "note"]

#: A film is small below this many pixels a side, poor in greys below this many different values, and low in
#: contrast if the middle 90 % of its pixels span less than this share of its own range.
SMALL_SIDE = 128
FEW_GREYS = 32
LOW_CONTRAST = 0.1
#: A mask's area is an outlier beyond this many robust standard deviations of the logarithm of the structure's areas.
OUTLIER = 5.0
_ENOUGH_FOR_OUTLIERS = 10
#: Left and right structures that share more than this part of the smaller one are likely the same mask.
_SHARED = 0.5

#: A mask that takes up most of its film and more than this part of the film's outermost pixels is likely inverted.
_INVERTED_FRAME = 0.9

_ORDER: dict[Severity, int] = {"error": 0, "warning": 1, "note": 2}


@dataclass(frozen=True)
class Finding:
    """Something found in a dataset.

    Attributes:
        severity: `error` stops training; `warning` probably harms it; `note` is good to know.
        id: the film, or "" for the dataset as a whole.
        file: where it is, if it is about one file.
        message: what was found, in one sentence.
        remedy: what to do about it.
    """

    severity: Severity
    id: str
    file: Path | None
    message: str
    remedy: str


@dataclass(frozen=True)
class _Seen:
    """What is remembered of a film, so that its pixels needn't be kept."""

    entry: Entry
    digest: str
    areas: Mapping[str, float]
    has_spacing: bool


def check_dataset(
    dataset: Dataset, structures: Sequence[str] | None = None, progress: Callable[[int, int], None] | None = None
) -> list[Finding]:
    """`check_datasets` of one dataset."""
    return check_datasets({"": dataset}, structures, progress)


def check_datasets(
    datasets: Mapping[str, Dataset],
    structures: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    missing: Mapping[str, Missing] | None = None,
) -> list[Finding]:
    """Read every film of one dataset, or of several by alias, and report everything wrong or odd, errors first.

    Errors are films that can't be read, or have a fault (`Entry.fault`). Warnings: empty and inverted masks, masks of
    an unusual area, left and right swapped, a heart that isn't between the lungs, the same picture twice, tiny, dark or
    flat films, and the datasets' own warnings. Notes: no spacing, and which of several datasets annotates what.

    By default masks of all structures are checked. `progress` is called with the number of films that are done, 0 at
    first, and of all. `missing` says, by alias, whether masks that films lack are errors or unknown.

    Raises:
        DataError: a dataset as a whole can't be used: it has no films, or lacks the structures; or the datasets don't
            fit together.
    """
    findings: list[Finding] = []
    entries: dict[str, tuple[Entry, ...]] = {}
    with _warnings_into(findings):
        for alias, dataset in datasets.items():
            entries[alias] = list_entries(dataset, faulty=True, missing=(missing or {}).get(alias, "error"))
        chosen = structures_of(datasets, structures)
    total = sum(map(len, entries.values()))
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    if progress is not None:
        progress(0, total)
    every: list[_Seen] = []
    for alias, dataset in datasets.items():
        own = tuple(name for name in chosen if name in dataset.structures)
        found, seen = _check_films(dataset, entries[alias], own, count)
        for name in own:
            found.extend(_area_outliers(seen, name))
            found.extend(_without_mask(seen, name))
        found.extend(_spacing(seen))
        if len(datasets) > 1:
            found.append(_annotated(seen, own, chosen))
            start = f"{alias}{SEPARATOR}"
            found = [replace(one, id=start + one.id if one.id else alias) for one in found]
            seen = [
                replace(one, entry=replace(one.entry, id=start + one.entry.id, group=start + one.entry.group))
                for one in seen
            ]
        findings.extend(found)
        every.extend(seen)
    findings.extend(_duplicates(every))
    findings.extend(_same_names(entries))
    return sorted(findings, key=lambda finding: (_ORDER[finding.severity], finding.id))


def _check_films(
    dataset: Dataset, entries: Sequence[Entry], structures: Sequence[str], count: Callable[[], None]
) -> tuple[list[Finding], list[_Seen]]:
    """What is wrong with each film, and what is remembered of those that could be read; `count` is called for each."""
    findings: list[Finding] = []
    seen: list[_Seen] = []
    for entry in entries:
        if entry.fault:
            findings.append(_about(entry, entry.fault, "Add what is missing, or take the film away.", "error"))
        try:
            sample = read_sample(dataset, entry, () if entry.fault else structures)
        except CxrkitError as error:
            findings.append(_about(entry, error.what, error.remedy, "error"))
            continue
        finally:
            count()
        findings.extend(check_film(entry, sample))
        if not entry.fault:
            known = entry.known(structures)
            findings.extend(check_anatomy(entry, {name: sample.masks[name] for name in known}))
            seen.append(_remember(entry, sample, known))
    return findings, seen


def _same_names(entries: Mapping[str, Sequence[Entry]]) -> Iterator[Finding]:
    """Names that several datasets use, which needn't be of the same films or patients."""
    names = {
        "film": [{entry.id for entry in films} for films in entries.values()],
        "patient": [{entry.group for entry in films if entry.group != entry.id} for films in entries.values()],
    }
    for what, sets in names.items():
        counts = Counter(name for found in sets for name in found)
        if shared := sorted(name for name, count in counts.items() if count > 1):
            more = f", and {len(shared) - 1} more" if len(shared) > 1 else ""
            yield Finding(
                "note",
                "",
                None,
                f"Several datasets have a {what} called '{shared[0]}'{more}.",
                f"They count as different {what}s: their names begin with the dataset's alias.",
            )


def _annotated(seen: Sequence[_Seen], own: Sequence[str], chosen: Sequence[str]) -> Finding:
    """What one of several datasets annotates."""
    counts = [f"{name} on {sum(name in film.areas for film in seen)}" for name in own]
    others = [name for name in chosen if name not in own]
    remedy = f"Here {', '.join(others)} {'is' if len(others) == 1 else 'are'} unknown, not absent." if others else ""
    return Finding("note", "", None, f"{len(seen)} films, with masks of {', '.join(counts) or 'nothing'}.", remedy)


@contextmanager
def _warnings_into(findings: list[Finding]) -> Iterator[None]:
    """Turn a dataset's warnings into findings instead of printing them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        yield
    for message in dict.fromkeys(str(warning.message) for warning in caught):
        findings.append(Finding("warning", "", None, message, "Fix it, unless it is intended."))


def check_film(entry: Entry, sample: Sample) -> Iterator[Finding]:
    """What is odd about a film's pixels, and what its file says against it."""
    image = sample.image
    height, width = image.shape
    for remark in sample.remarks:
        yield _about(
            entry,
            f"{remark[0].upper()}{remark[1:]}.",
            "Look at it; if it matters, correct the header, export the film again, or leave it out.",
        )
    if min(height, width) < SMALL_SIDE:
        yield _about(
            entry, f"The film is only {width} × {height} pixels.", "Use the original film rather than a thumbnail."
        )
    greys = len(np.unique(image))
    if greys < FEW_GREYS:
        yield _about(entry, f"The film has only {greys} different grey values.", "Export it again with its full depth.")
    low, dark, bright, high = np.percentile(image, [0, 5, 95, 100])
    if bright - dark < LOW_CONTRAST * (high - low):
        share = round(100 * float((bright - dark) / max(high - low, 1e-12)))
        yield _about(
            entry,
            f"The film is flat: 90 % of its pixels span {share} % of its range of grey values.",
            "Look at it: perhaps a bright marker or a wrong window takes up the range. Crop it, or export it again.",
        )
    elif bright - low < 0.25 * (high - low):
        yield _about(
            entry,
            "The film is dark: 95 % of its pixels lie in the lowest quarter of its range of grey values.",
            "Look at it; CLAHE at 8 bits (--set preprocess.clahe.bits=8) evens such films out.",
        )


def check_anatomy(entry: Entry, masks: Mapping[str, np.ndarray]) -> Iterator[Finding]:
    """What is impossible in a chest: empty masks, swapped sides, a heart beside the lungs.

    Left and right are the patient's: `left_lung` is on the right of the picture.
    """
    for name, mask in masks.items():
        if not mask.any():
            yield _about(
                entry, f"The mask of '{name}' is empty.", "Draw it, or leave the film out, unless it is really absent."
            )
        elif mask.all():
            yield _about(entry, f"The mask of '{name}' covers the whole film.", "Check the mask file; 0 is background.")
        elif mask.mean() > 0.5 and _frame(mask).mean() > _INVERTED_FRAME:
            yield _about(
                entry,
                f"The mask of '{name}' covers {100 * mask.mean():.0f} % of the film, its edges too: it seems inverted.",
                "Look at it; if background and structure are exchanged, invert the mask: 0 is background.",
            )
    columns = {name: float(np.nonzero(mask)[1].mean()) for name, mask in masks.items() if mask.any()}
    for left in [name for name in columns if name.startswith("left_")]:
        right = "right_" + left.removeprefix("left_")
        if right not in columns:
            continue
        if columns[left] < columns[right]:
            yield _about(
                entry,
                f"'{left}' lies to the left of '{right}' in the picture; they seem swapped, or the film mirrored.",
                "Left is the patient's: it is on the right of the picture. Swap the masks, or mirror the film.",
            )
        shared = (masks[left] & masks[right]).sum() / min(masks[left].sum(), masks[right].sum())
        if shared > _SHARED:
            yield _about(
                entry,
                f"'{left}' and '{right}' share {round(100 * float(shared))} % of the smaller.",
                "Perhaps one mask was used twice, or shows both sides.",
            )
    if {"heart", "left_lung", "right_lung"} <= columns.keys():
        sides = sorted((columns["left_lung"], columns["right_lung"]))
        if not sides[0] < columns["heart"] < sides[1]:
            yield _about(
                entry,
                "The centre of 'heart' does not lie between the centres of the lungs.",
                "Look at the masks: heart and a lung may be swapped.",
            )


def _frame(mask: np.ndarray) -> np.ndarray:
    """The outermost rows and columns of a mask `(H, W)`, one after the other."""
    return np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])


def _remember(entry: Entry, sample: Sample, structures: Sequence[str]) -> _Seen:
    image = np.ascontiguousarray(sample.image)
    digest = hashlib.sha256(f"{image.shape} {image.dtype}".encode() + image.tobytes()).hexdigest()
    areas = {name: float(sample.masks[name].mean()) for name in structures}
    return _Seen(entry, digest, areas, sample.spacing is not None)


def _duplicates(seen: Sequence[_Seen]) -> Iterator[Finding]:
    by_digest: dict[str, list[_Seen]] = {}
    for film in seen:
        by_digest.setdefault(film.digest, []).append(film)
    for same in by_digest.values():
        first = same[0]
        for second in same[1:]:
            yield _about(
                second.entry,
                f"The film has the same pixels as '{first.entry.id}'.",
                "Leave one out: a film used for both training and testing makes results look better than they are.",
                "warning" if first.entry.group != second.entry.group else "note",
            )


def _area_outliers(seen: Sequence[_Seen], name: str) -> Iterator[Finding]:
    films = [film for film in seen if film.areas.get(name)]
    if len(films) < _ENOUGH_FOR_OUTLIERS:
        return
    logarithms = np.log([film.areas[name] for film in films])
    middle = float(np.median(logarithms))
    # 1.4826 makes the median deviation of normally distributed values their standard deviation; the floor keeps
    # datasets of nearly equal areas from calling everything an outlier.
    deviation = max(1.4826 * float(np.median(np.abs(logarithms - middle))), 0.05)
    for film, logarithm in zip(films, logarithms.tolist(), strict=True):
        if abs(logarithm - middle) > OUTLIER * deviation:
            yield _about(
                film.entry,
                f"The mask of '{name}' covers {100 * film.areas[name]:.1f} % of the film; "
                f"{100 * float(np.exp(middle)):.1f} % is usual here.",
                "Look at the mask: a part may be missing, or another structure may have been drawn instead.",
            )


def _without_mask(seen: Sequence[_Seen], name: str) -> Iterator[Finding]:
    if count := sum(name not in film.areas for film in seen):
        message = f"{count} of {len(seen)} films have no mask of '{name}'."
        yield Finding("note", "", None, message, "They train and are scored on the structures that they have masks of.")


def _spacing(seen: Sequence[_Seen]) -> Iterator[Finding]:
    counts = Counter(film.has_spacing for film in seen)
    if counts[False]:
        which = "No film says" if not counts[True] else f"{counts[False]} of {len(seen)} films don't say"
        yield Finding(
            "note", "", None, f"{which} how large its pixels are.", "Their distances will be in pixels, not mm."
        )


def _about(entry: Entry, message: str, remedy: str, severity: Severity = "warning") -> Finding:
    return Finding(severity, entry.id, entry.files[0] if entry.files else None, message, remedy)
