"""Running the suites: over everything that a plugin registers, or over one component."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from unittest import SkipTest

from cxrkit.entry_points import COMPONENTS
from cxrkit.errors import CxrkitError, PluginError, available, nearest, reason
from cxrkit.kinds import KINDS
from cxrkit.plugins import Plugins, PluginStatus, installed
from cxrkit.registry import Component
from cxrkit.testing import parameters as of_every_kind
from cxrkit.testing.expectations import Check, ConformanceError, Subject, expect, own_randomness


@dataclass(frozen=True)
class Case:
    """One check of one component, or of a plugin as a whole (`kind` is then `"plugin"`).

    Attributes:
        kind, name: what is checked.
        check: what is checked about it, in words.
    """

    kind: str
    name: str
    check: str
    action: Callable[[], None]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}: {self.check}"

    def run(self) -> None:
        """Check, with the global random generators seeded and restored afterwards.

        Raises:
            ConformanceError: the contract isn't kept; says what was expected, what it got and what to do.
            unittest.SkipTest: it can't be checked without data; pytest reports it as skipped.
            Exception: whatever else the component raises.
        """
        try:
            with own_randomness(0):
                self.action()
        except Exception as error:
            if not isinstance(error, SkipTest):
                error.add_note(f"This was the check: {self}")
            raise


@dataclass(frozen=True)
class Result:
    """The outcome of a case; `message` says why it failed or was skipped."""

    kind: str
    name: str
    check: str
    outcome: Literal["passed", "failed", "skipped"]
    message: str = ""
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong: a skipped check counts as passed."""
        return self.outcome != "failed"


def conformance_cases(
    name: str,
    *,
    roots: Mapping[str, Path] | None = None,
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
    plugins: Plugins | None = None,
) -> list[Case]:
    """The cases of everything that a plugin registers; the first ones are of the plugin itself.

    Args:
        name: an installed distribution, or the name of a plugin's entry point.
        roots: folders to test datasets with, by the dataset's name.
        parameters: what to build components with, by their names: a narrow network is checked sooner than a wide one.
        plugins: by default the installed ones.

    Raises:
        PluginError: there is no such plugin.
    """
    plugins = installed() if plugins is None else plugins
    cases: list[Case] = []
    for status in _find(name, plugins):
        checks = (it_loads, its_names_are_its_own, listing_it_imports_no_torch)
        cases += [Case("plugin", status.name, _words(check), _bound(check, status, plugins)) for check in checks]
        for component in status.components:
            values, root = (parameters or {}).get(component.name, {}), (roots or {}).get(component.name)
            cases += _cases(Subject(component, values, root))
    return cases


def run_conformance(
    name: str, *, roots: Mapping[str, Path] | None = None, plugins: Plugins | None = None
) -> list[Result]:
    """Run `conformance_cases` and collect the results; arguments and errors are the same."""
    return [_result(case) for case in conformance_cases(name, roots=roots, plugins=plugins)]


def check_model(model: str | Component | Callable[..., Any], parameters: Mapping[str, Any] | None = None) -> None:
    """Run the model suite.

    Args:
        model: a registered name, a component, or a factory such as a class: `factory(channels, **parameters)`.
        parameters: keyword-only parameters to build it with.

    Raises:
        ConformanceError: what the first failing check expected, what it got and what to do.
    """
    _run_all("model", model, parameters)


def check_loss(loss: str | Component | Callable[..., Any], parameters: Mapping[str, Any] | None = None) -> None:
    """Run the loss suite; see `check_model`."""
    _run_all("loss", loss, parameters)


def check_augment(augment: str | Component | Callable[..., Any], parameters: Mapping[str, Any] | None = None) -> None:
    """Run the augment suite; see `check_model`."""
    _run_all("augment", augment, parameters)


def check_dataset(
    dataset: str | Component | Callable[..., Any], parameters: Mapping[str, Any] | None = None, root: Path | None = None
) -> None:
    """Run the dataset suite on the folder `root`; see `check_model`.

    Raises:
        ConformanceError: as `check_model`. unittest.SkipTest: it needs a folder and has none.
    """
    _run_all("dataset", dataset, parameters, root)


def check_writer(writer: str | Component | Callable[..., Any], parameters: Mapping[str, Any] | None = None) -> None:
    """Run the writer suite; see `check_model`."""
    _run_all("writer", writer, parameters)


