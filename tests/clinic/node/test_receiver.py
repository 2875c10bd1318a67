"""The door for a PACS: what is taken, what is refused and how, and that nothing keeps it from taking more."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import UID, RLELossless
from pynetdicom import AE

from cxrkit import ConfigError
from cxrkit_clinic.node.receiver import Door, Receiver
from cxrkit_clinic.node.spool import Spool
from cxrkit_clinic.node.tls import server_tls
from tests.clinic.node.ends import CR, DX, PATIENT, film, send

Opened = Callable[..., tuple[Receiver, Spool]]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    closing: list[Any] = []

    def make(*, limit: int = 1000, reserve: int = 0, **more: Any) -> tuple[Receiver, Spool]:
        spool = Spool(tmp_path / "spool", limit=limit, reserve=reserve)
        receiver = Receiver(Door("127.0.0.1", 0, "CXRKIT", **more), spool, "x", lambda: None)
        closing.extend((receiver.close, spool.__exit__))
        return receiver, spool

    yield make
    for close in closing:
        close()


def log(spool: Spool) -> list[dict[str, Any]]:
    return [json.loads(line) for line in spool.audit.read_text().splitlines()] if spool.audit.exists() else []


def test_films_arrive_as_they_were_sent(opened: Opened) -> None:
    receiver, spool = opened()
    sent = [film(kind=DX), film(kind=CR)]
    assert send(receiver.port, *sent) == [0x0000, 0x0000]
    for item in sent:
        waiting = spool.take()
        assert waiting is not None
        assert dcmread(waiting.path).to_json() == item.to_json()
        assert waiting.name == item.SOPInstanceUID


def test_an_echo_is_answered(opened: Opened) -> None:
    receiver, _ = opened()
    ae = AE()
    ae.add_requested_context("1.2.840.10008.1.1")
    association = ae.associate("127.0.0.1", receiver.port, ae_title="CXRKIT")
    assert association.send_c_echo().Status == 0x0000
    association.release()


def test_a_film_sent_twice_is_acknowledged_and_kept_once(opened: Opened) -> None:
    receiver, spool = opened()
    sent = film()
    assert send(receiver.port, sent, sent) == send(receiver.port, sent, sent) == [0x0000, 0x0000]
    assert spool.count("waiting") == 1
    assert [line["outcome"] for line in log(spool)] == ["duplicate"] * 3


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("1.2.840.10008.5.1.4.1.1.1.1.1", 0x0122),  # DX for processing
        ("1.2.840.10008.5.1.4.1.1.2", 0x0122),  # CT
        ("1.2.840.10008.5.1.4.1.1.11.1", 0x0122),  # a presentation state
        ("1.2.840.10008.5.1.4.1.1.104.1", 0x0122),  # an encapsulated PDF
    ],
)
def test_other_objects_are_refused_and_films_beside_them_taken(opened: Opened, kind: str, status: int) -> None:
    receiver, spool = opened()
    assert send(receiver.port, film(kind=UID(kind)), film()) == [status, 0x0000]
    assert spool.count("waiting") == 1
    assert log(spool)[0]["reason"].startswith(f"0x{status:04X}: only CR and DX")


def test_what_cannot_be_used_is_refused(opened: Opened) -> None:
    receiver, spool = opened()
    nameless, other = film(), film()
    send_raw = _raw_sender(receiver.port)
    assert send_raw(nameless, strip=True) == 0xA900
    assert send_raw(other, claimed="1.2.3.4") == 0xA900
    assert send(receiver.port, film(NumberOfFrames=3)) == [0xC000]
    assert send_raw(film(), garbage=True) in (0xA900, 0xC000)
    assert spool.count("waiting") == 0
    assert send(receiver.port, film()) == [0x0000]


def _raw_sender(port: int) -> Callable[..., int | None]:
    """Sends a request whose data set doesn't fit it."""
    from pynetdicom.dimse_primitives import C_STORE
    from pynetdicom.dsutils import encode

    def send_raw(item: Any, *, strip: bool = False, claimed: str = "", garbage: bool = False) -> int | None:
        uid = claimed or item.SOPInstanceUID
        if strip:
            del item.SOPInstanceUID
        ae = AE(ae_title="SENDER")
        ae.dimse_timeout = 20
        ae.add_requested_context(item.SOPClassUID, item.file_meta.TransferSyntaxUID)
        association = ae.associate("127.0.0.1", port, ae_title="CXRKIT")
        request = C_STORE()
        request.MessageID, request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = 1, item.SOPClassUID, uid
        request.Priority = 2
        data = b"\xff\xfe\xdd\xe0" * 1000 if garbage else encode(item, False, True)
        request.DataSet = BytesIO(data)
        association._reactor_checkpoint.clear()  # as its own methods do, or its thread would take the answer
        while not association._is_paused:
            time.sleep(0.01)
        association.dimse.send_msg(request, association.accepted_contexts[0].context_id)
        _, answer = association.dimse.get_msg(block=True)
        association.abort()
        return None if answer is None else answer.Status

    return send_raw


def test_callers_are_chosen_by_title(opened: Opened) -> None:
    receiver, spool = opened(allowed=("MODALITY",))
    assert send(receiver.port, film(), called="ANOTHER", calling="MODALITY") == []
    assert send(receiver.port, film(), calling="STRANGER") == []
    assert send(receiver.port, film(), calling="MODALITY") == [0x0000]
    assert spool.count("waiting") == 1


