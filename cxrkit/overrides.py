"""What users write, as plain mappings: `--set` assignments, sums of losses, and how settings are merged.

What the settings mean and which values they take is in `cxrkit.config`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cxrkit.errors import ConfigError, nearest, shown
from cxrkit.kinds import SECTIONS
from cxrkit.plugins import registry
from cxrkit.yaml_text import read_value


def parse_set(assignments: Sequence[str]) -> dict[str, Any]:
    """`["model.depth=3"]` to `{"model.depth": 3}`; values are read as YAML.

    Raises:
        ConfigError: one has no `=`, or a value that isn't YAML.
    """
    overrides: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not key.strip():
            raise ConfigError(
                f"--set {shown(assignment)} is not an assignment.", "Write --set key=value (model.depth=3)."
            )
        try:
            overrides[key.strip()] = read_value(value)
        except ValueError as error:
            raise ConfigError(
                f"--set {shown(assignment)}: the value can't be read: {error}.", "Quote it, or fix it."
            ) from error
    return overrides


def parse_losses(text: str) -> list[dict[str, Any]]:
    """`"focal-tversky + 0.5*bce"` to a list of terms with weights.

    Raises:
        ConfigError: the text isn't such a sum.
    """
    terms: list[dict[str, Any]] = []
    number = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
    rest: str | None = text
    while rest is not None:
        # From the left, for a plus sign may be that of 2e+1.
        match = re.fullmatch(rf"\s*(?:({number})\s*\*\s*)?([\w-]+)\s*(?:\+(.*))?", rest, re.DOTALL)
        if match is None:
            raise ConfigError(
                f"--loss {shown(text)} is not a sum of losses.", "Write a name, or a sum such as 'dice + 0.5*bce'."
            )
        weight, name, rest = match.groups()
        terms.append({"name": name} | ({"weight": float(weight)} if weight else {}))
    return terms


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """One nested mapping over another; a component that is replaced by another one loses its parameters."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        if (
            isinstance(value, Mapping)
            and isinstance(old, Mapping)
            and value.get("name", old.get("name")) == old.get("name")
        ):
            merged[key] = merge(old, value)
        elif isinstance(value, list) and isinstance(old, Mapping) and key in SECTIONS and not SECTIONS[key].many:
            merged[key] = [merge({key: old}, {key: item})[key] for item in value]
        else:
            merged[key] = value
    return merged


def with_aliases(datasets: Sequence[Any]) -> list[dict[str, Any]]:
    """Several datasets, each with an alias: the end of its root's path that tells it from the others, else a number.

    Raises:
        ConfigError: one is neither a name nor settings.

    >>> [item["alias"] for item in with_aliases([{"root": "a/films"}, {"root": "b/films"}, {"name": "phantom"}])]
    ['a-films', 'b-films', 'phantom']
    """
    datasets = [{"name": item} if isinstance(item, str) else item for item in datasets]
    if not all(isinstance(item, Mapping) for item in datasets):
        raise _no_settings("data", datasets)
    named = [str(item["alias"]) if item.get("alias") else "" for item in datasets]
    places = [
        [part for part in re.split(r"[/\\]", re.sub(r"\.(csv|json)$", "", str(item.get("root") or ""))) if part]
        or [str(item.get("name") or registry().default("dataset"))]
        for item in datasets
    ]
    found = named
    for depth in range(1, max(map(len, places), default=0) + 1):
        found = [name or _alias("-".join(place[-depth:])) for name, place in zip(named, places, strict=True)]
        if len(set(found)) == len(found):
            break
    taken = list(named)
    for place, name in enumerate(found):
        choices = [name, *(f"{name}-{number}" for number in range(2, len(found) + 2))]
        taken[place] = named[place] or next(choice for choice in choices if choice not in taken)
    return [{**item, "alias": name} for item, name in zip(datasets, taken, strict=True)]


def _alias(text: str) -> str:
    return re.sub(r"[^\w-]+", "-", text).strip("-") or "films"