def it_loads(status: PluginStatus, plugins: Plugins) -> None:
    """The plugin's module can be imported, its hooks run, and no function only looks like a hook."""
    if status.disabled:
        raise SkipTest("switched off by CXRKIT_DISABLE_PLUGINS")
    hooks = ", ".join(kind.hook for kind in KINDS.values())
    expect(
        status.error is None,
        "a plugin that loads",
        str(status.error).rstrip("."),
        f"This is where it fails:\n{status.details}".rstrip(),
    )
    expect(
        not status.remarks,
        "functions that cxrkit calls",
        " ".join(status.remarks).rstrip("."),
        f"Name each as one of {hooks}, marked with `@cxrkit.hookimpl`; or otherwise, if it isn't meant as a hook.",
    )
    expect(
        bool(status.components),
        "at least one component",
        "none",
        f"Mark functions such as {hooks} with `@cxrkit.hookimpl`.",
    )


def its_names_are_its_own(status: PluginStatus, plugins: Plugins) -> None:
    """No other installed plugin registers the same names."""
    for component in status.components:
        others = [
            c for c in plugins.registry.clashes().get((component.kind, component.name), []) if c != status.distribution
        ]
        expect(
            not others,
            "names that no other plugin has",
            f"the {component.kind} '{component.name}', which {' and '.join(others)} has too",
            "Rename it, with your plugin's name in front.",
        )


def listing_it_imports_no_torch(status: PluginStatus, plugins: Plugins) -> None:
    """Loading the plugin is quick: components are registered as text and imported when they are used."""
    if status.error is not None or status.disabled:
        raise SkipTest("it isn't loaded")
    origin = (status.name, status.distribution)
    # A new process, since torch is imported in this one. It finds modules where this one does.
    script = (
        "import sys; from importlib.metadata import entry_points\n"
        f"found = [p for p in entry_points(group={COMPONENTS!r}) if (p.name, p.dist.name) == {origin!r}]\n"
        "[p.load() for p in found]; print(len(found), 'torch' in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False, timeout=120
    )
    lines = done.stdout.split("\n")
    answer = lines[-2].split() if len(lines) > 1 else []
    if done.returncode != 0 or len(answer) != 2 or answer[0] == "0":
        raise SkipTest("the plugin can't be loaded in a process of its own")
    expect(
        answer[1] == "False",
        "a plugin module that doesn't import torch",
        "one that does",
        'Register "package.module:Class" as text, and import torch only in those modules.',
    )


def _find(name: str, plugins: Plugins) -> list[PluginStatus]:
    wanted = name.lower().replace("_", "-")
    names = [{status.name, status.distribution} for status in plugins.statuses]
    found = [
        status
        for status, labels in zip(plugins.statuses, names, strict=True)
        if wanted in {label.lower().replace("_", "-") for label in labels}
    ]
    if not found:
        known = sorted(set().union(*names))
        raise PluginError(
            f"No installed plugin or distribution is called '{name}'.",
            f"{nearest(wanted, known)}Install it with pip first. {available(known)}",
        )
    return found


def _cases(subject: Subject) -> list[Case]:
    component = subject.component
    suite = importlib.import_module(KINDS[component.kind].suite)
    made = [(check, _bound(check, subject)) for check in of_every_kind.CHECKS]
    made += [(check, _bound(_if_called_rightly, check, subject)) for check in suite.CHECKS]
    return [Case(component.kind, component.name, _words(check), action) for check, action in made]


def _if_called_rightly(check: Check, subject: Subject) -> None:
    """Run a check of what a component does, unless that can't be called at all: one finding is enough."""
    if of_every_kind.signature_faults(subject):
        raise SkipTest("its methods can't be called as cxrkit calls them; see above")
    check(subject)


def _words(check: Callable[..., None]) -> str:
    return check.__name__.replace("_", " ")


def _bound(check: Callable[..., None], *arguments: Any) -> Callable[[], None]:
    return lambda: check(*arguments)


def _result(case: Case) -> Result:
    started = time.perf_counter()
    result = Result(case.kind, case.name, case.check, "passed")
    try:
        case.run()
    except SkipTest as skipped:
        result = replace(result, outcome="skipped", message=str(skipped))
    except CxrkitError as error:
        result = replace(result, outcome="failed", message=str(error))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        result = replace(result, outcome="failed", message=reason(error))
    return replace(result, seconds=time.perf_counter() - started)


def _run_all(
    kind: str, what: str | Component | Callable[..., Any], values: Mapping[str, Any] | None, root: Path | None = None
) -> None:
    if isinstance(what, str):
        what = installed().registry.get(kind, what)
    if not isinstance(what, Component):
        name = getattr(what, "__name__", type(what).__name__)
        what = Component(kind, name, what, f"{name}, under test", getattr(what, "__module__", "unknown"), "unknown")
    if what.kind != kind:
        raise ConformanceError(f"a {kind}", f"the {what.kind} '{what.name}'", f"Call check_{what.kind} instead.")
    for case in _cases(Subject(what, values or {}, root)):
        case.run()
