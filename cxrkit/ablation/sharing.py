"""Parameters that all runs share of a component that a factor chooses: `--model unet,attn-unet --set model.depth=3`.

Naming a component resets it to its defaults, so what was set before for all runs would be lost. It is passed to the
levels that name a component to which it can apply.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cxrkit.errors import ConfigError
from cxrkit.kinds import SECTIONS
from cxrkit.overrides import parse_losses

_ONE = tuple(key for key, kind in SECTIONS.items() if not kind.many)
_SEVERAL = tuple(key for key, kind in SECTIONS.items() if kind.many)


def shared_parameters(base: Mapping[str, Any], flags: Mapping[str, Any]) -> dict[str, Any]:
    """The dotted parameters of components among what all runs share.

    Args:
        base: a plan's `base:`; where it names the component, its parameters belong to that one only.
        flags: dotted settings.
    """
    parameters: dict[str, Any] = {}
    for head in _ONE:
        part = base.get(head)
        if isinstance(part, Mapping) and "name" not in part:
            parameters |= {f"{head}.{key}": value for key, value in part.items()}
    return parameters | {key: value for key, value in flags.items() if key.partition(".")[0] in (*_ONE, *_SEVERAL)}


def with_shared(
    name: str, levels: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any], varied: Sequence[str]
) -> list[dict[str, Any]]:
    """A factor's levels with the shared parameters of the components that they name.

    Args:
        name: the factor's, for messages.
        levels: what each level sets.
        parameters: from `shared_parameters`.
        varied: settings of other factors; these take precedence, as do the level's own settings.

    Raises:
        ConfigError: a parameter of a loss or an augment that no level names.
    """
    made = [dict(level) for level in levels]
    for key, value in parameters.items():
        head, _, rest = key.partition(".")
        choosing = [level for level in made if head in level or f"{head}.name" in level]
        if not rest or rest == "name" or not choosing or key in varied:
            continue
        meant = [level for level in choosing if head in _ONE or _is_meant(rest, list(_names(head, level[head])))]
        if not meant:
            named = rest.partition(".")[0]
            raise ConfigError(f"{key}: no level of {name} has {named}.", f"Name it in --{head}, or remove {key}.")
        for level in meant:
            level.setdefault(key, value)
    return made


def chosen_lists(levels: Sequence[Mapping[str, Any]]) -> set[str]:
    """The lists of components (`loss`, `augment`) that every level sets, so that nothing remains of earlier ones."""
    return {head for head in _SEVERAL if all(head in level for level in levels)}


def _is_meant(rest: str, names: Sequence[str]) -> bool:
    """`delta` applies to a level that names one component, `mixup.delta` to those that name mixup."""
    named, dot, _ = rest.partition(".")
    return named in names if dot else len(names) == 1


def _names(head: str, value: Any) -> Iterator[str]:
    if isinstance(value, str) and head == "loss":
        value = parse_losses(value)
    elif isinstance(value, str):
        value = [name.strip() for name in value.split("+") if name.strip() != "none"]
    for item in [value] if isinstance(value, Mapping) else value or []:
        yield str(item.get("name") if isinstance(item, Mapping) else item)
