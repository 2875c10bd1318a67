"""A reader never meets half a file, and an error is told as what it is."""

from __future__ import annotations

import csv
import errno
import io
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxrkit.errors import StorageError
from cxrkit.files import (
    append_line,
    atomic_path,
    csv_cell,
    csv_text,
    home_path,
    is_leftover,
    storage_error,
    sweep,
    write_bytes,
    write_text,
)


def _write_to_a_full_disk() -> None:
    if Path("/dev/full").exists():
        with Path("/dev/full").open("wb", buffering=0) as full:
            full.write(b"x")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def _umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_text_and_bytes_arrive(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "Süßholz\n")
    write_bytes(tmp_path / "b.bin", b"\x00\xff")
    assert (tmp_path / "a.txt").read_bytes() == "Süßholz\n".encode()
    assert (tmp_path / "b.bin").read_bytes() == b"\x00\xff"


def test_folders_are_made(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b" / "c.txt", "x")
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "x"


def test_strings_name_paths_too(tmp_path: Path) -> None:
    write_text(str(tmp_path / "a.txt"), "x")
    assert (tmp_path / "a.txt").read_text() == "x"


def test_the_suffix_is_kept_for_writers_that_go_by_it(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "mask.png") as temporary:
        assert temporary.suffix == ".png"
        assert temporary.parent == tmp_path
        temporary.write_bytes(b"png")


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    write_text(target, "old")
    with atomic_path(target) as temporary:
        temporary.write_text("new, bu")
        assert target.read_text() == "old"
        temporary.write_text("new")
    assert target.read_text() == "new"


KILLED = """
import os, signal, sys
from cxrkit.files import atomic_path
with atomic_path(sys.argv[1]) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal")
def test_what_a_killed_process_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "über alle.png"
    subprocess.run([sys.executable, "-c", KILLED, target], check=False, timeout=60)
    [leftover] = tmp_path.iterdir()
    assert is_leftover(leftover)
    others = [tmp_path / name for name in (".hidden", ".a-0123.png", f".a-{'0' * 16}.png")]
    for other in others:
        other.touch()
    with atomic_path(target) as at_work:
        sweep(tmp_path.iterdir())
        assert {*tmp_path.iterdir()} == {*others, at_work}
    os.utime(others[-1], (0, 0))
    sweep(tmp_path.iterdir())
    assert {*tmp_path.iterdir()} == {*others[:2], target}, "others' are swept when they have been still for long"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal")
def test_writing_a_file_again_removes_what_a_killed_process_left_of_it(tmp_path: Path) -> None:
    target, other = tmp_path / "net [1].safetensors", tmp_path / "net [2].safetensors"
    for path in (target, other):
        subprocess.run([sys.executable, "-c", KILLED, path], check=False, timeout=60)
    assert len([*tmp_path.iterdir()]) == 2
    write_text(target, "whole")
    left = {*tmp_path.iterdir()} - {target}
    assert [path.name.startswith(".net [2]-") for path in left] == [True]


@pytest.mark.parametrize("fault", [ValueError("no"), KeyboardInterrupt(), SystemExit(3)])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, fault: BaseException) -> None:
    target = tmp_path / "a.txt"
    write_text(target, "old")
    with pytest.raises(type(fault)), atomic_path(target) as temporary:  # noqa: PT012 - the failure comes midway
        temporary.write_text("half")
        raise fault
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_missing_file_that_the_block_reads_is_not_reported_as_a_failed_write(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, atomic_path(tmp_path / "out.txt") as temporary:
        temporary.write_text((tmp_path / "missing.txt").read_text())
    assert caught.value.filename == str(tmp_path / "missing.txt")
    assert list(tmp_path.iterdir()) == []


def test_an_error_without_a_file_name_goes_through(tmp_path: Path) -> None:
    # As h5py raises them for a damaged file that is read.
    with pytest.raises(OSError, match="truncated file"), atomic_path(tmp_path / "out.h5"):
        raise OSError("Unable to open file (truncated file)")


def test_a_full_disk_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"out\.bin: the disk is full") as caught, atomic_path(tmp_path / "out.bin"):
        _write_to_a_full_disk()
    assert "Free some space" in caught.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_while_writing_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)  # where a disk's delayed allocation reports it
    with pytest.raises(StorageError, match="the disk is full"):
        write_text(tmp_path / "a.txt", "x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("code", "words"), [(errno.EROFS, "read-only"), (errno.EACCES, "permission denied"), (errno.EDQUOT, "quota")]
)
def test_a_folder_that_takes_no_files_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, words: str
) -> None:
    def refuse(path: object, *_: object, **__: object) -> int:
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StorageError, match=words) as caught:
        write_text(tmp_path / "a.txt", "x")
    assert caught.value.what.startswith(f"{tmp_path / 'a.txt'}: ")
    assert caught.value.remedy


def test_a_file_where_a_folder_must_be_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="a file exists where a folder is needed"):
        write_text(tmp_path / "file" / "a.txt", "x")
    with pytest.raises(StorageError, match="a part of the path is a file"):
        write_text(tmp_path / "file" / "deeper" / "a.txt", "x")


def test_a_folder_where_the_file_must_be_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(StorageError, match=r"a\.txt"):
        write_text(tmp_path / "a.txt", "x")
    assert list(tmp_path.iterdir()) == [tmp_path / "a.txt"]


def test_a_block_that_removes_its_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StorageError), atomic_path(tmp_path / "a.txt") as temporary:
        temporary.unlink()
    assert list(tmp_path.iterdir()) == []


def test_unknown_errors_keep_the_systems_words(tmp_path: Path) -> None:
    told = storage_error(tmp_path / "x", OSError(errno.ELOOP, os.strerror(errno.ELOOP)))
    assert os.strerror(errno.ELOOP) in told.what
    assert told.remedy


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no umask")
@pytest.mark.usefixtures("_umask")
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_follow_the_umask(tmp_path: Path, mask: int, mode: int) -> None:
    os.umask(mask)
    write_text(tmp_path / "a.txt", "x")
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == mode
    assert os.umask(mask) == mask  # and leave it as it was


def test_writers_of_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    target = tmp_path / "shared.txt"
    texts = [str(number) * 10_000 for number in range(8)]
    threads = [threading.Thread(target=write_text, args=(target, text)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert target.read_text() in texts
    assert list(tmp_path.iterdir()) == [target]


def test_long_names_are_written(tmp_path: Path) -> None:
    name = "x" * 240 + ".txt"
    write_text(tmp_path / name, "x")
    assert (tmp_path / name).read_text() == "x"


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=2000))
def test_any_bytes_arrive(tmp_path: Path, data: bytes) -> None:
    write_bytes(tmp_path / "any", data)
    assert (tmp_path / "any").read_bytes() == data


def test_a_files_name_that_is_not_text_comes_out_as_its_bytes(tmp_path: Path) -> None:
    write_text(tmp_path / "list.txt", "ä " + os.fsdecode(b"film\xff.png"))
    assert (tmp_path / "list.txt").read_bytes() == "ä ".encode() + b"film\xff.png"
    append_line(tmp_path / "list.txt", os.fsdecode(b"b\xff.png"))
    assert (tmp_path / "list.txt").read_bytes().endswith(b"film\xff.png\nb\xff.png\n")


def test_tildes() -> None:
    assert home_path("~/films") == Path.home() / "films"
    assert home_path(Path("~nobody-of-that-name/films")) == Path("~nobody-of-that-name/films")
    assert home_path("films") == Path("films")


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5) | st.floats() | st.integers(), min_size=2)
)
def test_cells_of_a_table_are_read_back_as_they_were(row: list[object]) -> None:
    [_, read] = csv.reader(io.StringIO(csv_text(["a", "b"], [row]), newline=""))
    assert [csv_cell(cell) for cell in read] == [str(cell) for cell in row]


@pytest.mark.parametrize(
    "text", ["=1+1", "+1+1", "-2+3", "@SUM(1)", "\t=1", "\r=1", "＝1+1", "-", "'=1", "=cmd|' /C x'!A0"]
)
def test_no_cell_is_a_formula(text: str) -> None:
    [[_, cell]] = csv.reader(io.StringIO(csv_text(["a", text], []), newline=""))
    assert cell == "'" + text


@pytest.mark.parametrize("value", [-0.5, "-0.5", "+3", "-1e-05", float("-inf"), "-inf", 7])
def test_numbers_stay_numbers(value: object) -> None:
    assert csv_text(["a"], [[value]]) == f"a\n{value}\n"
