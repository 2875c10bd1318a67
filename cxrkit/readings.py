"""What a training reports while it runs: the lines of `metrics.jsonl`, and what loggers receive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field, fields
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
        own: what losses report of their own training, such as a critic's accuracy, by name.
        remark: what the user should know about that training, or "".
    """

    step: int
    loss: float
    train_dsc: float
    lr: float
    seconds: float
    own: Mapping[str, float] = field(default_factory=dict)
    remark: str = ""


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
    """A reading as a line of `metrics.jsonl` holds it: without what is optional and empty."""
    optional = {one.name for one in fields(reading) if not _required(one)}
    return {name: value for name, value in asdict(reading).items() if value or name not in optional}


def from_record(record: Any) -> Reading | None:
    """The reading of such a line; None if it is something else."""
    if isinstance(record, dict) and isinstance(record.get("step"), int):
        for kind in (TrainingReading, ValidationReading):
            if all(one.name in record for one in fields(kind) if _required(one)) and isinstance(
                record.get("remark", ""), str
            ):
                return kind(**{one.name: record[one.name] for one in fields(kind) if one.name in record})
    return None


def _required(one: Field[Any]) -> bool:
    return one.default is MISSING and one.default_factory is MISSING
