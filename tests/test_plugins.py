"""Plugins are loaded alone: one that fails in any way is told, and costs nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest

from cxrkit import entry_points as entry_points_module
from cxrkit import plugins as plugins_module
from cxrkit import probing
from cxrkit.entry_points import COMPONENTS
from cxrkit.errors import PluginError
from cxrkit.kinds import KINDS
from cxrkit.plugins import Plugins, PluginStatus, installed, load_plugins

GOOD = """
from cxrkit import hookimpl

@hookimpl
def register_losses(register):
    register("{name}-loss", "{module}.losses:Loss", summary="a loss")
"""

Install = Callable[..., str]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a distribution of one plugin: its module and metadata on `sys.path`, as pip leaves them."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def make(name: str, source: str = GOOD, version: str = "1.0", metadata: bool = True) -> str:
        module = f"fake_{name.replace('-', '_')}"
        (site / f"{module}.py").write_text(source.format(name=name, module=module) if source is GOOD else source)
        info = site / f"{module}-{version}.dist-info"
        info.mkdir()
        if metadata:
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: cxrkit-{name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[cxrkit]\n{name} = {module}\n")
        return module

    yield make
    for module in [key for key in sys.modules if key.startswith("fake_")]:
        del sys.modules[module]


def only_fakes() -> list[EntryPoint]:
    return [point for point in entry_points(group=COMPONENTS) if point.value.startswith("fake_")]


def load() -> Plugins:
    return load_plugins(only_fakes())


def status(loaded: Plugins, name: str) -> PluginStatus:
    (found,) = [one for one in loaded.statuses if one.name == name]
    return found


def test_an_installed_plugin_is_found_with_its_distribution(install: Install) -> None:
    install("heart", version="2.3")
    loaded = load()
    found = loaded.registry.get("loss", "heart-loss")
    assert (found.distribution, found.version, found.summary) == ("cxrkit-heart", "2.3", "a loss")
    assert status(loaded, "heart").components == (found,)
    assert status(loaded, "heart").error is None


def test_loading_imports_no_component(install: Install) -> None:
    # `fake_heart.losses` doesn't even exist.
    install("heart")
    assert load().registry.names("loss") == ["heart-loss"]


def test_plugins_may_be_objects(monkeypatch: pytest.MonkeyPatch, install: Install) -> None:
    module = install(
        "object",
        "from cxrkit import hookimpl\n"
        "class Plugin:\n"
        "    @hookimpl\n"
        "    def register_models(self, register):\n"
        "        register('object-net', 'a:B', summary='s')\n"
        "plugin = Plugin()\n",
    )
    loaded = load_plugins([EntryPoint("object", f"{module}:plugin", COMPONENTS)])
    assert loaded.registry.names("model") == ["object-net"]


BROKEN = {
    "raises-at-import": ("raise RuntimeError('no licence found')", "RuntimeError: no licence found"),
    "exits-at-import": ("import sys\nsys.exit('goodbye')", "SystemExit: goodbye"),
    "is-no-python": ("def :", "SyntaxError"),
    "misses-a-module": ("import no_such_module_anywhere", "ModuleNotFoundError: No module named"),
    "raises-in-a-hook": (
        "from cxrkit import hookimpl\n@hookimpl\ndef register_models(register):\n    1 / 0\n",
        "ZeroDivisionError",
    ),
    "takes-other-arguments": (
        "from cxrkit import hookimpl\n@hookimpl\ndef register_models(register, colour):\n    pass\n",
        "PluginValidationError",
    ),
    "misspells-a-hook": (
        "from cxrkit import hookimpl\n@hookimpl\ndef register_modles(register):\n    pass\n",
        "unknown hook 'register_modles'",
    ),
    "registers-wrongly": (
        "from cxrkit import hookimpl\n@hookimpl\ndef register_models(register):\n    register('net')\n",
        "TypeError",
    ),
    "names-badly": (
        "from cxrkit import hookimpl\n@hookimpl\ndef register_models(register):\n"
        "    register('good-net', 'a:B', summary='s')\n    register('Bad Net', 'a:B', summary='s')\n",
        "PluginError: cxrkit-names-badly registers the model name 'Bad Net'",
    ),
    "registers-twice": (
        "from cxrkit import hookimpl\n@hookimpl\ndef register_models(register):\n"
        "    register('net', 'a:B', summary='s')\n    register('net', 'a:C', summary='s')\n",
        "it registers the model 'net' twice",
    ),
    "raises-anything": ("class Odd(BaseException):\n    pass\nraise Odd('gone')", "Odd: gone"),
    "cannot-say-why": (
        "class Mute(Exception):\n    def __str__(self):\n        raise RuntimeError\nraise Mute",
        "Mute: (its message can't be shown: RuntimeError)",
    ),
    "names-a-number": (
        "from cxrkit import hookimpl\n@hookimpl\ndef register_models(register):\n    register(5, 'a:B', summary='s')\n",
        "registers the model 5 with a name, summary or shorthand that isn't text",
    ),
    "sums-up-nothing": (
        "from cxrkit import hookimpl\n@hookimpl\ndef register_models(register):\n"
        "    register('net', 'a:B', summary=None)\n",
        "with a name, summary or shorthand that isn't text",
    ),
    "makes-nothing": (
        "from cxrkit import hookimpl\n@hookimpl\ndef register_models(register):\n"
        "    register('net', 'no colon', summary='s')\n",
        "with the factory 'no colon'",
    ),
    "has-an-odd-default": (
        "from cxrkit import hookimpl\n@hookimpl\ndef register_augments(register):\n"
        "    register('net', 'a:B', summary='s', shorthand='mix')\n",
        "with a wrong default or shorthand",
    ),
    "has-no-end": (
        "from cxrkit import hookimpl\n@hookimpl\ndef register_models(register):\n    register_models(register)\n",
        "RecursionError",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_plugin_is_reported_and_costs_nothing_else(install: Install, name: str) -> None:
    source, words = BROKEN[name]
    install(name, source)
    install("a-good-one")
    install("z-good-one")
    loaded = load()
    assert loaded.registry.names("loss") == ["a-good-one-loss", "z-good-one-loss"]
    assert loaded.registry.names("model") == []  # none of half a plugin's components
    told = status(loaded, name)
    assert told.error is not None
    assert words in told.error
    assert "\n" not in told.error
    assert "Traceback" in told.details
    assert told.components == ()
    assert loaded.registry.broken == {name: told.error}
    with pytest.raises(PluginError, match="no model called 'net'") as caught:
        loaded.registry.get("model", "net")
    assert name in caught.value.remedy


def test_an_entry_point_that_leads_nowhere_is_reported() -> None:
    loaded = load_plugins([EntryPoint("lost", "cxrkit.plugins:no_such_plugin", COMPONENTS)])
    assert "AttributeError" in (status(loaded, "lost").error or "")


def test_ctrl_c_goes_through(install: Install) -> None:
    install("interrupted", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load()


def test_damaged_metadata_is_survived(install: Install) -> None:
    install("damaged", metadata=False)
    loaded = load()
    assert loaded.registry.get("loss", "damaged-loss").distribution in ("fake_damaged", "fake-damaged")


def test_a_slow_plugin_is_reported(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins_module, "SLOW_SECONDS", 0.05)
    install("slow", "import time\ntime.sleep(0.06)\n")
    install("quick")
    loaded = load()
    assert status(loaded, "slow").slow
    assert status(loaded, "slow").seconds >= 0.06
    assert not status(loaded, "quick").slow


def test_a_slow_plugin_that_imports_torch_is_reported_with_the_cause(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugins_module, "SLOW_SECONDS", 0.05)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    # A stand-in: importing the real torch twice in a process breaks it.
    source = "import sys, time, types\ntime.sleep(0.06)\nsys.modules['torch'] = types.ModuleType('torch')\n"
    install("eager", source)
    install("later")
    loaded = load()
    assert status(loaded, "eager").slow
    assert status(loaded, "eager").imports_torch
    assert not status(loaded, "later").imports_torch


def test_a_name_that_two_distributions_claim_names_both(install: Install) -> None:
    source = (
        "from cxrkit import hookimpl\n@hookimpl\ndef register_models(register):\n"
        "    register('heart-net', 'a:B', summary='s')\n    register('{}-net', 'a:B', summary='s')\n"
    )
    install("one", source.format("one"))
    install("two", source.format("two"), version="2.0")
    loaded = load()
    with pytest.raises(PluginError, match=r"cxrkit-one 1\.0 and cxrkit-two 2\.0"):
        loaded.registry.get("model", "heart-net")
    assert loaded.registry.get("model", "one-net").distribution == "cxrkit-one"
    assert loaded.registry.get("model", "two-net").distribution == "cxrkit-two"


@pytest.mark.parametrize("name", ["two", "cxrkit-two", " other , two ", "two,"])
def test_a_plugin_can_be_switched_off(install: Install, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    install("one")
    install("two", "raise RuntimeError('must not be imported')")
    monkeypatch.setenv("CXRKIT_DISABLE_PLUGINS", name)
    loaded = load()
    assert status(loaded, "two").disabled
    assert status(loaded, "two").error is None
    assert "fake_two" not in sys.modules
    assert loaded.registry.names("loss") == ["one-loss"]
    assert loaded.registry.broken == {}


def test_one_plugin_found_twice_is_loaded_once(install: Install) -> None:
    # A path that is on `sys.path` twice, or an editable install beside its source.
    install("one")
    points = only_fakes()
    loaded = load_plugins([*points, *points])
    assert len(loaded.statuses) == 1
    assert loaded.registry.clashes() == {}


def test_the_builtins_come_first_and_are_whole() -> None:
    loaded = load_plugins()
    first = loaded.statuses[0]
    assert (first.name, first.distribution, first.error) == ("builtin", "cxrkit", None)
    assert {component.kind for component in first.components} == set(KINDS)


def test_the_installed_plugins_are_loaded_once_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    installed.cache_clear()
    try:
        assert installed() is installed()
        assert plugins_module.registry() is installed().registry
    finally:
        installed.cache_clear()


def test_no_plugin_keeps_the_builtins_from_being_listed(install: Install, tmp_path: Path) -> None:
    # In a process of its own, as the command line meets it.
    install("ruin", "import sys\nprint('noise')\nsys.exit(9)\n")
    script = "from cxrkit.plugins import registry; print(registry().names('model'))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), *filter(None, sys.path)])}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert "attn-bcdu" in done.stdout


def test_what_a_plugin_prints_stays_out_of_the_results(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install("chatty", "print('hello from the plugin')")
    load_plugins()
    assert capsys.readouterr() == ("", "hello from the plugin\n")


def test_a_hook_without_its_decorator_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bare.py").write_text("def register_writers(register):\n    pass\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    (status,) = load_plugins([EntryPoint("bare", "bare", COMPONENTS)]).statuses
    assert status.error is not None
    assert "register_writers lacks the decorator @cxrkit.hookimpl" in status.error


#: What no process that loads it survives, and what is said of it.
DEADLY = {
    "leaves": ("import os\nos._exit(0)\n", "it ends the process that loads it, with exit code 0"),
    "crashes": ("import os\nos.kill(os.getpid(), 11)\n", "with signal 11"),
    "closes": ("import os\nos.close(1)\n", "it closes the standard streams"),
    "interrupts": ("raise KeyboardInterrupt\n", "it raises KeyboardInterrupt"),
    "hangs": ("import time\ntime.sleep(600)\n", "it was still loading after 2 seconds"),
    "waits-for-a-child": (
        "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])\n",
        "it was still loading after 2 seconds",
    ),
}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("name", DEADLY)
def test_a_plugin_that_would_end_cxrkit_is_not_loaded(
    install: Install, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "_LONGEST", 2.0)
    source, words = DEADLY[name]
    module = install(name, source)
    install("good")
    loaded = load_plugins(only_fakes(), trying=True)
    assert loaded.registry.names("loss") == ["good-loss"]
    assert words in (status(loaded, name).error or "")
    assert module not in sys.modules
    assert f"cxrkit plugins check cxrkit-{name}" in status(loaded, name).details


def _tries(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the plugins that are tried in a process of their own from now on."""
    tried: list[str] = []

    def try_it(point: EntryPoint) -> str:
        tried.append(point.name)
        return ""

    monkeypatch.setattr(probing, "_try", try_it)
    return tried


