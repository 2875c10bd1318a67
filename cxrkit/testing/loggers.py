"""What cxrkit expects of loggers: that they take every reading of a run that begins, continues and ends."""

from __future__ import annotations

import tempfile
from contextlib import chdir
from pathlib import Path

from cxrkit.interfaces import Logger
from cxrkit.readings import TrainingReading, ValidationReading
from cxrkit.testing.expectations import Check, Subject


def it_follows_a_run_that_continues(subject: Subject) -> None:
    """Readings of a run, and of the process that continues it; each process ends."""
    readings = (
        TrainingReading(10, 0.5, 0.7, 1e-3, 2.0),
        ValidationReading(10, {"dsc": 0.7, "iou": 0.6, "dice": 0.65}, "validation"),
    )
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        for step in (0, 10):
            logger: Logger = subject.build_if_usable()
            logger.begin(Path(folder), {"seed": 0, "train": {"steps": 20}}, step)
            for reading in readings:
                logger.log(reading)
            logger.end()


CHECKS: tuple[Check, ...] = (it_follows_a_run_that_continues,)