def test_a_full_queue_and_a_full_disk_let_the_sender_try_again(opened: Opened) -> None:
    receiver, spool = opened(limit=1)
    assert send(receiver.port, film(), film()) == [0x0000, 0xA700]
    spool.limit, spool.reserve = 9, 1 << 60
    assert send(receiver.port, film()) == [0xA700]
    spool.reserve = 0
    assert send(receiver.port, film()) == [0x0000]


def test_a_disk_that_fails_refuses_and_recovers(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    receiver, spool = opened()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("cxrkit_clinic.node.spool.write", full)
        assert send(receiver.port, film()) == [0xA700]
    assert send(receiver.port, film()) == [0x0000]
    assert spool.count("waiting") == 1


def test_an_object_that_is_too_large_ends_before_all_of_it_is_in_memory(opened: Opened) -> None:
    receiver, spool = opened(max_bytes=100_000)
    assert send(receiver.port, film(side=400)) == [0xA700]
    assert send(receiver.port, film(side=2000)) == [None]
    assert send(receiver.port, film()) == [0x0000]
    assert spool.count("waiting") == 1
    assert ["larger than --max-size" in line["reason"] for line in log(spool)] == [True, True]


@pytest.mark.parametrize("uid", ["../../etc/passwd", "/etc/passwd", "..", "a/b", "1.2;rm -rf"])
def test_no_uid_leads_out_of_the_spool(opened: Opened, tmp_path: Path, uid: str) -> None:
    receiver, spool = opened()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        item = film(uid)
        (status,) = send(receiver.port, item)
    waiting = spool.take()
    if status == 0x0000:
        assert waiting is not None
        assert waiting.path.parent == spool.folder / "films"
        assert (tmp_path / "out" / waiting.name).resolve().parent == tmp_path / "out"
    assert {file.name for file in tmp_path.iterdir()} == {"spool"}


def test_compressed_films_are_taken_and_deflated_ones_not(opened: Opened) -> None:
    receiver, _ = opened()
    compressed, deflated = film(), film()
    compressed.compress(RLELossless)
    deflated.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.1.99")
    assert send(receiver.port, compressed) == [0x0000]
    assert send(receiver.port, deflated) == []


def test_noise_silence_and_aborted_calls_stop_nothing(opened: Opened) -> None:
    receiver, spool = opened()
    for noise in (b"", b"\x00", b"GET / HTTP/1.1\r\n\r\n", b"\x01\x00\xff\xff\xff\xff" + b"A" * 1000, b"\x04" * 5000):
        with socket.create_connection(("127.0.0.1", receiver.port)) as call, suppress(OSError):
            call.sendall(noise)
    silent = [socket.create_connection(("127.0.0.1", receiver.port)) for _ in range(20)]
    assert send(receiver.port, film()) == [0x0000]
    for call in silent:
        call.close()
    assert spool.count("waiting") == 1


def test_sixteen_associations_at_once_lose_and_double_nothing(opened: Opened) -> None:
    receiver, spool = opened()
    films = [film(f"1.2.3.{number}") for number in range(48)]
    statuses: list[Any] = []
    threads = [
        threading.Thread(target=lambda mine: statuses.extend(send(receiver.port, *mine)), args=(films[start::16],))
        for start in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [0x0000] * 48
    taken = [spool.take() for _ in range(49)]
    assert sorted(one.name for one in taken if one) == sorted(item.SOPInstanceUID for item in films)


def test_the_log_has_no_patient(opened: Opened) -> None:
    receiver, spool = opened()
    item = film()
    send(receiver.port, item, item, film(kind=UID("1.2.840.10008.5.1.4.1.1.2")))
    text = spool.audit.read_text()
    assert len(text.splitlines()) == 2
    for secret in (*PATIENT.split("^"), "MRN-0815", "18450327", "ACC-7", item.SOPInstanceUID, item.StudyInstanceUID):
        assert secret not in text


def test_a_port_in_use_says_so(opened: Opened) -> None:
    receiver, spool = opened()
    with pytest.raises(ConfigError, match=f"{receiver.port} can't be listened on: the port is in use") as found:
        Receiver(Door("127.0.0.1", receiver.port, "CXRKIT"), spool, "x", lambda: None)
    assert "--port" in found.value.remedy
    with pytest.raises(ConfigError, match="no such address"):
        Receiver(Door("192.0.2.1", 0, "CXRKIT"), spool, "x", lambda: None)


def test_with_tls_only_callers_with_a_certificate_get_in(opened: Opened, keys: tuple[Path, Path]) -> None:
    certificate, key = keys
    receiver, _ = opened(tls=server_tls(certificate, key, certificate))
    trusted, stranger = (ssl.create_default_context(cafile=str(certificate)) for _ in range(2))
    trusted.load_cert_chain(certificate, key)
    for context in (trusted, stranger):
        context.check_hostname = False
    silent = socket.create_connection(("127.0.0.1", receiver.port))  # mustn't hold up the others
    assert send(receiver.port, film(), tls_args=(trusted, "127.0.0.1")) == [0x0000]
    assert send(receiver.port, film(), tls_args=(stranger, "127.0.0.1")) == []
    assert send(receiver.port, film()) == []
    silent.close()


def test_keys_that_are_none_say_so(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    (tmp_path / "no.pem").write_text("nothing")
    with pytest.raises(ConfigError, match="can't be used as certificate and key"):
        server_tls(tmp_path / "no.pem", keys[1], None)
    with pytest.raises(ConfigError, match=r"absent\.pem"):
        server_tls(tmp_path / "absent.pem", None, None)
