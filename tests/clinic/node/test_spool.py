"""The spool: nothing is lost, doubled or left lying, whenever the process ends."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cxrkit_clinic.node.records import FullError
from cxrkit_clinic.node.spool import Spool

WHERE = ("A", "B")


def receive(spool: Spool, uid: str = "1.2.3", content: bytes = b"film", made_with: str = "x") -> bool:
    return spool.receive(uid, [content], source="SENDER", made_with=made_with, name=uid)


def segment(spool: Spool) -> bool:
    film = spool.take()
    if film is None:
        return False
    with spool.workplace(film) as workplace:
        (workplace / "seg.dcm").write_bytes(film.path.read_bytes() + b" segmented")
        spool.made(film, workplace, WHERE, {"seconds": 1})
    return True


def deliver(spool: Spool, got: list[tuple[str, bytes]]) -> None:
    for where in WHERE:
        while (delivery := spool.due(where)) is not None:
            got.append((where, delivery.files[0].read_bytes()))
            spool.delivered(delivery, where)


def log(spool: Spool) -> list[dict[str, Any]]:
    return [json.loads(line) for line in spool.audit.read_text().splitlines()] if spool.audit.exists() else []


def left(spool: Spool) -> list[Path]:
    return [file for place in ("films", "results", "incoming") for file in (spool.folder / place).rglob("*")]


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with Spool(tmp_path / "spool") as made:
        yield made


def test_a_film_passes_and_leaves_one_line(spool: Spool) -> None:
    got: list[tuple[str, bytes]] = []
    assert receive(spool)
    assert segment(spool)
    deliver(spool, got)
    assert got == [("A", b"film segmented"), ("B", b"film segmented")]
    (line,) = log(spool)
    assert line["outcome"] == "sent"
    assert set(line["sent_to"]) == {"A", "B"}
    assert "1.2.3" not in spool.audit.read_text()
    assert left(spool) == []


def test_every_moment_at_which_the_machine_may_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The spool is copied whenever something changes on the disk; each copy is what a kill there would have left."""
    copies: list[tuple[Path, int, list[tuple[str, bytes]]]] = []
    acknowledged, got = 0, list[tuple[str, bytes]]()
    spool = Spool(tmp_path / "spool")

    def copy(*_: Any) -> None:
        place = tmp_path / f"copy-{len(copies)}"
        shutil.copytree(spool.folder, place)
        copies.append((place, acknowledged, [*got]))

    def watched(call: Any) -> Any:
        def called(*arguments: Any, **more: Any) -> Any:
            result = call(*arguments, **more)
            copy()
            return result

        return called

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", watched(os.fsync))
        patch.setattr(Path, "replace", watched(Path.replace))
        patch.setattr(Path, "unlink", watched(Path.unlink))
        patch.setattr(shutil, "rmtree", watched(shutil.rmtree))
        spool._db.set_trace_callback(lambda statement: copy() if "COMMIT" in statement else None)
        for number in range(2):
            receive(spool, uid=f"1.2.{number}", content=f"film {number}".encode())
            acknowledged = number + 1
            copy()
        while segment(spool):
            copy()
        deliver(spool, got)
        copy()
    assert len(copies) > 30
    for place, count, before in copies:
        with Spool(place) as again:
            again.recover()
            after = [*before]
            # The sender of a film that wasn't acknowledged sends it again.
            for number in range(count, 2):
                receive(again, uid=f"1.2.{number}", content=f"film {number}".encode())
            while segment(again):
                pass
            deliver(again, after)
            expected = {(where, f"film {number} segmented".encode()) for where in WHERE for number in range(2)}
            assert set(after) == expected, place
            assert sorted(line["outcome"] for line in log(again)) == ["sent", "sent"], place
            assert left(again) == [], place
    spool.__exit__()


def test_a_film_sent_twice_is_known_until_something_else_decides_its_results(spool: Spool) -> None:
    assert receive(spool)
    assert not receive(spool)
    segment(spool)
    deliver(spool, [])
    assert not receive(spool)
    assert receive(spool, content=b"corrected")
    assert receive(spool, uid="1.2.4")
    assert receive(spool, made_with="other weights")


