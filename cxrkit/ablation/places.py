"""Settings that name a place on disk, made absolute, so that a plan means the same from any working directory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cxrkit.ablation.naming import label_of
from cxrkit.files import home_path
from cxrkit.settings import full_name

_PLACES = ("data.root", "split.file", "unlabelled.films", "train.init")
_WORDS = ("rest", "none", "all")  # what stands for no place


def anchor_settings(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Short names, dotted or nested settings, with relative paths put below a folder."""
    return {key: _anchor(key, value, folder) for key, value in settings.items()}


def anchor_levels(name: str, levels: Any, folder: Path) -> Any:
    """The levels of a factor, likewise; a list of places comes back as levels that are named as they were written."""
    if isinstance(levels, list):
        places = [_anchor(name, value, folder) for value in levels]
        if places == levels:
            return levels
        labels = [label_of(value, name) if value is None or isinstance(value, list) else str(value) for value in levels]
        return {label: {name: place} for label, place in zip(labels, places, strict=True)}
    if isinstance(levels, Mapping):
        return {
            label: anchor_settings(settings, folder) if isinstance(settings, Mapping) else settings
            for label, settings in levels.items()
        }
    return levels


def _anchor(key: str, value: Any, folder: Path) -> Any:
    if isinstance(value, str | Path) and full_name(key) in _PLACES and str(value) not in _WORDS:
        place = (folder / home_path(value)).resolve()
        # What weights are called isn't a place.
        return str(value) if full_name(key) == "train.init" and not place.exists() else str(place)
    if isinstance(value, Mapping) and any(place.startswith(f"{key}.") for place in _PLACES):
        return {inner: _anchor(f"{key}.{inner}", within, folder) for inner, within in value.items()}
    if isinstance(value, list):  # of several datasets
        return [_anchor(key, item, folder) if isinstance(item, Mapping) else item for item in value]
    return value
