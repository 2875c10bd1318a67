"""Readings for MLflow."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from cxrkit import ConfigError, Logger, Reading, TrainingReading


class MLflow(Logger):
    """Writes settings and readings to an MLflow server or database; a resumed run continues its MLflow run."""

    def __init__(
        self,
        *,
        tracking_uri: Annotated[
            str | None, Field(description="where MLflow stores runs (null: MLFLOW_TRACKING_URI)")
        ] = None,
        experiment: Annotated[str, Field(min_length=1, description="the MLflow experiment of the run")] = "cxrkit",
    ) -> None:
        try:
            from mlflow.exceptions import MlflowException
            from mlflow.tracking import MlflowClient
        except ImportError as error:
            raise ConfigError(
                "--logger mlflow: MLflow isn't installed.", "Run: pip install 'cxrkit[mlflow]'"
            ) from error
        # A training shouldn't wait for minutes, as MLflow does by default, for a server that doesn't answer.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        try:
            self._client = MlflowClient(tracking_uri)
        except MlflowException as error:
            raise ConfigError(
                f"--logger mlflow: MLflow can't use {tracking_uri or 'its default place'}: {error}",
                "Name a server: --set logger.mlflow.tracking_uri=http://HOST:5000. Local files need mlflow itself.",
            ) from error
        self._experiment = experiment

    def begin(self, run: Path, settings: Mapping[str, Any], step: int) -> None:
        """Create the MLflow run, or find the one that an earlier process created for this folder."""
        known = self._client.get_experiment_by_name(self._experiment)
        experiment = known.experiment_id if known else self._client.create_experiment(self._experiment)
        folder = str(run.resolve()).replace("'", "")
        found = self._client.search_runs([experiment], f"tags.cxrkit_folder = '{folder}'") if step else []
        made = found or [self._client.create_run(experiment, tags={"cxrkit_folder": folder}, run_name=run.name)]
        self._run = made[0].info.run_id
        for name, value in [] if found else _flat(settings):
            self._client.log_param(self._run, name, str(value)[:500])

    def log(self, reading: Reading) -> None:
        """A value of each metric."""
        if isinstance(reading, TrainingReading):
            values = {"training_loss": reading.loss, "training_dsc": reading.train_dsc, "training_lr": reading.lr}
            values |= {f"training_{name}": value for name, value in reading.own.items()}
        else:
            values = {f"{reading.on}_{name}": value for name, value in reading.validation.items()}
        for name, value in values.items():
            self._client.log_metric(self._run, name, value, step=reading.step)

    def end(self) -> None:
        """Mark the MLflow run as ended."""
        self._client.set_terminated(self._run)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Dotted names and values."""
    pairs: list[tuple[str, Any]] = []
    for key, value in settings.items():
        pairs += _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(f"{prefix}{key}", value)]
    return pairs
