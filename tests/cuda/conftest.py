"""Tests that need a CUDA device: a tiny run on it. `pytest -m cuda` runs them alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from cxrkit.config import RunConfig


@pytest.fixture(autouse=True)
def _on_cuda() -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("torch finds no CUDA device here")


@pytest.fixture
def tiny() -> Callable[..., RunConfig]:
    """A tiny run on CUDA with overrides, `__` for dots: `tiny(train__steps=2)`."""
    from cxrkit.config import make_config, resolve
    from cxrkit.plugins import registry

    settings: dict[str, Any] = {
        "model": {"name": "unet", "base_channels": 8, "depth": 2},
        "loss": "dice",
        "data": {"name": "phantom", "count": 14, "size": 64},
        "preprocess": {"size": 64},
        "split": {"test_size": 3, "validation": 2},
        "train": {"steps": 12, "batch_size": 2, "validate_every": 6, "checkpoint_every": 4}
        | {"precision": "32", "device": "cuda", "warmup": 0, "lr": 1e-3},
    }

    def make(**overrides: Any) -> RunConfig:
        dotted = {key.replace("__", "."): value for key, value in overrides.items()}
        return resolve(make_config(settings, overrides=dotted), registry())

    return make
