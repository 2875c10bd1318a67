"""Whether a plugin can be loaded without ending or stopping cxrkit: tried once in a process of its own.

The answer is kept in the cache for the plugin's version, as long as its files are unchanged.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import EntryPoint
from pathlib import Path

from cxrkit.entry_points import announced, origin, source_of
from cxrkit.errors import StorageError
from cxrkit.files import cache_folder, write_text
from cxrkit.version import __version__

#: A plugin that takes longer than this to load is given up.
_LONGEST = 30.0

_SCRIPT = "import sys; from cxrkit.plugins import answer_probe; answer_probe(*sys.argv[1:])"


def danger_of(point: EntryPoint) -> str:
    """How loading a plugin would end or stop this process; "" if it returns, be it with an error."""
    record = _record(point)
    with suppress(OSError, UnicodeDecodeError):
        return record.read_text(encoding="utf-8")
    found = _try(point)
    if found is None:
        return ""
    with suppress(StorageError, OSError):  # a home that can't be written to costs a trial each time
        write_text(record, found)
    return found


def forget(point: EntryPoint) -> None:
    """Let a plugin be tried again."""
    with suppress(OSError):
        _record(point).unlink()


def _record(point: EntryPoint) -> Path:
    """The file of the answer; its name depends on all that decides it."""
    parts = [point.name, point.value, *origin(point), sys.version, sys.prefix, __version__]
    with suppress(Exception):  # installed metadata may be damaged in any way, and so may finders of modules
        parts.append(point.dist.read_text("RECORD") or "" if point.dist else "")
        source = source_of(point.value.partition(":")[0])
        files = sorted(source.parent.glob("*.py")) if source.name == "__init__.py" else [source]
        parts += [f"{file} {about.st_mtime_ns} {about.st_size}" for file in files for about in [file.stat()]]
    return cache_folder() / "plugins" / f"{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}.txt"


def _try(point: EntryPoint) -> str | None:
    """What `danger_of` returns, found out in another process; None where that can't be done."""
    token = secrets.token_hex(8)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-P", "-c", _SCRIPT, point.name, point.value, token]
    silent, answer = subprocess.DEVNULL, subprocess.PIPE
    try:
        process = subprocess.Popen(
            command, stdin=silent, stdout=answer, stderr=silent, env=environment, start_new_session=True
        )
    except OSError:
        return None
    try:
        with announced(f"plugin '{point.name}'", origin(point)[0]):
            said, _ = process.communicate(timeout=_LONGEST)
    except subprocess.TimeoutExpired:
        return f"it was still loading after {_LONGEST:.0f} seconds"
    finally:
        _end(process)
    answers = said.decode("utf-8", errors="replace").split(token)[1:]
    if not answers:  # cxrkit itself can't be imported there
        return None
    if len(answers) > 1:
        return answers[-1].strip()
    code = process.returncode
    return f"it ends the process that loads it, with {f'exit code {code}' if code >= 0 else f'signal {-code}'}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of a trial, with all that it started."""
    if process.poll() is None:
        with suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(process.pid, 9)
            else:
                process.kill()
    if process.stdout is not None:
        process.stdout.close()
    process.wait()