def test_a_plugin_is_tried_once_for_each_version_and_content(
    install: Install, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CXRKIT_CACHE", str(tmp_path / "cache"))
    tried = _tries(monkeypatch)
    module = install("heart")
    for _ in range(2):
        load_plugins(only_fakes(), trying=True)
    assert tried == ["heart"]
    (tmp_path / "site" / f"{module}.py").write_text("'changed'\n")
    load_plugins(only_fakes(), trying=True)
    info = tmp_path / "site" / f"{module}-1.0.dist-info"
    (info / "RECORD").write_text("x.py,,\n")
    load_plugins(only_fakes(), trying=True)
    assert tried == ["heart"] * 3
    (point,) = only_fakes()
    probing.forget(point)
    load_plugins(only_fakes(), trying=True)
    assert tried == ["heart"] * 4


def test_a_home_that_cannot_be_written_to_costs_a_trial_and_no_more(
    install: Install, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CXRKIT_CACHE", str(tmp_path / "file" / "cache"))
    tried = _tries(monkeypatch)
    install("heart")
    for _ in range(2):
        assert load_plugins(only_fakes(), trying=True).registry.names("loss") == ["heart-loss"]
    assert tried == ["heart", "heart"]


def test_plugins_of_cxrkit_itself_are_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = _tries(monkeypatch)
    load_plugins(
        [point for point in entry_points(group=COMPONENTS) if point.name in ("builtin", "clinic")], trying=True
    )
    assert tried == []


def test_what_loads_long_is_named_meanwhile(
    install: Install, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(entry_points_module, "_PATIENCE", 0.05)
    install("slow", "import time\ntime.sleep(0.3)\n")
    load()
    assert "Still loading the plugin 'slow' of cxrkit-slow ..." in capsys.readouterr().err


def test_functions_that_look_like_hooks_are_remarked_on(install: Install) -> None:
    install(
        "almost",
        "from cxrkit import hookimpl\n"
        "def register_modles(register):\n    pass\n"
        "def register_networks(register):\n    pass\n"
        "def registered(names):\n    pass\n"
        "@hookimpl\ndef register_losses(register):\n    register('l', 'a:B', summary='s')\n",
    )
    first, second = status(load(), "almost").remarks
    assert "register_modles is no hook. Did you mean 'register_models'" in first
    assert "register_networks is no hook" in second
