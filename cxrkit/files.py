"""Writing files so that a reader never meets half of one."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cxrkit.errors import StorageError


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it is renamed to `path`, on failure removed.

    Raises:
        StorageError: the disk is full, read-only, or the folder can't be made.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The suffix is kept: writers such as OpenCV choose the format by it.
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        # mkstemp makes private files (0600); what we leave follows the user's umask.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        raise storage_error(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: Path | str, data: bytes) -> None:
    """Write bytes atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def storage_error(path: Path | str, error: OSError) -> StorageError:
    """The readable form of an operating-system error on `path`."""
    reasons = {
        errno.ENOSPC: ("the disk is full", "Free some space or choose another place, then run the same line again."),
        errno.EDQUOT: ("the disk quota is used up", "Free some space or choose another place."),
        errno.EROFS: ("the disk is read-only", "Choose a place that can be written to."),
        errno.EACCES: ("permission denied", "Choose a place that you may write to, or change its permissions."),
        errno.ENOTDIR: ("a part of the path is a file", "Choose a place below a folder."),
        errno.EEXIST: ("a file of that name is in the way", "Move it away or choose another place."),
        errno.EISDIR: ("it is a folder", "Name a file."),
    }
    reason, remedy = reasons.get(error.errno or 0, (error.strerror or str(error), "Check the path and the disk."))
    return StorageError(f"{path}: {reason}.", remedy)
