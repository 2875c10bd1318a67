"""Files that survive the end of the process and of the machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

#: Bytes at the end of a log in which a line that may have been written is looked for.
_TAIL = 4 << 20


def utc(seconds: float) -> str:
    """A moment as ISO 8601 has it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds % 1 * 1000):03}Z"


def write(file: Path, parts: Iterable[bytes | memoryview]) -> None:
    """Write a file that only this user can read, and sync it."""
    number = os.open(file, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    with os.fdopen(number, "wb") as stream:
        for part in parts:
            stream.write(part)
        stream.flush()
        os.fsync(stream.fileno())


def append(file: Path, line: str, mode: int = 0o600) -> None:
    """Append a line, and sync it; one that a killed process left unfinished is ended first.

    Args:
        mode: who may read and write a new file; by default only this user.
    """
    number = os.open(file, os.O_CREAT | os.O_RDWR | os.O_APPEND, mode)
    with os.fdopen(number, "ab+") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - 1))
        between = b"\n" if size and stream.read(1) != b"\n" else b""
        stream.write(between + line.encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())


def tail(file: Path) -> str:
    """The end of a text file; "" where there is none."""
    if not file.is_file():
        return ""
    with file.open("rb") as stream:
        stream.seek(max(0, stream.seek(0, os.SEEK_END) - _TAIL))
        return stream.read().decode("utf-8", "replace")


def sync(folder: Path) -> None:
    """Let names in a folder survive the end of the machine, where the system can."""
    if os.name == "posix":
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def remove(place: Path) -> None:
    """Remove a file or folder, if possible."""
    with contextlib.suppress(OSError):
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
