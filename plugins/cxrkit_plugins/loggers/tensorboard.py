"""Readings for TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from cxrkit import ConfigError, Logger, Reading, TrainingReading


class TensorBoard(Logger):
    """Writes events into the run's folder `tensorboard/`: `tensorboard --logdir runs` shows the curves of all runs."""

    def __init__(
        self, *, flush_seconds: Annotated[int, Field(ge=1, description="how often events are written to disk")] = 10
    ) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ConfigError(
                "--logger tensorboard: TensorBoard isn't installed.", "Run: pip install 'cxrkit[tensorboard]'"
            ) from error
        self._make_writer = SummaryWriter
        self._flush_seconds = flush_seconds

    def begin(self, run: Path, settings: Mapping[str, Any], step: int) -> None:
        """Open the event file; events after `step`, of a process that was killed, are hidden."""
        self._writer = self._make_writer(
            str(run / "tensorboard"), purge_step=step + 1 if step else None, flush_secs=self._flush_seconds
        )
        self._writer.add_text("settings", f"```json\n{json.dumps(settings, indent=1)}\n```", step)

    def log(self, reading: Reading) -> None:
        """A point of each curve."""
        if isinstance(reading, TrainingReading):
            values = {"training/loss": reading.loss, "training/dsc": reading.train_dsc, "training/lr": reading.lr}
            values |= {f"training/{name}": value for name, value in reading.own.items()}
        else:
            values = {f"{reading.on}/{name}": value for name, value in reading.validation.items()}
        for name, value in values.items():
            self._writer.add_scalar(name, value, reading.step)

    def end(self) -> None:
        """Write what is left."""
        self._writer.close()
