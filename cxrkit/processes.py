"""The processes of a distributed run: which one this is, how many were started, and which says how it ended.

Nothing here needs torch. Lightning Fabric starts the further processes of a machine by executing the same command line
again; torchrun starts all of them so. Either way the environment holds a process's rank.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path

#: The variable by which the first process passes the run's folder to those that it starts.
RUN_VARIABLE = "CXRKIT_RUN"

#: How many processes whoever started this one says there are. Fabric sets the variable too, but later.
STARTED_PROCESSES = os.environ.get("WORLD_SIZE") or None

_BEGAN = time.time()
_PATIENCE = 5.0


def is_first_process() -> bool:
    """False in the further processes of a distributed run."""
    ranks = (os.environ.get(name) for name in ("RANK", "LOCAL_RANK", "NODE_RANK"))
    return all(rank in (None, "", "0") for rank in ranks)


def claims_last_word(*, of_another: bool = False) -> bool:
    """Whether this process says why a run ended: of the processes on a machine, the one that failed first.

    From then on it isn't stopped until it has said it: torchrun stops all others as soon as one has ended.

    Args:
        of_another: it only noticed that another process ended. The first process may be about to say why; any other
            has claimed it before its end could be noticed.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return is_first_process()
    # Whoever started the processes: torchrun is the parent of all, otherwise the first process is the others'.
    starter = os.getpid() if is_first_process() and "RANK" not in os.environ else os.getppid()
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    claim = Path(tempfile.gettempdir()) / f"cxrkit-{starter}-{attempt}.ended"
    deadline = time.monotonic() + (_PATIENCE if of_another and not is_first_process() else 0)
    while time.monotonic() < deadline and not _is_recent(claim):
        time.sleep(0.1)
    try:
        for old in claim.parent.glob("cxrkit-*.ended"):
            if not _is_recent(old):  # perhaps of a process that had the same number
                old.unlink(missing_ok=True)
        claim.touch(exist_ok=False)
    except FileExistsError:
        return False
    except OSError:
        return is_first_process()  # there is no place for it
    with suppress(ValueError):  # outside the main thread
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return True


def _is_recent(claim: Path) -> bool:
    try:
        return claim.stat().st_mtime > _BEGAN - 60
    except OSError:
        return False
