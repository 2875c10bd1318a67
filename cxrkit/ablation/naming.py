"""The names of plans, levels, arms and their folders."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any

import yaml

from cxrkit.errors import ConfigError, shown
from cxrkit.overrides import with_aliases
from cxrkit.settings import full_name
from cxrkit.yaml_text import read_value

_LONGEST = 160  # bytes of a folder's name; most disks allow 255, and logs' names are longer
_SHOWN_ALONE = ("model", "loss", "network")


def plan_name(content: Mapping[str, Any]) -> str:
    """The name in a plan's content.

    Raises:
        ConfigError: it isn't a valid folder name.
    """
    name = str(content.get("name") or "ablation")
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise ConfigError(f"name: {shown(name)} is not a valid folder name.", "Use letters, digits, '-', '_' and '.'.")
    return name


def label_of(value: Any, name: str = "") -> str:
    """A value's label as a level of the factor of that name."""
    if value is None:
        return "all" if full_name(name) == "split.train_size" else "none"
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else f"{value:.10g}"
    if name == "data" and isinstance(value, list):
        return "+".join(item["alias"] for item in with_aliases(value))
    if isinstance(value, list | tuple | Mapping):
        return yaml.safe_dump(value, default_flow_style=True, width=1000).strip()
    return str(value).lower() if isinstance(value, bool) else str(value)


def label_among(labels: Collection[str], value: Any) -> str:
    """Which label a value or a text means: one as it is written, or else what the text is in a plan's file.

    >>> label_among(["off", "on"], "off"), label_among(["0.2", "true"], "0.20"), label_among(["true"], True)
    ('off', '0.2', 'true')
    """
    if isinstance(value, str):
        if value in labels:
            return value
        with suppress(ValueError):
            value = read_value(value)
    return label_of(value)


def level_text(name: str, level: str, between: str) -> str:
    """A level, with its factor's name if it isn't clear without it."""
    clear = name in _SHOWN_ALONE or not re.fullmatch(r"[\d.e+-]+|all|rest|none|true|false|null", level)
    return level if clear else f"{name}{between}{level}"


def file_name(text: str) -> str:
    """A text as part of a folder's name."""
    return re.sub(r"(?:[^\w.+=-]|_)+", "-", text).strip("-.") or "level"


def short_enough(name: str) -> str:
    """A folder's name that every disk accepts: the end of a long one is replaced by a hash of the full name."""
    content = name.encode("utf-8")
    if len(content) <= _LONGEST:
        return name
    return f"{content[:_LONGEST].decode('utf-8', errors='ignore')}-{hashlib.sha256(content).hexdigest()[:8]}"
