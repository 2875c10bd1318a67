"""Cases and results: what a plugin's tests and `cxrkit plugins check` are made of."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import torch

from cxrkit.errors import PluginError
from cxrkit.hookspecs import GROUP
from cxrkit.plugins import Plugins, load_plugins
from cxrkit.testing import Result, conformance_cases, run_conformance

PLUGIN = """
from cxrkit import hookimpl

@hookimpl
def register_losses(register):
    register("{loss}", "{module}_losses:SquareLoss", summary="mean square")
"""

LOSSES = '''
import torch
from cxrkit import Loss

class SquareLoss(Loss):
    """The mean squared error of probabilities."""

    reduction = "pooled"

    def forward(self, logits, targets):
        return (logits.sigmoid() - targets).square().mean()
'''

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a distribution `cxrkit-NAME` with the given plugin module, on `sys.path`."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(name: str, source: str = PLUGIN, loss: str = "square", losses: str = LOSSES) -> None:
        module = f"checked_{name}"
        (tmp_path / f"{module}.py").write_text(source.replace("{loss}", loss).replace("{module}", module))
        (tmp_path / f"{module}_losses.py").write_text(losses)
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: cxrkit-{name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[cxrkit]\n{name} = {module}\n")

    yield make
    for module in [key for key in sys.modules if key.startswith("checked_")]:
        del sys.modules[module]


def load() -> Plugins:
    return load_plugins([point for point in entry_points(group=GROUP) if point.value.startswith("checked_")])


def outcomes(results: list[Result]) -> dict[str, str]:
    return {result.check: result.outcome for result in results}


@pytest.mark.parametrize("name", ["cxrkit-fine", "fine", "cxrkit_fine", "Cxrkit-Fine"])
def test_a_plugin_is_found_by_distribution_or_entry_point(install: Install, name: str) -> None:
    install("fine")
    results = run_conformance(name, plugins=load())
    assert {result.outcome for result in results} == {"passed"}
    assert [result.check for result in results[:3]] == [
        "it loads",
        "its names are its own",
        "listing it imports no torch",
    ]
    assert {(result.kind, result.name) for result in results} == {("plugin", "fine"), ("loss", "square")}


def test_an_unknown_plugin_gets_the_nearest(install: Install) -> None:
    install("fine")
    with pytest.raises(PluginError, match="called 'cxrkit-fin'") as caught:
        conformance_cases("cxrkit-fin", plugins=load())
    assert "Did you mean 'cxrkit-fine'" in caught.value.remedy


def test_the_builtins_are_a_plugin_like_others() -> None:
    names = {(case.kind, case.name) for case in conformance_cases("cxrkit")}
    assert ("plugin", "builtin") in names
    assert {("model", "attn-bcdu"), ("loss", "focal-tversky"), ("augment", "mixup"), ("dataset", "phantom")} <= names


def test_cases_have_different_names() -> None:
    names = [str(case) for case in conformance_cases("cxrkit")]
    assert len(set(names)) == len(names)
    assert "model attn-bcdu: outputs are logits" in names


def test_a_broken_plugin_fails_to_load_with_its_traceback(install: Install) -> None:
    install("broken", "import no_such_module_at_all")
    results = run_conformance("broken", plugins=load())
    assert outcomes(results) == {
        "it loads": "failed",
        "its names are its own": "passed",
        "listing it imports no torch": "skipped",
    }
    assert "ModuleNotFoundError" in results[0].message
    assert "Traceback" in results[0].message


def test_the_author_of_a_plugin_that_registers_nothing_learns_how_to(install: Install) -> None:
    install("empty", "def register_losses(register):\n    register('x', 'a:B', summary='no hookimpl')\n")
    (first, *_) = run_conformance("empty", plugins=load())
    assert first.outcome == "failed"
    assert "@cxrkit.hookimpl" in first.message


def test_a_disabled_plugin_is_skipped(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("off")
    monkeypatch.setenv("CXRKIT_DISABLE_PLUGINS", "off")
    assert outcomes(run_conformance("off", plugins=load()))["it loads"] == "skipped"


def test_a_clash_is_reported(install: Install) -> None:
    install("first")
    install("second")
    found = {result.check: result for result in run_conformance("first", plugins=load())}
    assert found["its names are its own"].outcome == "failed"
    assert "the loss 'square', which cxrkit-second has too" in found["its names are its own"].message


def test_a_plugin_that_imports_torch_to_be_listed_is_reported(install: Install, tmp_path: Path) -> None:
    install("heavy", "import torch\n" + PLUGIN)
    # In this process torch is there already; the check's own process meets one that takes no time to import.
    (tmp_path / "torch.py").touch()
    found = {result.check: result for result in run_conformance("heavy", plugins=load())}
    assert found["listing it imports no torch"].outcome == "failed"
    assert '"package.module:Class"' in found["listing it imports no torch"].message


def test_errors_that_are_not_the_suites_are_reported_with_their_type(install: Install) -> None:
    install("odd", losses=LOSSES.replace("logits.sigmoid()", "logits.sigmoyd()"))
    found = {result.check: result for result in run_conformance("odd", plugins=load())}
    assert found["values are finite scalars"].outcome == "failed"
    assert found["values are finite scalars"].message.startswith("AttributeError: ")


def test_cases_leave_the_global_generators_as_they_were(install: Install) -> None:
    install("fine")
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    for case in conformance_cases("fine", plugins=load()):
        case.run()
    assert torch.equal(torch.rand(3), expected)


def test_results_count_skipped_ones_as_passed() -> None:
    assert Result("loss", "a", "b", "skipped").passed
    assert Result("loss", "a", "b", "passed").passed
    assert not Result("loss", "a", "b", "failed").passed


def test_a_plugins_own_tests_report_what_passed_failed_and_was_skipped(install: Install, tmp_path: Path) -> None:
    # As a plugin's author sees it: the lines of the documentation, in a process of their own.
    install("mixed", losses=LOSSES.replace("(logits.sigmoid() - targets)", "(targets - targets.round_())"))
    (tmp_path / "test_mine.py").write_text(
        "import pytest\nfrom unittest import SkipTest\n"
        "from cxrkit.testing import Case, conformance_cases\n\n"
        "def needs_data():\n    raise SkipTest('needs data: none here')\n\n"
        "CASES = [*conformance_cases('cxrkit-mixed'), Case('dataset', 'films', 'it reads', needs_data)]\n\n"
        "@pytest.mark.parametrize('case', CASES, ids=str)\n"
        "def test_conformance(case):\n    case.run()\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", "test_mine.py"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={"PYTHONPATH": ":".join([str(tmp_path), *filter(None, sys.path)]), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "SKIPPED [1]" in done.stdout
    assert "needs data: none here" in done.stdout
    assert "test_conformance[loss square: logits and targets stay as they were]" in done.stdout
    assert "This was the check: loss square: gradients are finite" in done.stdout


def test_a_function_that_only_looks_like_a_hook_is_a_finding(install: Install) -> None:
    install("almost", PLUGIN + "\ndef register_modles(register):\n    pass\n")
    (fault,) = [result for result in run_conformance("almost", plugins=load()) if not result.passed]
    assert "register_modles is no hook. Did you mean 'register_models'" in fault.message
    assert "marked with `@cxrkit.hookimpl`" in fault.message


def test_a_component_that_calls_sys_exit_is_a_finding(install: Install) -> None:
    install("leaving", losses=LOSSES.replace("return (", "raise SystemExit\n        return ("))
    faults = [result for result in run_conformance("leaving", plugins=load()) if not result.passed]
    assert any("SystemExit" in fault.message for fault in faults)
