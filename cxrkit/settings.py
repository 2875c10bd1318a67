"""The settings that have a short name: the flag `--train-size`, and `train_size` in an ablation's plan, set
`split.train_size`.

One table holds them; a new flag is one line in it. Augmentations of plugins add flags of their own: see
`cxrkit.hookspecs.Shorthand`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cxrkit.errors import ConfigError
from cxrkit.overrides import assign, parse_losses
from cxrkit.plugins import registry

WHAT, FILMS, TRAINING, MACHINE = "What to train", "Films", "Training", "Machine"

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "32", "bf16"]
Compile = Literal["auto", "on", "off"]
Protocol = Literal["honest", "paper"]
Strategy = Literal["auto", "ddp"]


@dataclass(frozen=True)
class Setting:
    """A setting with a short name.

    Attributes:
        name: in code and in plans; the flag has hyphens.
        path: the dotted setting.
        type: what the flag takes.
        default: what holds where nothing is given, in words or as the value itself; "" for a component, whose default
            a plugin declares.
        panel: where the flag stands in the help of `cxrkit train`.
        help: what the flag's help says.
        metavar: what stands for the value there; by default the type says it.
        choices: how several values are written where an ablation compares them, if that isn't obvious.
    """

    name: str
    path: str
    type: Any
    default: str
    panel: str
    help: str
    metavar: str | None = None
    choices: str = ""


SETTINGS: dict[str, Setting] = {
    setting.name: setting
    for setting in (
        Setting("model", "model.name", str, "", WHAT, "Network; see: cxrkit list model.", "NAME"),
        Setting(
            *("loss", "loss", str, "", WHAT),
            *("Loss, or a weighted sum such as 'dice + 0.5*bce'; see: cxrkit list loss.", "NAME|SUM"),
        ),
        Setting(
            *("augment", "augment", list[str], "no augmentation", WHAT),
            *("Augmentation; give it again for more, in order. The paper has none but mixup.", "NAME"),
            "Augmentations: 'none', or names joined by +.",
        ),
        Setting(
            *("size", "preprocess.size", int, "256", FILMS),
            "Side of the network's square input, pixels; the paper's is 512.",
        ),
        Setting(
            *("train_size", "split.train_size", str, "all that aren't test films", FILMS),
            *("Training films; the paper's are 10, 20 and 209.", "COUNT|all"),
        ),
        Setting(
            *("test_size", "split.test_size", str, "0.15", FILMS),
            *("Test films: a count or a fraction; the paper's are 38.", "COUNT|FRACTION"),
        ),
        Setting(
            *("validation", "split.validation", str, "0.1", FILMS),
            "Films taken from the training films to choose the best step; 'rest': those not used for training.",
            "COUNT|FRACTION|rest",
        ),
        Setting(*("split", "split.file", Path, "drawn by --seed", FILMS, "Reuse a run's split.json.", "FILE")),
        Setting(
            *("unlabelled", "unlabelled.films", str, "none", FILMS),
            "Self-training on films without masks too: a folder, 'rest' for the data's films that neither train nor "
            "test, or 'none'.",
            "FOLDER|rest|none",
        ),
        Setting(
            *("steps", "train.steps", int, "1000", TRAINING),
            "Updates of the network: the budget at which runs are compared; the paper has about 1000.",
        ),
        Setting(
            *("epochs", "train.epochs", int, "--steps holds", TRAINING),
            "Instead of steps: passes over the training films.",
        ),
        Setting(
            *("batch_size", "train.batch_size", int, "5", TRAINING),
            "Films in an update, over all devices; the paper has 5.",
        ),
        Setting("lr", "train.lr", float, "0.0005", TRAINING, "Adam's peak learning rate; the paper's is 5e-4."),
        Setting(
            *("protocol", "train.protocol", Protocol, "honest", TRAINING),
            "honest: choose the best step on validation films; paper: on the test films, as the released code did, "
            "which flatters the scores.",
        ),
        Setting("seed", "seed", int, "0", TRAINING, "Seed of the split, the initial weights and everything random."),
        Setting(
            *("device", "train.device", Device, "auto", MACHINE),
            "Where to compute; auto: the fastest device there is.",
        ),
        Setting(
            *("precision", "train.precision", Precision, "auto", MACHINE),
            "Arithmetic; auto: bf16 where the hardware has it.",
        ),
        Setting(
            *("compile", "train.compile", Compile, "auto", MACHINE),
            "auto: on CUDA each step is recorded and launched as a whole; on: its operations are also fused, which "
            "takes about a minute at the start and pays in long trainings; off: neither.",
        ),
        Setting("devices", "train.devices", int, "1", MACHINE, "Processes, one for each device."),
        Setting("num_nodes", "train.num_nodes", int, "1", MACHINE, "Machines."),
        Setting(
            *("logger", "logger", list[str], "none", MACHINE),
            *("Follow the training with a dashboard; see: cxrkit list logger. May be repeated.", "NAME"),
        ),
        Setting("strategy", "train.strategy", Strategy, "auto", MACHINE, "How several devices share the work."),
    )
}


def full_name(key: str) -> str:
    """The dotted setting that a short name stands for; any other key as it is."""
    return SETTINGS[key].path if key in SETTINGS else key


def is_short_name(key: str) -> bool:
    """Whether a key is short for a setting or for an augmentation's number."""
    return key in SETTINGS or key in registry().shorthands()