def test_a_film_that_failed_is_kept_and_tried_again_when_it_is_sent_again(spool: Spool) -> None:
    receive(spool)
    film = spool.take()
    assert film is not None
    spool.end(film, "failed", "it is damaged", {})
    assert spool.take() is None
    assert log(spool)[0]["reason"] == "it is damaged"
    assert not receive(spool)
    assert segment(spool)


def test_held_results_survive_and_a_retry_sends_them(spool: Spool) -> None:
    receive(spool)
    segment(spool)
    delivery = spool.due("A")
    assert delivery is not None
    spool.delivered(delivery, "A", "no", held=True)
    deliver(spool, [])
    assert log(spool)[0]["outcome"] == "held"
    spool.recover()
    assert spool.retry() == 1
    got: list[tuple[str, bytes]] = []
    deliver(spool, got)
    assert got == [("A", b"film segmented")]
    assert [line["outcome"] for line in log(spool)] == ["held", "sent"]


def test_the_queue_is_bounded(tmp_path: Path) -> None:
    with Spool(tmp_path, limit=2) as spool:
        for number in range(2):
            receive(spool, uid=f"1.2.{number}")
        with pytest.raises(FullError, match="2 films wait"):
            receive(spool, uid="1.2.9")
        assert not receive(spool, uid="1.2.0")  # one that waits is no new one
        segment(spool)
        assert receive(spool, uid="1.2.9")


def test_a_part_of_the_disk_stays_free(tmp_path: Path) -> None:
    with Spool(tmp_path, reserve=1 << 60) as spool, pytest.raises(FullError, match="nearly full"):
        receive(spool)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_disk_that_fills_up_loses_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.system(f"mount -t tmpfs -o size=2m none '{disk}' 2> /dev/null") != 0:
        pytest.skip("a small disk can't be mounted here")
    try:
        with Spool(disk / "spool", reserve=0) as spool:
            taken = []
            for number in range(20):
                try:
                    if receive(spool, uid=f"1.2.{number}", content=bytes(300_000) + b"%d" % number):
                        taken.append(number)
                except (FullError, OSError, sqlite3.Error):
                    pass
            assert 0 < len(taken) < 20
            assert spool.count("waiting") == len(taken)
            (disk / "filler").write_bytes(b"")
            film = spool.take()
            assert film is not None
            with pytest.raises(OSError), spool.workplace(film) as workplace:  # noqa: PT011
                (workplace / "seg.dcm").write_bytes(bytes(3_000_000))
            spool.release(film)
            for number in range(len(taken)):
                film = spool.take()
                assert film is not None
                with spool.workplace(film) as workplace:
                    (workplace / "seg.dcm").write_bytes(b"%d" % number)
                    spool.made(film, workplace, ("A",), {})
                delivery = spool.due("A")
                assert delivery is not None
                spool.delivered(delivery, "A")
            assert spool.count("sent") == len(taken)
            spool.write_lines()
            assert len(log(spool)) == len(taken)
    finally:
        os.system(f"umount '{disk}'")


def test_a_log_that_cannot_be_written_is_completed_later(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    receive(spool)
    segment(spool)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr("cxrkit_clinic.node.spool.append", full)
        deliver(spool, [])
    assert log(spool) == []
    spool.write_lines()
    spool.write_lines()
    assert len(log(spool)) == 1


def test_what_ended_long_ago_is_forgotten(spool: Spool) -> None:
    receive(spool)
    receive(spool, uid="1.2.4", content=b"waits")
    film = spool.take()
    assert film is not None
    spool.end(film, "failed", "damaged", {})
    spool.forget(1)
    assert film.path.exists()
    spool.forget(0)
    assert not film.path.exists()
    assert spool.count("waiting") == 1


def test_only_its_user_can_read_a_spool(spool: Spool) -> None:
    receive(spool)
    assert spool.folder.stat().st_mode & 0o077 == 0
    assert all(file.stat().st_mode & 0o077 == 0 for file in (spool.folder / "films").iterdir())
