"""`cxrkit serve` and `cxrkit annotate` from the command line."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import cxrkit
from cxrkit_clinic.server import command, running
from cxrkit_clinic.server.settings import Door, Drawing, Network
from tests.clinic.server.serving import film

TOKEN = "a-token-of-20-letters"


def run(*words: str) -> BaseException | None:
    """What a command raises; cxrkit prints it."""
    app = typer.Typer()
    app.command()(command.serve)
    app.command()(command.annotate)
    return CliRunner().invoke(app, words).exception


def test_an_address_that_others_reach_needs_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    began: list[Door] = []
    monkeypatch.setattr(running, "run", lambda door, *_: began.append(door))
    for words in (
        (),
        ("--token", "short"),
        ("--token", "ünïcödé-ünïcödé-ü"),
        ("--token", TOKEN, "--tls-cert", "none.pem"),
    ):
        assert isinstance(run("serve", "--host", "0.0.0.0", *words), cxrkit.ConfigError)
    monkeypatch.setenv("CXRKIT_TOKEN", TOKEN)
    assert run("serve", "--host", "0.0.0.0") is None
    monkeypatch.delenv("CXRKIT_TOKEN")
    assert run("serve") is None
    assert [door.token for door in began] == [TOKEN, None]


def test_a_port_in_use_is_reported_before_the_network_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cxrkit, "load", lambda *_, **__: pytest.fail("was loaded"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        error = run("serve", "--port", f"{port}", "--quiet")
    assert isinstance(error, cxrkit.ConfigError)
    assert f"127.0.0.1:{port}" in error.what
    assert "--port" in error.remedy


def test_a_folder_without_films_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        error = run("serve", str(folder), "--port", "0", "--quiet")
        assert isinstance(error, cxrkit.DataError)
        assert str(folder) in error.what


def test_what_annotate_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Network, Path, Drawing]] = []
    monkeypatch.setattr(running, "run", lambda _, *what: asked.append(what[:3]))
    film(tmp_path / "a.png")
    more = ("--structures", "left-lung, heart", "--empty", "--max-size", "3", "--workers", "2", "--no-quality")
    assert run("annotate", str(tmp_path), "--out", str(tmp_path / "data"), *more) is None
    ((network, folder, drawing),) = asked
    assert (network.most_bytes, network.workers, folder) == (3 << 20, 2, tmp_path)
    assert network.loading == {"runtime": "auto", "quality": False, "device": "auto"}
    assert drawing == Drawing(tmp_path / "data", ("left_lung", "heart"), propose=False)


def test_the_films_are_those_of_a_dataset_or_all_but_those(tmp_path: Path) -> None:
    said: list[str] = []
    for name in ("a.png", "below/b.png", "data/images/a.png", "data/masks/heart/a.png"):
        film(tmp_path / name)
    for folder, expected in ((tmp_path, ["a.png", "below/b.png"]), (tmp_path / "data", ["a.png"])):
        films = running.listed(folder, tmp_path / "data", said.append).films()
        assert [one.name for one in films] == expected
    assert films[0].path == tmp_path / "data/images/a.png"
    assert "2 films" in said[0]


def test_films_that_a_killed_server_left_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left, used = (tmp_path / f"cxrkit-uploads-{process}-x" for process in (ended.pid, os.getpid()))
    for folder in (left, used):
        folder.mkdir()
        (folder / "film.dcm").write_bytes(b"x")
    with running.place_for_uploads() as place:
        assert place.is_dir()
        assert not left.exists()
        assert used.exists(), "another server's"
    assert not place.exists()
