"""Writing files so that nobody ever reads half of one."""

from __future__ import annotations

import csv
import errno
import glob
import hashlib
import io
import os
import re
import secrets
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from cxrkit.errors import CxrkitError, StorageError

_LEFTOVER = re.compile(r"\..*-([0-9a-f]{4})([0-9a-f]{8})[0-9a-f]{4}(?:\.\w+)?")
_ABANDONED = 3600  # seconds without a change


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it is renamed to `path`, on failure removed.

    What a killed process left of the same file is removed first. An error of the block that isn't about writing this
    file, such as a missing input, is raised unchanged.

    Raises:
        StorageError: the disk is full or read-only, or the folder can't be created.
    """
    path = Path(path)
    temporary = _temporary(path)
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            sweep(path.parent.glob(f"{glob.escape(_beginning(path))}*"))
            # Unlike tempfile's private files (0600), what we leave follows the user's umask.
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except OSError as error:
            raise storage_error(path, error) from error
        try:
            yield temporary
        except OSError as error:
            if _is_about_writing(error, temporary):
                raise storage_error(path, error) from error
            raise
        try:
            with temporary.open("r+b") as written:  # Windows syncs only what is open for writing
                os.fsync(written.fileno())
            temporary.replace(path)
        except OSError as error:
            raise storage_error(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    """A name beside `path` for what isn't whole yet: it says which process of which machine writes it."""
    # The suffix is kept: writers such as OpenCV choose the format by it.
    return path.parent / f"{_beginning(path)}{_machine()}{os.getpid():08x}{secrets.token_hex(2)}{path.suffix}"


def _beginning(path: Path) -> str:
    """What the temporary names of a file begin with."""
    stem = path.stem.encode("utf-8", "ignore")[:100].decode("utf-8", "ignore")
    return f".{stem}-"


@cache
def _machine() -> str:
    """Four hex digits for where process numbers mean the same: the machine, and the container if it is one."""
    try:
        within = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - what it leads to is no path
    except OSError:
        within = ""
    return hashlib.sha256(f"{socket.gethostname()} {within}".encode()).hexdigest()[:4]


def is_leftover(path: Path) -> bool:
    """Whether a file has the name of one that a killed `atomic_path` left behind."""
    return _LEFTOVER.fullmatch(path.name) is not None


def sweep(files: Iterable[Path]) -> None:
    """Remove those of some files that killed processes left half-written.

    What a process of this machine wrote is removed as soon as the process has ended; others after an hour without a
    change, since another machine may be at work on them.
    """
    for file in files:
        name = _LEFTOVER.fullmatch(file.name)
        with suppress(OSError):  # another process may sweep too
            if name and (_has_ended(name[1], int(name[2], 16)) or time.time() - file.stat().st_mtime > _ABANDONED):
                file.unlink()


def _has_ended(machine: str, process: int) -> bool:
    if os.name != "posix" or machine != _machine():  # on Windows os.kill would end it
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        pass
    return False


def checksum(file: Path) -> str:
    """The SHA-256 of a file's content."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _is_about_writing(error: OSError, temporary: Path) -> bool:
    """Whether an error of the caller's block is about the file that it writes: reading never fills a disk."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG):
        return True
    names = {
        os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes | os.PathLike)
    }
    return str(temporary) in names


def is_utf8(name: str) -> bool:
    """Whether a name can be written as UTF-8 text, as all records are."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def remedy_of_missing(path: Path | str, otherwise: str = "Check the path; names are case-sensitive.") -> str:
    """What to do about a file that isn't there; an address on the network isn't a file."""
    is_address = re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+:/", str(path))
    return "Only files are read: download it first, and give the file." if is_address else otherwise


def home_path(path: Path | str) -> Path:
    """A path with `~` expanded; that of an unknown user is kept, where pathlib raises RuntimeError."""
    return Path(os.path.expanduser(path))  # noqa: PTH111


def is_folder(path: Path) -> bool:
    """Whether a path is a folder; one that is too long, or leads through what may not be read, is none."""
    return os.path.isdir(path)  # noqa: PTH112


def cache_folder() -> Path:
    """Where cxrkit keeps what it can make again: `$CXRKIT_CACHE`, or the system's folder for caches."""
    import platformdirs

    chosen = os.environ.get("CXRKIT_CACHE")
    return home_path(chosen) if chosen else Path(platformdirs.user_cache_dir("cxrkit"))


#: How a cell begins that a spreadsheet would compute; full-width signs count there too.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?(inf|nan)")


def csv_text(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table as CSV, with Unix line ends on every system.

    Text that a spreadsheet would take for a formula has an apostrophe in front, which `csv_cell` takes away again;
    numbers are left as they are.
    """
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\r\n")  # both are then quoted where a cell holds them
    lines = []
    for row in (headings, *rows):
        writer.writerow([_harmless(cell) for cell in row])
        lines.append(stream.getvalue().removesuffix("\r\n") + "\n")
        stream.seek(stream.truncate(0))
    return "".join(lines)


def csv_cell(text: str) -> str:
    """A cell of a table that `csv_text` wrote, as it was given."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def _harmless(cell: object) -> object:
    text = cell if isinstance(cell, str) else ""
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else cell


def append_line(path: Path, line: str) -> None:
    """Append a line of text to a file, on a new line even if a killed process left the last one unfinished.

    The file and its folder are created if necessary.

    Raises:
        StorageError: it can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - 1))
            between = b"" if stream.read(1) in (b"", b"\n") else b"\n"
            stream.write(between + line.encode(errors="surrogateescape") + b"\n")  # as `write_text`
    except OSError as error:
        raise storage_error(path, error) from error


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text atomically; file names in it that aren't UTF-8 keep their bytes."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")


def write_new_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically to a new file; of several processes at once, one succeeds.

    Raises:
        FileExistsError: it exists already. StorageError: as `atomic_path`.
    """
    temporary = _temporary(path)
    write_text(temporary, text)
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a disk without hard links
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path | str, data: bytes) -> None:
    """Write bytes atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


@contextmanager
def locked(file: Path, busy: CxrkitError) -> Iterator[None]:
    """Lock a file, created if necessary, for this process; the kernel releases it however the process ends.

    Where there are no such locks (Windows, some network disks), nothing is locked.

    Raises:
        CxrkitError: `busy`, if another process has locked it. StorageError: it can't be opened for writing.
    """
    try:
        stream = file.open("a")
    except OSError as error:
        raise storage_error(file, error) from error
    with stream:
        try:
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            pass
        except BlockingIOError as error:
            raise busy from error
        except OSError:
            pass
        yield


def storage_error(path: Path | str, error: OSError) -> StorageError:
    """The readable form of an operating-system error on `path`."""
    reasons = {
        errno.ENOSPC: ("the disk is full", "Free some space, or choose another folder."),
        errno.EDQUOT: ("the disk quota is used up", "Free some space, or choose another folder."),
        errno.EROFS: ("the disk is read-only", "Choose a writable folder."),
        errno.EACCES: ("permission denied", "Choose a folder that you may write to, or change its permissions."),
        errno.ENOTDIR: ("a part of the path is a file", "Choose a path whose parents are folders."),
        errno.EEXIST: ("a file exists where a folder is needed", "Move the file, or choose another folder."),
        errno.EFBIG: ("the file is larger than allowed here", "Choose another folder, or raise the limit."),
        errno.EISDIR: ("it is a folder", "Name a file."),
    }
    reason, remedy = reasons.get(error.errno or 0, (error.strerror or str(error), "Check the path and the disk."))
    return StorageError(f"{path}: {reason}.", remedy)
