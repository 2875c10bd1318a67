"""What the suites share: readable failures, a component with its parameters, and restored randomness."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import SkipTest

import numpy as np
import torch
from torch import Tensor

from cxrkit.errors import ConfigError, ContractError
from cxrkit.registry import Component


class ConformanceError(ContractError):
    """A component that doesn't do what its kind promises.

    Args:
        expected: what the contract asks for, as the rest of a sentence that begins with "Expected".
        got: what it got instead.
        remedy: what the component's author should do about it.
    """

    def __init__(self, expected: str, got: str, remedy: str) -> None:
        super().__init__(f"Expected {expected}; got {got}.", remedy)
        self.expected = expected
        self.got = got


def expect(condition: bool, expected: str, got: str, remedy: str) -> None:
    """Raise `ConformanceError` unless the condition holds."""
    if not condition:
        raise ConformanceError(expected, got, remedy)


@dataclass(frozen=True)
class Subject:
    """A component under test, with the parameters that it is built with.

    Attributes:
        component: what a plugin registered.
        parameters: the user's parameters; those not named keep their defaults.
        root: the folder that a dataset reads, or None.
    """

    component: Component
    parameters: Mapping[str, Any] = field(default_factory=dict)
    root: Path | None = None

    def build(self, *context: Any) -> Any:
        """Make the component; `context` is what cxrkit gives to its kind. Skips if its library is missing."""
        try:
            return self.component.build(*context, **self.parameters)
        except ConfigError as error:
            if isinstance(error.__cause__, ImportError):
                raise SkipTest(str(error)) from error
            raise

    def build_if_usable(self) -> Any:
        """As `build`; skips the check where its library isn't installed, or its machines can't be reached."""
        try:
            return self.build()
        except ConfigError as error:
            raise SkipTest(str(error)) from error


#: One thing that a suite checks: raises `ConformanceError`, or `unittest.SkipTest` where it can't be tried.
Check = Callable[[Subject], None]


def describe(value: Any) -> str:
    """A tensor or array by its type and shape; anything else by its type."""
    if isinstance(value, Tensor | np.ndarray):
        return f"{type(value).__name__} {str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    return f"a {type(value).__name__}"


def random_state() -> tuple[bytes, Any, Any]:
    """The state of the global generators of torch (CPU), NumPy and Python, in a form that compares with `==`."""
    name, keys, *rest = np.random.get_state()
    return bytes(torch.get_rng_state().numpy()), (name, bytes(np.asarray(keys)), *rest), random.getstate()


@contextmanager
def own_randomness(seed: int) -> Iterator[None]:
    """Seed the global generators of torch, NumPy and Python, and restore them afterwards."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])


def disc_targets(films: int, channels: int, height: int, width: int) -> Tensor:
    """Binary targets, float32 `(films, channels, height, width)`: a disc of another place and size in each."""
    rows = torch.arange(height).view(-1, 1) / height
    columns = torch.arange(width).view(1, -1) / width
    discs = torch.empty(films, channels, height, width)
    for film in range(films):
        for channel in range(channels):
            row, column = 0.35 + 0.1 * (film % 4), 0.3 + 0.4 * (channel + 1) / (channels + 1)
            radius = 0.15 + 0.05 * (channel % 3)
            discs[film, channel] = ((rows - row) ** 2 + (columns - column) ** 2 <= radius**2).float()
    return discs
