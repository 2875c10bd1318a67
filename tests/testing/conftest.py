"""A plugin of one component, made by hand, and what the suites say of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from cxrkit.plugins import Plugins, PluginStatus
from cxrkit.registry import Component, Registry
from cxrkit.testing import Result, run_conformance

Judge = Callable[..., dict[str, str]]


def judge(kind: str, factory: Callable[..., Any], root: Path | None = None, **about: Any) -> list[Result]:
    component = Component(kind, "subject", factory, about.get("summary", "a summary"), "dist", "1.0")
    registry = Registry()
    registry.add(component)
    plugins = Plugins(registry, [PluginStatus("fake", "dist", "1.0", components=(component,))])
    roots: Mapping[str, Path] = {} if root is None else {"subject": root}
    return [result for result in run_conformance("dist", roots=roots, plugins=plugins) if result.kind == kind]


@pytest.fixture
def failures() -> Judge:
    """`failures(kind, factory)`: the checks that failed, each with its message."""

    def run(kind: str, factory: Callable[..., Any], root: Path | None = None, **about: Any) -> dict[str, str]:
        return {result.check: result.message for result in judge(kind, factory, root, **about) if not result.passed}

    return run


@pytest.fixture
def skips() -> Judge:
    """`skips(kind, factory)`: the checks that were skipped, each with its reason."""

    def run(kind: str, factory: Callable[..., Any], root: Path | None = None, **about: Any) -> dict[str, str]:
        results = judge(kind, factory, root, **about)
        return {result.check: result.message for result in results if result.outcome == "skipped"}

    return run
