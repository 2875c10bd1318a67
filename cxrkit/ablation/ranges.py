"""What a search searches: the choices of a plan's factors, and ranges of further settings; and its record on disk."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrkit.ablation.plan import Plan, make_plan
from cxrkit.ablation.results import like_its_runs
from cxrkit.errors import ConfigError, located, shown
from cxrkit.files import write_text
from cxrkit.overrides import differences
from cxrkit.settings import full_name
from cxrkit.yaml_text import read_yaml, to_yaml

#: In the search's folder: what is searched, and how many trials were asked for.
SEARCH_FILE = "search.yaml"


@dataclass(frozen=True)
class Range:
    """A setting's range: whole numbers if both ends are, evenly in the logarithm if `log`."""

    key: str
    low: float | int
    high: float | int
    log: bool = False

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are tried."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def __str__(self) -> str:
        """As `parse_range` reads it."""
        return f"{self.key}={self.low}..{self.high}{':log' if self.log else ''}"


@dataclass(frozen=True)
class Space:
    """What all trials share and what they try. The plan's first seed is every trial's.

    Raises:
        ConfigError: the seed or one setting twice is searched, or the plan excludes combinations.
    """

    plan: Plan
    ranges: tuple[Range, ...]

    def __post_init__(self) -> None:
        if self.plan.exclude:
            raise ConfigError("exclude: a search tries all combinations.", "Remove the exclusions.")
        factors = self.plan.factors
        searched = {full_name(key): f.name for f in factors for level in f.levels for key in level.settings}
        for span in self.ranges:
            if full_name(span.key) == "seed":
                raise ConfigError("--range seed: all trials have the same seed.", "Search another setting.")
            if (other := searched.get(full_name(span.key))) is not None:
                also = "twice" if other == span.key else f"as {other} too"
                raise ConfigError(f"--range {span.key}: it is searched {also}.", "Remove one of them.")
            searched[full_name(span.key)] = span.key

    def content(self) -> dict[str, Any]:
        """As plain values."""
        return {"plan": self.plan.content(), "ranges": [str(span) for span in self.ranges]}


def parse_range(text: str) -> Range:
    """`train.lr=1e-4..1e-2:log` or `model.depth=3..5`.

    Raises:
        ConfigError: it isn't of that form, or its ends are swapped.
    """
    number = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
    match = re.fullmatch(rf"\s*([\w.-]+)\s*=\s*({number})\.\.({number})(:log)?\s*", text)
    if match is None:
        raise ConfigError(f"--range {shown(text)} is not a range.", "Write KEY=LOW..HIGH, or KEY=LOW..HIGH:log.")
    key, low, high, log = match.groups()
    number_of = int if all(re.fullmatch(r"[+-]?\d+", end) for end in (low, high)) else float
    made = Range(key, number_of(low), number_of(high), log is not None)
    if made.low >= made.high or (made.log and made.low <= 0):
        fault = "a logarithm needs numbers above 0" if made.low < made.high else "ends are swapped"
        raise ConfigError(f"--range {shown(text)}: {fault}.", "Write the lower number first, above 0 for :log.")
    return made


def save_space(space: Space, trials: int, path: Path) -> None:
    """Record what is searched in the search's folder, atomically."""
    content = {**space.content(), "trials": trials}
    write_text(path / SEARCH_FILE, to_yaml(content))


def read_space(path: Path) -> tuple[Space, int]:
    """What a folder's search searches, and how many trials were asked for last.

    Raises:
        ConfigError: there is no search, or its record is damaged.
    """
    file = path / SEARCH_FILE
    content = read_yaml(file)
    plan, ranges, trials = (content.get(key) for key in ("plan", "ranges", "trials"))
    if not isinstance(plan, Mapping) or not isinstance(ranges, list) or not isinstance(trials, int):
        raise ConfigError(f"{file} is not a record of a search.", "Choose another --out.")
    with located(file):
        return Space(like_its_runs(make_plan(plan), path), tuple(parse_range(str(text)) for text in ranges)), trials


def check_same(space: Space, path: Path) -> None:
    """Refuse to mix trials of different searches in one folder, which need not exist.

    Raises:
        ConfigError: the folder holds a different search; lists the differences.
    """
    if not (path / SEARCH_FILE).is_file():
        return
    before, _ = read_space(path)
    if changes := list(differences(before.content(), space.content())):
        changes = [difference.removeprefix("plan.").removeprefix("base.") for difference in changes]
        raise ConfigError(
            f"{path} holds a different search: {'; '.join(changes)}.",
            f"Continue that one (--resume {path}), or choose another --out.",
        )
