"""Settings that belong together, by name: `cxrkit train --preset small-data`. Each is a YAML file in this folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cxrkit.errors import ConfigError, nearest
from cxrkit.yaml_text import read_yaml

_HERE = Path(__file__).parent


def preset_names() -> list[str]:
    """The available names."""
    return sorted(file.stem for file in _HERE.glob("*.yaml"))


def read_preset(name: str) -> dict[str, Any]:
    """A preset's settings, as a run's YAML has them.

    Raises:
        ConfigError: there is none of that name.
    """
    names = preset_names()
    if name not in names:
        raise ConfigError(
            f"--preset {name}: there is no such preset. {nearest(name, names)}".rstrip(),
            f"Available: {', '.join(names)}. Put settings of your own into a file: --config FILE.",
        )
    return read_yaml(_HERE / f"{name}.yaml")
