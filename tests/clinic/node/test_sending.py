"""Destinations that take results, are away, are slow, refuse, or end in mid-transfer."""

from __future__ import annotations

import itertools
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cxrkit import ConfigError
from cxrkit_clinic.node import sending
from cxrkit_clinic.node.sending import Archive, Folder, Sender, WebArchive, destination_of
from cxrkit_clinic.node.spool import Spool
from cxrkit_clinic.node.tls import client_tls, server_tls
from tests.clinic.node.ends import archive, eventually, film


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Spool]:
    monkeypatch.setattr(sending, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(sending, "_PATIENCE", 3.0)
    with Spool(tmp_path / "spool") as made:
        yield made


def add(spool: Spool, where: str, count: int = 1, files: tuple[str, ...] = ("seg.dcm", "sr.dcm")) -> list[str]:
    """Results of some films that are to be sent; the UIDs of the objects."""
    uids = []
    for number in range(count):
        spool.receive(f"1.2.{number}", [b"%d" % number], source="S", made_with="x", name=f"1.2.{number}")
        taken = spool.take()
        assert taken is not None
        with spool.workplace(taken) as place:
            for index, name in enumerate(files):
                item = film(f"1.2.{number}.{index}")
                item.save_as(place / name, enforce_file_format=True)
                uids.append(item.SOPInstanceUID)
            (place / "notes.txt").write_text("no DICOM")
            spool.made(taken, place, [where], {})
    return uids


class Sending:
    """A thread that sends, what it says, and how it is ended."""

    def __init__(self, text: str, spool: Spool, give_up: float = 3600) -> None:
        self.said: list[str] = []
        where = destination_of(text, "CXRKIT", None) if isinstance(text, str) else text
        self.sender = Sender(where, spool, give_up, self.said.append)

    def __enter__(self) -> list[str]:
        self.sender.start()
        return self.said

    def __exit__(self, *_: object) -> None:
        self.sender.close(10)
        assert not self.sender.is_alive()


def test_an_archive_gets_each_object_once_under_our_title(spool: Spool) -> None:
    with archive() as there:
        uids = add(spool, there.address, 3)
        with Sending(there.address, spool):
            eventually(lambda: spool.count("sent") == 3)
        assert there.objects == dict.fromkeys(uids, 1)
        assert there.titles == {"CXRKIT"}


def test_results_wait_for_an_archive_that_is_away(spool: Spool) -> None:
    with archive() as there:
        port = there.port
    uids = add(spool, f"ARCHIVE@127.0.0.1:{port}", 2)
    with Sending(f"ARCHIVE@127.0.0.1:{port}", spool) as said:
        eventually(lambda: said)
        assert "can't be used: no answer from 127.0.0.1" in said[0]
        assert spool.count("sending") == 2
        with archive(port=port) as there:
            eventually(lambda: spool.count("sent") == 2)
            assert there.objects == dict.fromkeys(uids, 1)
        assert said[1:] == [f"ARCHIVE@127.0.0.1:{port} takes results again."]


def test_tls_to_an_archive_and_why_it_fails(spool: Spool, keys: tuple[Path, Path]) -> None:
    certificate, key = keys
    with archive(tls=server_tls(certificate, key, certificate)) as there:
        where = f"tls:ARCHIVE@localhost:{there.port}"
        uids = add(spool, where)
        strangers = [
            (client_tls(None, None, None), "its certificate isn't accepted"),
            (client_tls(None, None, certificate), "no TLS connection"),  # it wants a certificate of ours
        ]
        for context, reason in strangers:
            with Sending(destination_of(where, "CXRKIT", context), spool) as said:
                eventually(lambda said=said: said)
                assert reason in said[0]
        known = client_tls(certificate, key, certificate)
        with Sending(destination_of(where, "CXRKIT", known), spool):
            eventually(lambda: spool.count("sent") == 1)
        assert there.objects == dict.fromkeys(uids, 1)


def test_an_archive_without_room_is_tried_again(spool: Spool) -> None:
    answers = [0xA700, 0x0000, 0xA701]
    with archive(behave=lambda event: answers.pop() if answers else 0x0000) as there:
        uids = add(spool, there.address)
        with Sending(there.address, spool) as said:
            eventually(lambda: spool.count("sent") == 1)
        assert set(there.objects) == set(uids)
        assert "out of resources" in said[0]


def test_refused_results_are_held_and_hold_up_no_others(spool: Spool) -> None:
    def behave(event: Any) -> int:
        return 0xA900 if event.request.AffectedSOPInstanceUID == "1.2.0.1" else 0x0000

    with archive(behave=behave) as there:
        add(spool, there.address, 2)
        with Sending(there.address, spool) as said:
            eventually(lambda: spool.count("sent") == 1 and spool.count("held") == 1)
        assert "status 0xA900" in said[0]
        assert "status 0xA900" in spool.audit.read_text()
        there.behave = lambda event: 0x0000
        spool.retry()
        with Sending(there.address, spool):
            eventually(lambda: spool.count("sent") == 2)


def test_results_that_somebody_removed_hold_up_no_others(spool: Spool) -> None:
    with archive() as there:
        add(spool, there.address, 2)
        gone = spool.due(there.address)
        assert gone is not None
        shutil.rmtree(gone.files[0].parent)
        with Sending(there.address, spool) as said:
            eventually(lambda: spool.count("sent") == 1 and spool.count("held") == 1)
    assert "gone from the spool" in said[0]
    assert spool.receive(gone.name, [gone.name[-1:].encode()], source="S", made_with="x", name=gone.name)
    assert not spool.receive(gone.name, [gone.name[-1:].encode()], source="S", made_with="x", name=gone.name)
    assert spool.count("waiting") == 1


def test_an_archive_that_ends_in_mid_transfer_gets_all_in_the_end(spool: Spool) -> None:
    ended = []

    def behave(event: Any) -> int:
        if len(ended) < 2:
            ended.append(event.assoc.abort())
        return 0x0000

    with archive(behave=behave) as there:
        uids = add(spool, there.address)
        with Sending(there.address, spool) as said:
            eventually(lambda: spool.count("sent") == 1)
        assert set(there.objects) == set(uids)
        assert said[-1].endswith("takes results again.")


def test_a_slow_archive_holds_up_no_other(spool: Spool, tmp_path: Path) -> None:
    release = threading.Event()
    with archive(behave=lambda event: 0x0000 if release.wait(2.5) else 0xA700) as slow, archive() as quick:
        add(spool, slow.address)
        taken_by_both = spool._db.execute("SELECT key FROM films").fetchone()[0]
        columns = "INSERT INTO deliveries (key, destination, state, due)"
        spool._db.execute(f"{columns} VALUES (?, ?, 'open', 0)", (taken_by_both, quick.address))
        spool._db.commit()
        with Sending(slow.address, spool), Sending(quick.address, spool):
            eventually(lambda: len(quick.objects) == 2)
            assert not slow.objects
            release.set()
            eventually(lambda: spool.count("sent") == 1)


def test_an_archive_that_accepts_and_says_nothing_is_left_after_a_while(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "_PATIENCE", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = f"ARCHIVE@127.0.0.1:{silent.getsockname()[1]}"
        add(spool, where)
        with Sending(where, spool) as said:
            eventually(lambda: said)
        assert spool.count("sending") == 1


def test_a_wrong_title_is_named(spool: Spool) -> None:
    with archive() as there:
        where = there.address.replace("ARCHIVE", "WRONG")
        add(spool, where)
        with Sending(where, spool) as said:
            eventually(lambda: said)
        assert "called ae title not recognised" in said[0].replace("z", "s")


def test_what_cannot_be_sent_for_too_long_is_held(spool: Spool) -> None:
    with archive() as there:
        where = there.address
    add(spool, where)
    with Sending(where, spool, give_up=0) as said:
        eventually(lambda: spool.count("held") == 1)
    assert "given up" in said[-1]


class Web:
    """A DICOMweb archive with prepared answers."""

    def __init__(self, *answers: tuple[int, bytes]) -> None:
        self.answers, self.bodies, self.headers = [*answers], list[bytes](), list[Any]()
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                web.headers.append(dict(self.headers) | {"path": self.path})
                web.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                status, body = web.answers.pop(0) if web.answers else (200, b"{}")
                self.send_response(status)
                self.send_header("Content-Length", f"{len(body)}")
                if status == 302:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/dicom-web"

    def __enter__(self) -> Web:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


def test_dicomweb_gets_the_objects_in_one_request(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXRKIT_AUTHORIZATION", "Bearer secret")
    with Web() as web:
        add(spool, web.url)
        with Sending(web.url + "/", spool):
            eventually(lambda: spool.count("sent") == 1)
    (body,), (headers,) = web.bodies, web.headers
    assert headers["path"] == "/dicom-web/studies"
    assert headers["Authorization"] == "Bearer secret"
    assert headers["Content-Type"].startswith('multipart/related; type="application/dicom"; boundary=')
    assert body.count(b"DICM") == 2
    assert b"no DICOM" not in body
    assert "secret" not in spool.audit.read_text()


@pytest.mark.parametrize("answer", [(503, b""), (401, b""), (302, b""), (500, b"<html>")])
def test_dicomweb_that_is_away_is_tried_again(spool: Spool, answer: tuple[int, bytes]) -> None:
    with Web(answer) as web:
        add(spool, web.url)
        with Sending(web.url, spool) as said:
            eventually(lambda: spool.count("sent") == 1)
    assert f"HTTP status {answer[0]}" in said[0]


@pytest.mark.parametrize(
    "answer",
    [
        (409, b'{"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [272]}}]}}'),
        (202, b'{"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [272]}}]}}'),
    ],
)
def test_what_dicomweb_did_not_store_is_held(spool: Spool, answer: tuple[int, bytes]) -> None:
    with Web(answer) as web:
        add(spool, web.url)
        with Sending(web.url, spool) as said:
            eventually(lambda: spool.count("held") == 1)
    assert "1 objects were not stored (reason 0x0110)" in said[0]


def test_a_folder_gets_everything_whole(spool: Spool, tmp_path: Path) -> None:
    out = tmp_path / "out"
    add(spool, str(out))
    with Sending(Folder(str(out), out), spool):  # type: ignore[arg-type]
        eventually(lambda: spool.count("sent") == 1)
    assert sorted(file.name for file in (out / "1.2.0").iterdir()) == ["notes.txt", "seg.dcm", "sr.dcm"]


def test_a_folder_that_cannot_be_written_is_waited_for(spool: Spool, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_text("a file where the folder should be")
    add(spool, str(out))
    with Sending(Folder(str(out), out), spool) as said:  # type: ignore[arg-type]
        eventually(lambda: said)
        assert "a part of the path is a file" in said[0] or "file exists" in said[0]
        out.unlink()
        eventually(lambda: spool.count("sent") == 1)


def test_pauses_grow(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "FIRST_PAUSE", 0.1)
    attempts: list[float] = []

    class Away:
        name = "away"

        def send(self, delivery: Any) -> None:
            attempts.append(time.monotonic())
            raise sending.AwayError("away")

    add(spool, "away")
    with Sending(Away(), spool):  # type: ignore[arg-type]
        eventually(lambda: len(attempts) == 5)
    pauses = [after - before for before, after in itertools.pairwise(attempts)]
    assert pauses[1] > 0.19
    assert pauses[2] > 0.39
    assert pauses[3] > 0.79


@pytest.mark.parametrize(
    ("text", "host", "tls"),
    [
        ("PACS@10.0.0.1:104", "10.0.0.1", False),
        ("tls:PACS@pacs.local:2762", "pacs.local", True),
        ("P@[::1]:4242", "::1", False),
    ],
)
def test_archives_are_written_as_title_and_address(text: str, host: str, tls: bool) -> None:
    found = destination_of(text, "CXRKIT", None)
    assert isinstance(found, Archive)
    assert (found.host, found.tls is not None, found.name) == (host, tls, text)


@pytest.mark.parametrize(
    "text", ["", "PACS", "PACS@host", "PACS@host:0", "PACS@host:99999", "A" * 17 + "@h:1", "ftp://x", "@h:1"]
)
def test_what_is_no_destination_says_how_to_write_one(text: str) -> None:
    with pytest.raises(ConfigError, match="neither an archive nor a URL") as found:
        destination_of(text, "CXRKIT", None)
    assert "AET@HOST:PORT" in found.value.remedy


def test_a_password_in_a_url_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigError) as found:
        destination_of("https://user:hunter2@pacs/dicom-web", "CXRKIT", None)
    assert "hunter2" not in str(found.value)
    assert isinstance(destination_of("https://pacs/dicom-web", "CXRKIT", None), WebArchive)
