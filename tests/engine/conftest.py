"""A tiny run that the engine's tests vary."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cxrkit.config import RunConfig, make_config, resolve
from cxrkit.engine.run import RunDirectory
from cxrkit.plugins import load_plugins
from cxrkit.registry import Component, Registry

TINY: dict[str, Any] = {
    "model": {"name": "unet", "base_channels": 4, "depth": 2},
    "loss": "dice",
    "data": {"name": "phantom", "count": 14, "size": 64},
    "preprocess": {"size": 32},
    "split": {"test_size": 3, "validation": 2},
    "train": {
        "steps": 6,
        "batch_size": 2,
        "validate_every": 2,
        "checkpoint_every": 2,
        "precision": "32",
        "device": "cpu",
    },
}


@pytest.fixture
def components() -> Registry:
    """The installed components; tests may add their own."""
    return load_plugins().registry


@pytest.fixture
def add(components: Registry) -> Callable[[str, str, Any], None]:
    """Register a component that exists only in this test."""

    def register(kind: str, name: str, factory: Any) -> None:
        components.add(Component(kind, name, factory, "of a test", "tests", "0"))

    return register


@pytest.fixture
def tiny(components: Registry) -> Callable[..., RunConfig]:
    """The tiny configuration with overrides, `__` for dots: `tiny(train__steps=2)`."""

    def make(**overrides: Any) -> RunConfig:
        dotted = {key.replace("__", "."): value for key, value in overrides.items()}
        return resolve(make_config(TINY, overrides=dotted), components)

    return make


@pytest.fixture
def new_run(tmp_path: Path, tiny: Callable[..., RunConfig]) -> Callable[..., RunDirectory]:
    """A new run of the tiny configuration: `new_run("a", train__steps=2)`."""
    return lambda name, **overrides: RunDirectory.create(tmp_path / name, tiny(**overrides))
