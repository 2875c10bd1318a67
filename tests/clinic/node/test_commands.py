"""`cxrkit node` and `cxrkit watch`: what a user sees before and beside the work."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cxrkit.cli.app import app
from cxrkit_clinic.node import command
from cxrkit_clinic.node.spool import Spool


class Outcome:
    def __init__(self, *arguments: object) -> None:
        result = CliRunner().invoke(app, [str(item) for item in arguments])
        self.code, self.out, self.err = result.exit_code, result.stdout, " ".join(result.stderr.split())


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["node"], "There is no destination for the results"),
        (["watch", "in"], "There is no destination for the results"),
        (["watch", "absent", "--out", "out"], "absent: there is no such folder"),
        (["watch", "in", "--out", "in"], "is also the folder of the results"),
        (["node", "--send-to", "PACS"], "PACS: is neither an archive nor a URL"),
        (["node", "--out", "out", "--aet", "A" * 17], "is no application entity title"),
        (["node", "--out", "out", "--aet-allow", " "], "is no application entity title"),
        (["node", "--out", "out", "--tls-cert", "absent.pem"], "absent.pem: can't be used"),
        (["node", "--out", "out", "--set", "model.depth=3"], "only parameters of the chosen writers"),
        (["node", "--status"], "cxrkit-spool: there is no spool"),
    ],
)
def test_mistakes_are_named_at_once(arguments: list[str], what: str) -> None:
    done = Outcome(*arguments)
    assert done.code in (2, 3)
    assert what in done.err
    assert not Path("cxrkit-spool").exists()


def test_a_spool_has_one_node(tmp_path: Path) -> None:
    import fcntl

    with Spool(tmp_path / "spool"), (tmp_path / "spool" / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = Outcome("node", "--out", "out", "--spool", "spool")
    assert done.code == 2
    assert "another node works on this spool" in done.err


def test_the_status_shows_queue_rates_and_failures(tmp_path: Path) -> None:
    with Spool(tmp_path / "spool") as spool:
        for number in range(3):
            spool.receive(f"1.2.{number}", [b"%d" % number], source="S", made_with="x", name="n")
        spool.note("refused", "1.2.9", "S", 5, "0x0122: only CR and DX")
        failed, done = spool.take(), spool.take()
        assert failed is not None
        assert done is not None
        spool.end(failed, "failed", "it is damaged", {})
        with spool.workplace(done) as place:
            (place / "seg.dcm").write_bytes(b"x")
            spool.made(done, place, ["PACS@h:1"], {})
        delivery = spool.due("PACS@h:1")
        assert delivery is not None
        spool.postpone(delivery, "PACS@h:1", "no answer", 60)
    shown: dict[str, Any] = json.loads(Outcome("node", "--status", "--spool", "spool", "--json").out)
    assert not shown["running"]
    assert shown["queue"]["waiting"] == 1
    assert shown["queue"]["sending"] == 1
    assert shown["ended"] == {"sent": 0, "failed": 1, "held": 0, "skipped": 0}
    assert shown["objects"] == {"refused": 1, "duplicate": 0}
    assert shown["last_hour"]["received"] == 3
    assert shown["destinations"] == {"PACS@h:1": {"open": 1, "sent": 0, "held": 0, "last_fault": "no answer"}}
    assert [fault["reason"] for fault in shown["last_faults"]] == ["it is damaged"]
    text = Outcome("node", "--status", "--spool", "spool").out
    assert "waiting to be segmented\t1" in text
    assert "it is damaged" in text


def test_a_port_in_use_ends_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cxrkit_clinic.node import service
    from cxrkit_clinic.node.worker import Ready

    class Worker:
        def __init__(self, *_: Any) -> None:
            pass

        def start(self) -> Ready:
            return Ready({}, "")

        def kill(self) -> str:
            return ""

    monkeypatch.setattr(service, "Worker", Worker)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = Outcome("node", "--out", "out", "--port", taken.getsockname()[1])
    assert done.code == 2
    assert "the port is in use" in done.err


def test_what_a_node_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    monkeypatch.setattr(command, "_run", lambda service, *_, **__: made.append(service))
    for words in (["watch", "in", "--out", "out"], ["node", "--out", "out", "--no-quality", "--weights", "runs/one"]):
        assert Outcome(*words).code == 0
    plain, other = (service.recipe for service in made)
    assert (plain.weights, plain.loading["quality"]) == (None, True)
    assert (other.weights, other.loading["quality"]) == ("runs/one", False)
