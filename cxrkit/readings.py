"""What a training reports while it runs: the lines of `metrics.jsonl`, and what loggers receive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True)
class TrainingReading:
    """One update.

    Attributes:
        step: updates made so far, this one included.
        loss: of its batch.
        train_dsc: the paper's soft Dice coefficient of its batch, in [0, 1].
        lr: its learning rate.
        seconds: since this process began to train.
    """

    step: int
    loss: float
    train_dsc: float
    lr: float
    seconds: float


@dataclass(frozen=True)
class ValidationReading:
    """Scores of the network whose weights are kept.

    Attributes:
        step: updates made so far.
        validation: means over films, in [0, 1]: `dsc`, `iou` (the paper's) and `dice` (of masks, without background).
        on: which films were scored: `validation`, or `test` with `protocol: paper`.
    """

    step: int
    validation: Mapping[str, float]
    on: str


Reading = TrainingReading | ValidationReading


def as_record(reading: Reading) -> dict[str, Any]:
    """A reading as a line of `metrics.jsonl` holds it."""
    return asdict(reading)


def from_record(record: Any) -> Reading | None:
    """The reading of such a line; None if it is something else."""
    if isinstance(record, dict) and isinstance(record.get("step"), int):
        for kind in (TrainingReading, ValidationReading):
            names = [field.name for field in fields(kind)]
            if all(name in record for name in names):
                return kind(**{name: record[name] for name in names})
    return None