def differences(there: Any, here: Any, at: str = "", *, both: bool = False) -> Iterator[str]:
    """Where two nested settings differ, in the words of a message; `both`: only in what both of them state.

    >>> list(differences({"train": {"steps": 4, "lr": 0.1}}, {"train": {"steps": 5, "lr": 0.1}}))
    ['train.steps: 4 there, 5 here']
    """
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        for key in dict.fromkeys([*there, *here]):
            if not both or (key in there and key in here):
                yield from differences(there.get(key), here.get(key), f"{at}.{key}" if at else str(key), both=both)
    elif both and isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        for place, (one, other) in enumerate(zip(there, here, strict=True)):
            yield from differences(one, other, f"{at}.{place}", both=both)
    elif there != here:
        yield f"{at}: {there} there, {here} here"


def assign(config: dict[str, Any], path: str, value: Any, settings: Sequence[str]) -> None:
    """Set a dotted path, in place; `loss.KEY`, `loss.NAME.KEY` and `augment.NAME.KEY` reach into the lists.

    Of several datasets `data.KEY` sets a parameter of all, and `data.ALIAS.KEY` of one.

    Args:
        config: the nested settings.
        path: `model.depth`, `train.lr`, `loss.focal-tversky.epsilon`.
        value: the new value.
        settings: the names that a path may begin with.

    Raises:
        ConfigError: there is no such setting, or it isn't clear which component of a list is meant.
    """
    head, *rest = path.split(".")
    if head not in settings:
        raise ConfigError(
            f"There is no setting '{path}'.",
            f"{nearest(head, settings)}Settings start with: {', '.join(settings)}.",
        )
    kind = SECTIONS.get(head)
    if not rest:
        if kind is not None and not kind.many and isinstance(value, str):
            old = config.get(head)
            same = isinstance(old, Mapping) and old.get("name") == value
            config[head] = dict(old) if same and isinstance(old, Mapping) else {"name": value}
        else:
            config[head] = value
        return
    if kind is not None and kind.many:
        _assign_in_list(config, head, rest, path, value)
        return
    part = config.get(head)
    if isinstance(part, list | tuple) and kind is not None and kind.name == "dataset":
        config[head] = _assigned_to_each(head, part, rest, value, settings)
        return
    if isinstance(part, str):
        part = {"name": part}
    if part is not None and not isinstance(part, Mapping):
        raise _no_settings(head, part)
    part = dict(part or ({} if kind is None else {"name": registry().default(kind.name)}))
    config[head] = part
    for key in rest[:-1]:
        inner = part.get(key)
        part[key] = dict(inner) if isinstance(inner, Mapping) else {}
        part = part[key]
    part[rest[-1]] = value


def _assigned_to_each(
    head: str, items: Sequence[Any], rest: list[str], value: Any, settings: Sequence[str]
) -> list[dict[str, Any]]:
    """Several datasets with one of them changed, if the path begins with its alias, else all of them."""
    datasets = with_aliases(items)
    one = [item for item in datasets if len(rest) > 1 and item["alias"] == rest[0]]
    made = []
    for item in datasets:
        changed = {head: item}
        if item in (one or datasets):
            assign(changed, ".".join([head, *(rest[1:] if one else rest)]), value, settings)
        made.append(changed[head])
    return made


def _no_settings(head: str, value: Any) -> ConfigError:
    return ConfigError(
        f"{head}: {shown(value)} is neither settings nor a name.",
        f"Write `key: value` lines under `{head}:`, or its name.",
    )


def _assign_in_list(config: dict[str, Any], head: str, rest: list[str], path: str, value: Any) -> None:
    current = config.get(head)
    if isinstance(current, str):
        current = parse_losses(current) if head == "loss" else [current]
    if isinstance(current, Mapping):
        current = [current]
    if not isinstance(current, list | tuple | None) or not all(
        isinstance(item, str | Mapping) for item in current or ()
    ):
        raise _no_settings(head, current)
    items = [{"name": item} if isinstance(item, str) else dict(item) for item in current or []]
    if head == "loss" and current is None:
        items = [{"name": registry().default(head)}]
    config[head] = items
    names = [str(item.get("name")) for item in items]
    if len(rest) == 1 and len(items) == 1:
        items[0][rest[0]] = value
    elif len(rest) == 2 and rest[0] in names:
        items[names.index(rest[0])][rest[1]] = value
    else:
        used = ", ".join(names) or f"no {head} is chosen"
        raise ConfigError(
            f"--set {path}: it isn't clear which {head} is meant ({used}).",
            f"Write {head}.NAME.PARAMETER=value with a name that the run uses, or add it with --{head}.",
        )