def apply_settings(config: dict[str, Any], values: Mapping[str, Any], sections: Sequence[str]) -> None:
    """Set short names and dotted paths in nested settings, in place.

    Names of components come before their parameters, whatever the order of `values`.

    Args:
        config: the nested settings.
        values: `{"loss": "dice", "mixup": 0.2, "model.depth": 3}`.
        sections: the names that a dotted path may begin with.

    Raises:
        ConfigError: there is no such setting, or its value can't be understood.
    """
    shorthands = registry().shorthands()
    # The list of augmentations comes before those that are added to it.
    for key in sorted(values, key=lambda key: (key.count("."), key in shorthands)):
        value = values[key]
        if key in shorthands:
            name, shorthand = shorthands[key].name, shorthands[key].shorthand
            assert shorthand is not None
            config["augment"] = with_augment(config.get("augment"), name, shorthand.parameter, value)
        elif key == "loss" and isinstance(value, str):
            config["loss"] = parse_losses(value)
        elif key == "augment" and isinstance(value, str):
            names = [] if value == "none" else [name.strip() for name in value.split("+")]
            config["augment"] = choose_augments(config.get("augment"), names)
        else:
            # A component is replaced as a whole, so that another one's parameters don't stay.
            assign(config, full_name(key).removesuffix(".name") if key in SETTINGS else key, value, sections)
    given = {full_name(key) for key in values}
    if "train.steps" in given and "train.epochs" not in given:
        assign(config, "train.epochs", None, sections)  # a file's would overrule the steps that were asked for


def choose_augments(written: Any, names: Sequence[str]) -> list[dict[str, Any]]:
    """The augments of these names, with the parameters that they have in `written`.

    Raises:
        ConfigError: `written` isn't a list of augments.
    """
    known = {item.get("name"): item for item in _listed(written)} if names else {}
    return [known.get(name, {"name": name}) for name in names]


def with_augment(written: Any, name: str, parameter: str, value: Any) -> list[dict[str, Any]]:
    """The augments of `written` with this one at this value of its parameter, last; without it if the value is 0.

    Raises:
        ConfigError: `written` isn't a list of augments, or the value isn't a number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{name}: {value!r} is not a number.", f"Give its {parameter}, or 0 to leave {name} out.")
    items = _listed(written)
    before = next((item for item in items if item.get("name") == name), {"name": name})
    others = [item for item in items if item.get("name") != name]
    return [*others, {**before, parameter: value}] if value else others


def _listed(written: Any) -> list[dict[str, Any]]:
    listed = [written] if isinstance(written, str | Mapping) else written or []
    if not isinstance(listed, list | tuple) or not all(isinstance(item, str | Mapping) for item in listed):
        raise ConfigError(
            f"augment: {written!r} is not a list of augmentations.", "Write a list of names under `augment:`."
        )
    return [{"name": item} if isinstance(item, str) else dict(item) for item in listed]
