"""Verbs of other packages: found by their metadata, imported when called, and never able to break the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

VERB = '''
"""Serve films."""

from typing import Annotated

import typer

from cxrkit.commands import ConfigError, Json, say, show, show_json


def offer(port: Annotated[int, typer.Option(help="Where to listen.")] = 80, as_json: Json = False) -> None:
    """Serve films [to browsers].

    As long
    as it runs.
    """
    if port == 1:
        raise ConfigError("--port 1 is taken.", "Choose another one.")
    if port == 2:
        raise ZeroDivisionError("of a plugin")
    show_json({"port": port}) if as_json else show(f"port {port}")
    say("serving")
'''

GROUP = '''
import typer

app = typer.Typer(help="A node.")


@app.command()
def start() -> None:
    """Start it."""
    print("started")


@app.command()
def stop() -> None:
    """Stop it."""
'''

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a distribution with one verb, as pip leaves it."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(name: str = "offer", source: str = VERB, target: str = "offer", package: str = "clinic") -> None:
        (tmp_path / f"fake_{package}.py").write_text(source)
        info = tmp_path / f"cxrkit_{package}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: cxrkit-{package}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[cxrkit.commands]\n{name} = fake_{package}:{target}\n")

    yield make
    for module in [key for key in sys.modules if key.startswith("fake_")]:
        del sys.modules[module]


def test_a_verb_stands_in_the_help_without_being_imported(cxrkit, install: Install) -> None:
    install()
    outcome = cxrkit("--help")
    assert "offer" in outcome.out
    assert "Serve films" in outcome.out
    assert "fake_clinic" not in sys.modules
    assert "offer (cxrkit-clinic 1.2)" in cxrkit("plugins", "list").out
    assert "fake_clinic" not in sys.modules


def test_it_is_called_like_a_built_in_one(cxrkit, install: Install) -> None:
    install()
    outcome = cxrkit("offer", "--port", 7)
    assert (outcome.code, outcome.out, outcome.err) == (0, "port 7\n", "serving\n")
    assert '"port": 80' in cxrkit("offer", "--json").out
    help_text = cxrkit("offer", "-h").out
    assert "Usage: cxrkit offer" in help_text
    assert "As long as it runs." in help_text


def test_its_errors_go_through_the_same_door(cxrkit, install: Install) -> None:
    install()
    outcome = cxrkit("offer", "--port", 1)
    assert (outcome.code, outcome.err) == (2, "Error: --port 1 is taken.\nChoose another one.\n")
    outcome = cxrkit("offer", "--port", 2)
    assert outcome.code == 1
    assert "Traceback" not in outcome.err
    assert "Traceback" in cxrkit("offer", "--port", 2, "--debug").err
    assert cxrkit("offer", "--prot", 2).code == 2


def test_a_group_of_verbs_is_one_too(cxrkit, install: Install) -> None:
    install("offer", GROUP, "app")
    assert cxrkit("offer", "start").out == "started\n"
    assert "Stop it." in cxrkit("offer", "--help").out


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("import no_such_package", "offer"),
        ("raise SystemExit(9)", "offer"),
        ("this is no Python", "offer"),
        ("offer = 5", "offer"),
        ("", "offer"),
    ],
)
def test_a_broken_package_harms_only_its_own_verb(cxrkit, install: Install, source: str, target: str) -> None:
    install(source=source, target=target)
    assert "A command of cxrkit-clinic." in cxrkit("--help").out
    assert cxrkit("list", "loss").code == 0
    outcome = cxrkit("offer")
    assert outcome.code == 4
    assert outcome.err.startswith("Error: The command 'offer' of cxrkit-clinic 1.2 can't be loaded: ")
    assert "Traceback" not in outcome.err


def test_built_in_verbs_win(cxrkit, install: Install) -> None:
    install("doctor")
    assert "Check the installation" in cxrkit("doctor", "--help").out
    reported = cxrkit("plugins", "list").out
    assert "The command 'doctor' of cxrkit-clinic can't be used: cxrkit has one of that name." in reported


def test_two_packages_with_one_verb_clash(cxrkit, install: Install, monkeypatch) -> None:
    install()
    install(package="other")
    outcome = cxrkit("offer")
    assert (outcome.code, "claimed by cxrkit-clinic and cxrkit-other" in outcome.err) == (4, True)
    assert "'offer' can't be used: cxrkit-clinic and cxrkit-other both claim it." in cxrkit("plugins", "list").out
    monkeypatch.setenv("CXRKIT_DISABLE_PLUGINS", "cxrkit-other")
    assert cxrkit("offer").out == "port 80\n"
