"""The settings that have a short name: the flag `--train-size`, and `train_size` in an ablation's plan, set
`split.train_size`.

One table holds them; a new flag is one line in it. Augmentations of plugins add flags of their own: see
`cxrkit.hookspecs.Shorthand`.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from cxrkit.config import SECTIONS, RunConfig
from cxrkit.errors import ConfigError, shown
from cxrkit.overrides import assign, parse_losses
from cxrkit.plugins import registry

WHAT, FILMS, TRAINING, MACHINE = "What to train", "Films", "Training", "Machine"


@dataclass(frozen=True)
class Setting:
    """What the flag of a setting says beside the setting's field in `RunConfig`.

    Attributes:
        path: the dotted setting.
        panel: where the flag stands in the help of `cxrkit train`.
        metavar: what stands for the value in the help; by default the type says it.
        type: what the flag takes, where that isn't the field's type; text where the field takes several types.
        words: the default in words, where the field's isn't a value that one could give.
        choices: how several values are written where an ablation compares them, if that isn't obvious.
    """

    path: str
    panel: str
    metavar: str | None = None
    type: Any = None
    words: str = ""
    choices: str = ""

    @property
    def fields(self) -> list[FieldInfo]:
        """The fields on the way to the setting, its own last."""
        found: list[FieldInfo] = []
        part: Any = RunConfig
        for step in self.path.split("."):
            found.append(part.model_fields[step])
            part = found[-1].annotation
        return found

    @property
    def flag_type(self) -> Any:
        """What the flag takes."""
        if self.type is not None:
            return self.type
        annotation = self.fields[-1].annotation
        if typing.get_origin(annotation) not in (typing.Union, types.UnionType):
            return annotation
        given = [one for one in typing.get_args(annotation) if one is not types.NoneType]
        return given[0] if len(given) == 1 else str

    @property
    def default(self) -> str:
        """What holds where nothing is given; "" for a component, whose default a plugin declares."""
        default = self.fields[-1].default
        return self.words or ("" if default is PydanticUndefined else str(default))

    @property
    def help(self) -> str:
        """What the setting is, as a sentence."""
        text = next(field.description for field in reversed(self.fields) if field.description)
        return f"{text[0].upper()}{text[1:]}."


SETTINGS: dict[str, Setting] = {
    "model": Setting("model.name", WHAT, "NAME"),
    "loss": Setting("loss", WHAT, "NAME|SUM", str),
    "augment": Setting(
        "augment", WHAT, "NAME", list[str], "no augmentation", "Augmentations: 'none', or names joined by +."
    ),
    "size": Setting("preprocess.size", FILMS),
    "train_size": Setting("split.train_size", FILMS, "COUNT|all", str, "all that aren't test films"),
    "test_size": Setting("split.test_size", FILMS, "COUNT|FRACTION"),
    "validation": Setting("split.validation", FILMS, "COUNT|FRACTION|rest"),
    "split": Setting("split.file", FILMS, "FILE", words="drawn by --seed"),
    "unlabelled": Setting("unlabelled.films", FILMS, "FOLDER|rest|none"),
    "steps": Setting("train.steps", TRAINING),
    "epochs": Setting("train.epochs", TRAINING, words="not used"),
    "batch_size": Setting("train.batch_size", TRAINING),
    "lr": Setting("train.lr", TRAINING),
    "init": Setting("train.init", TRAINING, "RUN|FILE|NAME", words="random weights"),
    "protocol": Setting("train.protocol", TRAINING),
    "seed": Setting("seed", TRAINING),
    "device": Setting("train.device", MACHINE),
    "precision": Setting("train.precision", MACHINE),
    "compile": Setting("train.compile", MACHINE),
    "devices": Setting("train.devices", MACHINE),
    "num_nodes": Setting("train.num_nodes", MACHINE),
    "logger": Setting("logger", MACHINE, "NAME", list[str], "none"),
    "strategy": Setting("train.strategy", MACHINE),
}


def full_name(key: str) -> str:
    """The dotted setting that a short name stands for; any other key unchanged."""
    return SETTINGS[key].path if key in SETTINGS else key


def is_short_name(key: str) -> bool:
    """Whether a key is short for a setting or for an augmentation's number."""
    return key in SETTINGS or key in registry().shorthands()


def apply_settings(config: dict[str, Any], values: Mapping[str, Any]) -> None:
    """Set short names and dotted paths in nested settings, in place.

    Names of components come before their parameters, whatever the order of `values`.

    Args:
        config: the nested settings.
        values: `{"loss": "dice", "mixup": 0.2, "model.depth": 3}`.

    Raises:
        ConfigError: there is no such setting, or its value isn't accepted.
    """
    shorthands = registry().shorthands()
    # The list of augmentations comes before those that are added to it.
    for key in sorted(values, key=lambda key: (key.count("."), key in shorthands)):
        value = values[key]
        if key in shorthands:
            name, shorthand = shorthands[key].name, shorthands[key].shorthand
            assert shorthand is not None
            config["augment"] = _with_augment(_augments(config), name, shorthand.parameter, value)
        elif key == "loss" and isinstance(value, str):
            config["loss"] = parse_losses(value)
        elif key == "augment" and isinstance(value, str):
            names = [] if value == "none" else [name.strip() for name in value.split("+")]
            # They keep the parameters that they have.
            known = {item.get("name"): item for item in _augments(config)} if names else {}
            config["augment"] = [known.get(name, {"name": name}) for name in names]
        else:
            # A component is replaced as a whole, so that another one's parameters don't stay.
            assign(config, full_name(key).removesuffix(".name") if key in SETTINGS else key, value, SECTIONS)
    given = {full_name(key) for key in values}
    if "train.steps" in given and "train.epochs" not in given:
        assign(config, "train.epochs", None, SECTIONS)  # a file's would overrule the steps that were asked for


def _with_augment(items: Sequence[dict[str, Any]], name: str, parameter: str, value: Any) -> list[dict[str, Any]]:
    """The augments with this one at this value of its parameter, last; without it if the value is 0.

    Raises:
        ConfigError: the value isn't a number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(
            f"{name}: {shown(value)} is not a number.", f"Give its {parameter}, or 0 to leave {name} out."
        )
    before = next((item for item in items if item.get("name") == name), {"name": name})
    others = [item for item in items if item.get("name") != name]
    return [*others, {**before, parameter: value}] if value else others


def _augments(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    written = config.get("augment")
    listed = [written] if isinstance(written, str | Mapping) else written or []
    if not isinstance(listed, list | tuple) or not all(isinstance(item, str | Mapping) for item in listed):
        raise ConfigError(
            f"augment: {shown(written)} is not a list of augmentations.", "Write a list of names under `augment:`."
        )
    return [{"name": item} if isinstance(item, str) else dict(item) for item in listed]
