"""The door for a folder: films are taken when they are whole, once, and again when they change."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cxrkit_clinic.node.spool import Spool
from cxrkit_clinic.node.watcher import Watcher
from tests.clinic.node.ends import eventually, film


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Callable[..., tuple[Path, Spool, list[str]]]]:
    closing: list[Any] = []

    def make(settle: float = 0.0, max_bytes: int = 1 << 20, limit: int = 100) -> tuple[Path, Spool, list[str]]:
        folder, said = tmp_path / "in", list[str]()
        folder.mkdir(exist_ok=True)
        spool = Spool(folder / "spool", limit=limit)
        more: dict[str, Any] = {"settle": settle, "max_bytes": max_bytes, "say": said.append}
        apart = [folder / "spool", folder / "out"]
        closing.extend((Watcher(folder, spool, "x", lambda: None, apart=apart, **more).close, spool.__exit__))
        return folder, spool, said

    yield make
    for close in closing:
        close()


def test_films_of_all_kinds_are_taken_and_stay(watched: Any) -> None:
    folder, spool, _ = watched()
    (folder / "study").mkdir()
    film().save_as(folder / "study" / "IM0001", enforce_file_format=True)
    (folder / "a.png").write_bytes(b"a picture")
    (folder / "notes.txt").write_text("no film")
    (folder / "out" / "a.png").mkdir(parents=True)
    (folder / "out" / "a.png" / "overlay.png").write_bytes(b"a result")
    eventually(lambda: spool.count("waiting") == 2)
    time.sleep(0.5)
    names = sorted(one.name for one in (spool.take() for _ in range(9)) if one)
    assert names == ["a.png", os.path.join("study", "IM0001")]  # noqa: PTH118
    assert (folder / "a.png").exists()


def test_a_file_that_is_still_written_is_left_until_it_is_whole(watched: Any) -> None:
    folder, spool, _ = watched(settle=1.0)
    began = time.monotonic()
    with (folder / "a.png").open("wb") as stream:
        while time.monotonic() - began < 2.0:
            stream.write(b"more")
            stream.flush()
            assert spool.count("waiting") == 0
            time.sleep(0.1)
    eventually(lambda: spool.count("waiting") == 1)
    taken = spool.take()
    assert taken is not None
    assert taken.path.read_bytes() == (folder / "a.png").read_bytes()


def test_a_film_that_cannot_be_read_for_a_while_is_taken_later(watched: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    folder, spool, said = watched()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        (folder / "a.png").write_bytes(b"a picture")
        eventually(lambda: said)
        time.sleep(0.5)
    eventually(lambda: spool.count("waiting") == 1)
    assert [one for one in said if "can't be read" in one] == said[:1]


def test_a_film_is_taken_once_and_again_when_it_changes(watched: Any) -> None:
    folder, spool, _ = watched()
    (folder / "a.png").write_bytes(b"first")
    eventually(lambda: spool.count("waiting") == 1)
    os.utime(folder / "a.png", (1, 1))  # touched, and still the same
    time.sleep(0.6)
    assert spool.count("waiting") == 1
    (folder / "a.png").write_bytes(b"second")
    eventually(lambda: spool.count("waiting") == 2)


def test_a_full_queue_is_waited_for(watched: Any) -> None:
    folder, spool, _ = watched(limit=1)
    (folder / "a.png").write_bytes(b"a")
    (folder / "b.png").write_bytes(b"b")
    eventually(lambda: spool.count("waiting") == 1)
    taken = spool.take()
    assert taken is not None
    spool.end(taken, "failed", "no film", {})
    eventually(lambda: spool.count("waiting") == 1)


def test_what_is_too_large_or_gone_is_reported(watched: Any) -> None:
    folder, spool, said = watched(max_bytes=10)
    (folder / "large.png").write_bytes(bytes(11))
    eventually(lambda: said)
    assert said == [f"{folder / 'large.png'}: larger than --max-size; it is left out."]
    assert spool.count("waiting") == 0
