"""A kind's line in the table is all that the hooks, the suites and the command line need."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

import cxrkit
from cxrkit import hookspecs
from cxrkit.config import RunConfig
from cxrkit.kinds import KINDS, SECTIONS
from cxrkit.plugins import registry

#: Names of built-in components that are other things too: a measure of overlap, a column of a table, arrays.
_COMMON_WORDS = {"dice", "folder", "masks", "none", "overlay", "probabilities", "torch"}


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_a_kind_has_its_hook_interface_suite_and_components(kind) -> None:
    assert getattr(hookspecs.Hooks, kind.hook).__doc__
    assert getattr(cxrkit, kind.interface) is kind.load_interface()
    checks = importlib.import_module(kind.suite).CHECKS
    assert checks
    assert all(check.__doc__ for check in checks)
    assert registry().names(kind.name)
    assert not (kind.section and kind.section not in RunConfig.model_fields)


def test_the_settings_that_choose_components_are_the_runs() -> None:
    assert {key for key in SECTIONS if SECTIONS[key].many} == {"loss", "augment", "logger"}
    assert [kind for kind in KINDS if KINDS[kind].section] == [SECTIONS[key].name for key in SECTIONS]


def test_the_core_names_no_plugin() -> None:
    """Neither as a value nor as an identifier; help texts and examples may mention one."""
    names = {name for kind in KINDS for name in registry().names(kind)} - _COMMON_WORDS
    names |= {component.shorthand.parameter for component in registry().shorthands().values()}
    found: list[str] = []
    for file in sorted(Path(cxrkit.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            words = [getattr(node, part, None) for part in ("value", "id", "attr", "arg", "name")]
            if any(isinstance(word, str) and word.replace("_", "-") in names for word in words):
                found.append(f"{file.name}:{getattr(node, 'lineno', 0)}: {words}")
    assert found == []
