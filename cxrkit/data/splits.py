"""Which films train, validate and test: a permutation by seed, in which patients stay together.

The patients are shuffled by the seed. Training films are taken from the start of that order, test films from its
end, so that of one seed the test films are the same for every training size, and a smaller training set is part of
a larger one (Maga 2021, §3.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from cxrkit.config import SplitConfig
from cxrkit.errors import DataError, nearest
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

    Raises:
        DataError: too few films, an unknown fold, or a split file that doesn't fit the films.
    """
    validates = protocol != "paper"
    if config.file is not None:
        split = _from_file(entries, config.file)
    else:
        split = _draw(entries, config, seed, validates=validates)
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
