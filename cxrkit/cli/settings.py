"""From a command line's flags to a configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrkit.data.sources import parse_sources
from cxrkit.errors import ConfigError
from cxrkit.settings import apply_settings

if TYPE_CHECKING:
    from cxrkit.component_config import DataConfigs
    from cxrkit.config import RunConfig
    from cxrkit.registry import Component


@dataclass(frozen=True)
class Choices:
    """A configuration as a command line asks for it.

    Attributes:
        config: the configuration itself.
        demonstration: no data was named anywhere, so that it is the demonstration's on the default dataset.
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
    data: Sequence[str] = (),
    structures: str | None = None,
) -> Choices:
    """Merge preset, configuration file, flags and `--set`; where no data is named, over the demonstration's settings.

    Args:
        values: the flags that were given, by their names in `cxrkit.settings.SETTINGS` or their plugins' shorthands.
        datasets: the registered datasets.
        data: where the films come from, as `parse_sources` takes it.

    Raises:
        DataError: no dataset recognises the place that `data` names.
        ConfigError: a value isn't accepted, or flags contradict each other.
    """
    from cxrkit.config import demo_settings, make_config
    from cxrkit.overrides import merge, parse_set
    from cxrkit.presets import read_preset
    from cxrkit.yaml_text import read_yaml

    if "steps" in values and "epochs" in values:
        raise ConfigError("--steps and --epochs were both given.", "Give one: both say how long to train.")
    overrides = parse_set(assignments)
    written = read_yaml(file) if file is not None else {}
    demonstration = not data and not _names_data(written, overrides)
    chosen: dict[str, Any] = {}
    for layer in (demo_settings() if demonstration else {}, read_preset(preset) if preset else {}, written):
        chosen = merge(chosen, layer)
    flags = {name: "+".join(value) if isinstance(value, list) else value for name, value in values.items()}
    apply_settings(chosen, flags)
    if data:
        chosen = merge(chosen, {"data": parse_sources([data] if isinstance(data, str) else data, datasets)})
    if structures is not None:
        chosen["structures"] = names_of(structures)
    return Choices(make_config(chosen, overrides=overrides), demonstration)


def parse_other_data(texts: Sequence[str], assignments: Sequence[str], datasets: Sequence[Component]) -> DataConfigs:
    """The data that `--data`, with `--set data.KEY=VALUE` for its parameters, names to score a run on.

    Raises:
        ConfigError: there is no such data, or an assignment sets something else.
        DataError: no dataset recognises it.
    """
    from cxrkit.config import make_config
    from cxrkit.overrides import parse_set

    parameters = parse_set(assignments)
    for path in parameters:
        if not path.startswith("data.") or path.endswith("."):
            raise ConfigError(
                f"--set {path}: only the data's parameters can be set here.", "Write --set data.KEY=VALUE."
            )
    return make_config({"data": parse_sources(texts, datasets)}, overrides=parameters).data


def _names_data(written: Mapping[str, Any], overrides: Mapping[str, Any]) -> bool:
    named = written.get("data")
    in_file = named is not None and (not isinstance(named, Mapping) or "name" in named or "root" in named)
    return in_file or any(path in ("data", "data.name", "data.root") for path in overrides)


def names_of(text: str) -> list[str]:
    """The structures that `--structures` names.

    Raises:
        ConfigError: it names none.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise ConfigError("--structures is empty.", "Separate names by commas: --structures left_lung,right_lung.")
    return names
