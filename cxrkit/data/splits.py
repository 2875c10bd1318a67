"""Which films train, validate and test: a permutation by seed, in which patients stay together.

Of several datasets each is split by itself: fractions are of its films, and counts are divided among them.

The patients are shuffled by the seed. Training films are taken from the start of that order, test films from its
end, so that of one seed the test films are the same for every training size, and a smaller training set is part of
a larger one (Maga 2021, §3.1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from cxrkit.config import SplitConfig
from cxrkit.errors import DataError, located, nearest
from cxrkit.files import write_text
from cxrkit.interfaces import Entry

_PARTS = ("train", "validation", "test")


class Split(BaseModel):
    """The ids of the films of each part; no film is in two.

    Attributes:
        train, validation, test: in the order of the permutation.
        left_out: films that are in no part although there was room, because their patient is in another one.
        seed: what the permutation was made from.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    seed: int

    @model_validator(mode="after")
    def _disjoint(self) -> Self:
        seen: dict[str, str] = {}
        for part in (*_PARTS, "left_out"):
            for film in getattr(self, part):
                if film in seen:
                    raise ValueError(f"film '{film}' is in {seen[film]} and again in {part}")
                seen[film] = part
        if not self.train:
            raise ValueError("no film trains")
        return self

    def save(self, path: Path) -> None:
        """Write the split as JSON, atomically.

        Raises:
            StorageError: the file can't be written.
        """
        write_text(path, self.model_dump_json(indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> Split:
        """Read a split that `save` wrote.

        Raises:
            DataError: the file can't be read, isn't a split, or has a film twice.
        """
        try:
            return cls.model_validate_json(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise DataError(f"{path}: there is no such split file.", "Check the path (split.file).") from error
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: can't be read: {error}.", "Check the file and its permissions.") from error
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(str(step) for step in fault["loc"])
            message = fault["msg"].removeprefix("Value error, ")
            raise DataError(
                f"{path}: is not a split: {where + ': ' if where else ''}{message}.",
                "Give the split.json of a run's folder, or fix the file.",
            ) from error


@dataclass(frozen=True)
class _Taken:
    """Films taken from an order of patients, the patients that are left, and the members of a cut one."""

    films: tuple[str, ...]
    rest: tuple[tuple[str, ...], ...]
    cut: tuple[str, ...]


def make_split(
    entries: Sequence[Entry], config: SplitConfig, seed: int, protocol: Literal["honest", "paper"] = "honest"
) -> Split:
    """Split films by a seed; the order of `entries` doesn't matter.

    Sizes are exact: where a patient has more films than a part has room for, the part takes some of them and the
    others are left out (`Split.left_out`). Only validation, which comes last, may fall short by such films.
    Fractions are rounded; of a test fraction at least 1 film is taken, and of a validation fraction at least 1 as
    soon as 2 films train.

    Validation films are the last of the training part, so that both together are `train_size` (`"rest"`: all that
    neither train nor test, and `train_size` films train). Under the `paper` protocol there is none: the test films
    select.

    Films of several datasets (`Entry.dataset`) are split dataset by dataset, so that by fractions each has the test
    films that it has alone. Counts are divided among them in proportion to their films, at least one each where there
    are enough. A group that is in two datasets, such as films that both have, is in one part only.

    Raises:
        DataError: too few films, an unknown fold, or a split file that doesn't fit the films.
    """
    validates = protocol != "paper"
    if config.file is not None:
        split = _from_file(entries, config.file)
    else:
        split = _draw_each(entries, config, seed, validates=validates)
    if not validates and not split.test:
        raise DataError(
            "The paper's protocol chooses the weights on the test films, but there are none.",
            "Set split.test_size, or train.protocol=honest.",
        )
    return split


def has_tests(config: SplitConfig) -> bool:
    """Whether a split by this configuration has test films.

    Raises:
        DataError: its file can't be read.
    """
    if config.file is not None:
        return bool(Split.load(config.file).test)
    return config.test_fold is not None or bool(config.test_size)


def _draw_each(entries: Sequence[Entry], config: SplitConfig, seed: int, *, validates: bool) -> Split:
    datasets: dict[str, list[Entry]] = {}
    for entry in entries:
        datasets.setdefault(entry.dataset, []).append(entry)
    if len(datasets) == 1:
        return _draw(entries, config, seed, validates=validates)
    films = tuple(datasets.values())

    def draw(**settings: Sequence[Any]) -> list[Split]:
        parts = []
        for place, (name, own) in enumerate(datasets.items()):
            with located(name):
                changed = config.model_copy(update={key: values[place] for key, values in settings.items()})
                parts.append(_draw(own, changed, seed, validates=validates))
        return parts

    with_fold = [any(entry.fold == config.test_fold for entry in own) for own in films]
    testing = {
        # Where one has the fold, those without it are split by size.
        "test_fold": [config.test_fold if has or not any(with_fold) else None for has in with_fold],
        "test_size": _divided(config.test_size, [len(own) for own in films]),
    }
    left = [len(part.train) for part in draw(**testing, train_size=[None] * len(films), validation=[0] * len(films))]
    if config.train_size is not None and not len(films) <= config.train_size <= sum(left):
        raise DataError(
            f"{config.train_size} training films were requested of {len(films)} datasets, which have {sum(left)} that "
            "aren't for testing.",
            "Choose a split.train_size in between, so that each dataset has one.",
        )
    training = _divided(config.train_size, left)
    asked = [room if size is None else size for room, size in zip(left, training, strict=True)]
    # At least one film of each trains.
    validation = _divided(config.validation, [size - 1 for size in asked])
    return _joined(entries, draw(**testing, train_size=training, validation=validation), seed)


def _divided(size: Any, among: Sequence[int]) -> list[Any]:
    """A count divided in proportion; anything else, such as a fraction, as it is for each.

    A larger count never makes a share smaller (Adams' method).
    """
    if not isinstance(size, int):
        return [size] * len(among)
    shares = [0] * len(among)
    for _ in range(size):
        # Who has none comes first, the largest of them before the others.
        need = [(films / share if share else math.inf, films) for films, share in zip(among, shares, strict=True)]
        shares[need.index(max(need, key=lambda one: (one[1] > 0, *one)))] += 1
    return shares


def _joined(entries: Sequence[Entry], parts: Sequence[Split], seed: int) -> Split:
    """The splits of several datasets as one; a group that they share stays in the first of test, validation, train."""
    groups = {entry.id: entry.group for entry in entries}
    taken: dict[str, str] = {}
    kept: dict[str, list[str]] = {"test": [], "validation": [], "train": []}
    left_out = [film for part in parts for film in part.left_out]
    for name, films in kept.items():
        for film in chain.from_iterable(getattr(part, name) for part in parts):
            fits = taken.setdefault(groups[film], name) == name
            (films if fits else left_out).append(film)
    try:
        return Split(**kept, left_out=tuple(sorted(left_out)), seed=seed)
    except ValidationError as error:
        raise DataError(
            "All training films of the datasets are in another one's test or validation part.",
            "Use datasets that don't have the same films.",
        ) from error


def _draw(entries: Sequence[Entry], config: SplitConfig, seed: int, *, validates: bool) -> Split:
    order = _shuffled(entries, seed)
    if config.test_fold is not None:
        test, pool, left_out = _by_fold(entries, config.test_fold, order)
    else:
        count = _count(config.test_size, len(entries), least=1)
        if count >= len(entries):
            raise DataError(
                f"{count} test films were requested, but there are only {len(entries)} films.",
                "Set split.test_size to a smaller count or fraction.",
            )
        taken = _take(order[::-1], count)
        test, pool, left_out = taken.films, taken.rest[::-1], taken.cut
    available = sum(len(group) for group in pool)
    asked = available if config.train_size is None else config.train_size
    if asked > available or available == 0:
        raise DataError(
            f"{max(asked, 1)} training films were requested, but apart from {len(test)} test films there are only "
            f"{available}" + (f" ({len(left_out)} more belong to patients of test films)." if left_out else "."),
            "Lower split.train_size or split.test_size, or add films.",
        )
    if not validates:
        validating = 0
    elif config.validation == "rest":
        validating = available - asked
    else:
        validating = _count(config.validation, asked, least=1 if asked > 1 else 0)
    training = asked if config.validation == "rest" else asked - validating
    if training < 1:
        raise DataError(
            f"{validating} of the {asked} training films would be validation films, which leaves none for training.",
            "Lower split.validation, raise split.train_size, or set split.validation=rest.",
        )
    if validates and config.validation == "rest" and validating == 0:
        raise DataError(
            f"split.validation=rest uses the films that aren't for training, but all {available} are.",
            "Set split.train_size below that, or split.validation to a count or fraction.",
        )
    trained = _take(pool, training)
    # Films of a patient that was cut may leave fewer than were asked for.
    validated = _take(trained.rest, min(validating, sum(len(group) for group in trained.rest)))
    return Split(
        train=trained.films,
        validation=validated.films,
        test=test,
        left_out=tuple(sorted((*left_out, *trained.cut, *validated.cut))),
        seed=seed,
    )


def _shuffled(entries: Sequence[Entry], seed: int) -> tuple[tuple[str, ...], ...]:
    """The films of each patient, patients in an order by seed that doesn't depend on that of the entries."""
    members: dict[str, list[str]] = {}
    for entry in entries:
        members.setdefault(entry.group, []).append(entry.id)
    groups = sorted(members)
    shuffled = np.random.default_rng(seed).permutation(len(groups))
    return tuple(tuple(sorted(members[groups[index]])) for index in shuffled)


def _take(order: Sequence[tuple[str, ...]], count: int) -> _Taken:
    """The first `count` films; of the last patient concerned those that don't fit are cut off."""
    films: list[str] = []
    for position, group in enumerate(order):
        if len(films) == count:
            return _Taken(tuple(films), tuple(order[position:]), ())
        room = count - len(films)
        films.extend(group[:room])
        if len(group) > room:
            return _Taken(tuple(films), tuple(order[position + 1 :]), group[room:])
    return _Taken(tuple(films), (), ())


def _count(size: int | float, of: int, *, least: int) -> int:
    """A count as it is, or a fraction of `of`, rounded; of a fraction above 0 at least `least`."""
    if isinstance(size, int):
        return size
    return max(least, round(size * of)) if size > 0 else 0


def _by_fold(
    entries: Sequence[Entry], fold: str, order: Sequence[tuple[str, ...]]
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...], tuple[str, ...]]:
    """The films of a fold, the other patients, and films left out: those of the fold's patients outside of it."""
    folds = sorted({entry.fold for entry in entries if entry.fold is not None})
    if fold not in folds:
        raise DataError(
            f"The films have no fold '{fold}'.",
            f"{nearest(fold, folds)}Their folds are: {', '.join(folds)}."
            if folds
            else "This dataset comes without folds: leave split.test_fold out and set split.test_size.",
        )
    inside = {entry.id for entry in entries if entry.fold == fold}
    touched = [group for group in order if inside.intersection(group)]
    pool = tuple(group for group in order if not inside.intersection(group))
    test = tuple(film for film in chain.from_iterable(touched) if film in inside)
    return test, pool, tuple(film for film in chain.from_iterable(touched) if film not in inside)


def _from_file(entries: Sequence[Entry], path: Path) -> Split:
    split = Split.load(path)
    known = {entry.id for entry in entries}
    strangers = [film for part in _PARTS for film in getattr(split, part) if film not in known]
    if strangers:
        shown = ", ".join(strangers[:5]) + (", …" if len(strangers) > 5 else "")
        raise DataError(
            f"{path}: {len(strangers)} of its films are not in the dataset: {shown}.",
            "Use the dataset that the split was made for, or another split file.",
        )
    parts: dict[str, str] = {}
    groups = {entry.id: entry.group for entry in entries}
    for part in _PARTS:
        for film in getattr(split, part):
            if parts.setdefault(groups[film], part) != part:
                raise DataError(
                    f"{path}: films of patient '{groups[film]}' are in {parts[groups[film]]} and in {part} "
                    f"(film '{film}').",
                    "Move or leave out some of them: a network must not be tested on patients that it was trained on.",
                )
    return split
