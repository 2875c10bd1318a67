"""The short names of settings that flags and ablation files use: `train_size` for `split.train_size`, `mixup` for an
augmentation with its δ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cxrkit.errors import ConfigError
from cxrkit.overrides import assign, parse_losses

#: Shorthands that set one value each.
PATHS: dict[str, str] = {
    "model": "model.name",
    "size": "preprocess.size",
    "train_size": "split.train_size",
    "test_size": "split.test_size",
    "validation": "split.validation",
    "split": "split.file",
    "unlabelled": "unlabelled.films",
    "steps": "train.steps",
    "epochs": "train.epochs",
    "batch_size": "train.batch_size",
    "lr": "train.lr",
    "protocol": "train.protocol",
    "seed": "seed",
    "device": "train.device",
    "precision": "train.precision",
    "compile": "train.compile",
    "devices": "train.devices",
    "num_nodes": "train.num_nodes",
    "strategy": "train.strategy",
}

#: Shorthands that stand for more than one value, in the order in which they must be applied.
_COMPOSED = ("loss", "augment", "mixup")
_MIXUP = "mixup"


def is_shorthand(key: str) -> bool:
    """Whether a key is short for a setting."""
    return key in PATHS or key in _COMPOSED


def apply_settings(config: dict[str, Any], values: Mapping[str, Any], settings: Sequence[str]) -> None:
    """Set shorthands and dotted paths in nested settings, in place.

    Names of components come before their parameters, whatever the order of `values`.

    Args:
        config: the nested settings.
        values: `{"loss": "dice", "mixup": 0.2, "model.depth": 3}`.
        settings: the names that a dotted path may begin with.

    Raises:
        ConfigError: there is no such setting, or its value can't be understood.
    """
    for key in sorted(values, key=lambda key: (key.count("."), _COMPOSED.index(key) if key in _COMPOSED else -1)):
        value = values[key]
        if key == "model":
            assign(config, "model", value, settings)
        elif key in PATHS:
            assign(config, PATHS[key], value, settings)
        elif key == "loss" and isinstance(value, str):
            config["loss"] = parse_losses(value)
        elif key == "augment" and isinstance(value, str):
            names = [] if value == "none" else [name.strip() for name in value.split("+")]
            config["augment"] = choose_augments(config.get("augment") or [], names) if names else []
        elif key == _MIXUP:
            config["augment"] = with_mixup(config.get("augment") or [], value)
        else:
            assign(config, key, value, settings)
    given = {PATHS.get(key, key) for key in values}
    if "train.steps" in given and "train.epochs" not in given:
        assign(config, "train.epochs", None, settings)  # a file's would overrule the steps that were asked for


def choose_augments(written: Any, names: Sequence[str]) -> list[dict[str, Any]]:
    """The augments of these names, with the parameters that they have in `written`.

    Raises:
        ConfigError: `written` isn't a list of augments.
    """
    known = {item.get("name"): item for item in _listed(written)}
    return [known.get(name, {"name": name}) for name in names]


def with_mixup(written: Any, delta: Any) -> list[dict[str, Any]]:
    """The augments of `written` with mixup at this δ, last as it must be; without mixup if δ is 0.

    Raises:
        ConfigError: `written` isn't a list of augments, or δ isn't a number.
    """
    if isinstance(delta, bool) or not isinstance(delta, int | float):
        raise ConfigError(f"mixup: {delta!r} is not a number.", "Give δ, such as 0.2, or 0 for no mixup.")
    items = _listed(written)
    former = [item for item in items if item.get("name") == _MIXUP]
    others = [item for item in items if item.get("name") != _MIXUP]
    return [*others, {**(former[0] if former else {"name": _MIXUP}), "delta": delta}] if delta else others


def _listed(written: Any) -> list[dict[str, Any]]:
    listed = [written] if isinstance(written, str | Mapping) else written or []
    if not isinstance(listed, list | tuple) or not all(isinstance(item, str | Mapping) for item in listed):
        raise ConfigError(
            f"augment: {written!r} is no list of augmentations.", "Write a list of names under `augment:`."
        )
    return [{"name": item} if isinstance(item, str) else dict(item) for item in listed]
