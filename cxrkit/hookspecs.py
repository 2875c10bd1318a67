"""The hooks that a plugin may implement.

A plugin is a module or object under the entry-point group `cxrkit` with any of these functions, marked
with `cxrkit.hookimpl`. Each receives `register(name, factory, *, summary)`, where `factory` is a class, a
callable, or the lazy form `"package.module:Class"`, which is imported when the component is first used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import pluggy

GROUP = "cxrkit"
hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


class Register(Protocol):
    """How a hook hands over a component."""

    def __call__(self, name: str, factory: str | Callable[..., Any], *, summary: str) -> None:
        """`name` is kebab-case, `summary` one line for `cxrkit list`."""


class Hooks:
    """The hook specifications, one a kind of component."""

    @hookspec
    def register_models(self, register: Register) -> None:
        """Register subclasses of `cxrkit.Model`: `factory(channels, **parameters)`."""

    @hookspec
    def register_losses(self, register: Register) -> None:
        """Register subclasses of `cxrkit.Loss`: `factory(**parameters)`."""

    @hookspec
    def register_augments(self, register: Register) -> None:
        """Register subclasses of `cxrkit.Augment`: `factory(**parameters)`."""

    @hookspec
    def register_datasets(self, register: Register) -> None:
        """Register subclasses of `cxrkit.Dataset`: `factory(root, **parameters)`."""

    @hookspec
    def register_launchers(self, register: Register) -> None:
        """Register subclasses of `cxrkit.Launcher`: `factory(**parameters)`."""

    @hookspec
    def register_weights(self, register: Register) -> None:
        """Register subclasses of `cxrkit.PretrainedWeights`: `factory()`."""
