"""Which of the processes of a distributed run this is, before torch is imported.

Lightning Fabric starts the further processes of a machine by executing the same command line again; torchrun
starts all of them so. Either way the environment holds a process's rank.
"""

from __future__ import annotations

import os

#: The variable by which the first process passes the run's folder to those that it starts.
RUN_VARIABLE = "CXRKIT_RUN"


def is_first_process() -> bool:
    """False in the further processes of a distributed run."""
    ranks = (os.environ.get(name) for name in ("RANK", "LOCAL_RANK", "NODE_RANK"))
    return all(rank in (None, "", "0") for rank in ranks)
