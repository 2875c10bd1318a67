"""An ablation as it stands on disk: every planned run with its state, and its scores where it has any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cxrkit.ablation.plan import Arm, Plan
from cxrkit.engine.run import RunDirectory
from cxrkit.engine.scores import Evaluation

#: `finished`: scored on the test films. `stopped`: begun, can go on. `failed`: its last try ended with an error.
#: `missing`: not begun.
State = Literal["finished", "stopped", "failed", "missing"]


@dataclass(frozen=True)
class RunResult:
    """One planned run.

    Attributes:
        arm, seed: which.
        run: its folder, which may not exist.
        state: see `State`.
        honest: scores of the weights that validation chose, or of the last ones where nothing was chosen.
        paper: scores under the paper's selection on the test films, where the run was trained with
            `protocol: paper`; else the same as `honest`, whose soft measures are then those of an honest choice.
        error: the message of its last try, if that failed.
        seconds: wall time of its tries, as far as known.
    """

    arm: Arm
    seed: int
    run: RunDirectory
    state: State
    honest: Evaluation | None
    paper: Evaluation | None
    error: str | None
    seconds: float | None


@dataclass(frozen=True)
class Results:
    """All planned runs, in the plan's order (arms, then seeds)."""

    path: Path
    plan: Plan
    runs: tuple[RunResult, ...]

    @property
    def arms(self) -> tuple[Arm, ...]:
        """In the plan's order."""
        raise NotImplementedError

    def of(self, arm: Arm) -> tuple[RunResult, ...]:
        """The runs of an arm, a seed each."""
        raise NotImplementedError
