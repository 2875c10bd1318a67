"""cxrkit: segmentation of chest radiographs, with plugins for networks, losses, augments and datasets.

`import cxrkit` is cheap: names are imported from their modules when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cxrkit.api import TrainedRun, evaluate, load, predict, train
    from cxrkit.comparisons import ablate
    from cxrkit.config import RunConfig
    from cxrkit.data.film import Film
    from cxrkit.data.images import read_film, read_mask
    from cxrkit.engine.predict import Segmentation, Segmenter
    from cxrkit.engine.predictor import Predictor
    from cxrkit.errors import ConfigError, CxrkitError, DataError
    from cxrkit.hookspecs import hookimpl
    from cxrkit.interfaces import (
        Augment,
        Batch,
        Dataset,
        Entry,
        Job,
        Launcher,
        Logger,
        Loss,
        Model,
        Partner,
        PretrainedWeights,
        RunningJob,
        Sample,
        SideOutputs,
        Writer,
    )
    from cxrkit.readings import Reading, TrainingReading, ValidationReading
    from cxrkit.report.overlay import draw_overlay
    from cxrkit.version import __version__ as __version__

_HOMES = {
    "Augment": "interfaces",
    "Batch": "interfaces",
    "ConfigError": "errors",
    "CxrkitError": "errors",
    "DataError": "errors",
    "Dataset": "interfaces",
    "Entry": "interfaces",
    "Film": "data.film",
    "Job": "interfaces",
    "Launcher": "interfaces",
    "Logger": "interfaces",
    "Loss": "interfaces",
    "Model": "interfaces",
    "Partner": "interfaces",
    "Predictor": "engine.predictor",
    "PretrainedWeights": "interfaces",
    "Reading": "readings",
    "RunConfig": "config",
    "RunningJob": "interfaces",
    "Sample": "interfaces",
    "Segmentation": "engine.predict",
    "Segmenter": "engine.predict",
    "SideOutputs": "interfaces",
    "TrainedRun": "api",
    "TrainingReading": "readings",
    "ValidationReading": "readings",
    "Writer": "interfaces",
    "ablate": "comparisons",
    "draw_overlay": "report.overlay",
    "evaluate": "api",
    "hookimpl": "hookspecs",
    "load": "api",
    "predict": "api",
    "read_film": "data.images",
    "read_mask": "data.images",
    "train": "api",
    "__version__": "version",
}

__all__ = [
    "Augment",
    "Batch",
    "ConfigError",
    "CxrkitError",
    "DataError",
    "Dataset",
    "Entry",
    "Film",
    "Job",
    "Launcher",
    "Logger",
    "Loss",
    "Model",
    "Partner",
    "Predictor",
    "PretrainedWeights",
    "Reading",
    "RunConfig",
    "RunningJob",
    "Sample",
    "Segmentation",
    "Segmenter",
    "SideOutputs",
    "TrainedRun",
    "TrainingReading",
    "ValidationReading",
    "Writer",
    "ablate",
    "draw_overlay",
    "evaluate",
    "hookimpl",
    "load",
    "predict",
    "read_film",
    "read_mask",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(f"cxrkit.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'cxrkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
