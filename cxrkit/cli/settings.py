"""From a command line's flags to a configuration. Flags that weren't given change nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrkit.data.sources import parse_source
from cxrkit.errors import ConfigError
from cxrkit.shorthands import apply_settings

if TYPE_CHECKING:
    from cxrkit.config import DataConfig, RunConfig
    from cxrkit.registry import Component


#: The defaults that flags tell in their help, where a flag sets one value.
DEFAULTS: dict[str, str] = {
    "model": "attn-bcdu",
    "size": "256",
    "train_size": "all that aren't test films",
    "test_size": "0.15",
    "validation": "0.1",
    "split": "drawn by --seed",
    "unlabelled": "none",
    "steps": "1000",
    "epochs": "--steps holds",
    "batch_size": "5",
    "lr": "0.0005",
    "protocol": "honest",
    "seed": "0",
    "device": "auto",
    "precision": "auto",
    "compile": "auto",
    "devices": "1",
    "num_nodes": "1",
    "strategy": "auto",
}


@dataclass(frozen=True)
class Choices:
    """A configuration as a command line asks for it.

    Attributes:
        config: what came of it.
        demonstration: no data was named anywhere, so that the built-in synthetic films and their settings hold.
    """

    config: RunConfig
    demonstration: bool


def choose_settings(
    values: Mapping[str, Any],
    *,
    datasets: Sequence[Component],
    preset: str | None = None,
    file: Path | None = None,
    assignments: Sequence[str] = (),
    loss: str | None = None,
    mixup: float | None = None,
    augment: Sequence[str] | None = None,
    data: str | None = None,
    structures: str | None = None,
) -> Choices:
    """Merge preset, configuration file, flags and `--set`; where no data is named, over the demonstration's settings.

    Args:
        values: flags by their name in `cxrkit.shorthands.PATHS`; None where not given.
        datasets: the registered datasets.

    Raises:
        DataError: no dataset recognises the place that `data` names.
        ConfigError: a value isn't accepted, or flags contradict each other.
    """
    from cxrkit.config import SECTIONS, demo_settings, make_config
    from cxrkit.overrides import merge, parse_set, read_yaml
    from cxrkit.presets import read_preset

    if values.get("steps") is not None and values.get("epochs") is not None:
        raise ConfigError("--steps and --epochs were both given.", "Give one: both say how long to train.")
    overrides = parse_set(assignments)
    written = read_yaml(file) if file is not None else {}
    demonstration = data is None and not _names_data(written, overrides)
    chosen: dict[str, Any] = {}
    for layer in (demo_settings() if demonstration else {}, read_preset(preset) if preset else {}, written):
        chosen = merge(chosen, layer)
    flags = {**values, "loss": loss, "augment": "+".join(augment) if augment else None, "mixup": mixup}
    apply_settings(chosen, {name: value for name, value in flags.items() if value is not None}, SECTIONS)
    if data is not None:
        chosen = merge(chosen, {"data": parse_source(data, datasets)})
    if structures is not None:
        chosen["structures"] = _names(structures)
    return Choices(make_config(chosen, overrides=overrides), demonstration)


def parse_other_data(text: str, assignments: Sequence[str], datasets: Sequence[Component]) -> DataConfig:
    """What `--data`, and `--set data.KEY=VALUE` for its parameters, mean where a run is scored on other films.

    Raises:
        ConfigError: the data isn't there, or an assignment is of something else.
        DataError: no dataset recognises it.
    """
    from cxrkit.config import DataConfig
    from cxrkit.overrides import parse_set

    parameters: dict[str, Any] = {}
    for path, value in parse_set(assignments).items():
        part, _, key = path.partition(".")
        if part != "data" or not key or "." in key:
            raise ConfigError(
                f"--set {path}: only the data's parameters can be set here.", "Write --set data.KEY=VALUE."
            )
        parameters[key] = value
    return DataConfig.model_validate(parse_source(text, datasets) | parameters)


def _names_data(written: Mapping[str, Any], overrides: Mapping[str, Any]) -> bool:
    named = written.get("data")
    in_file = named is not None and (not isinstance(named, Mapping) or "name" in named or "root" in named)
    return in_file or any(path in ("data", "data.name", "data.root") for path in overrides)


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise ConfigError("--structures names none.", "Write names with commas: --structures left_lung,right_lung.")
    return names
