"""cxrkit: segmentation of chest radiographs, with plugins for networks, losses, augments and datasets.

`import cxrkit` is fast: names are imported from their modules when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cxrkit.api import TrainedRun as TrainedRun
    from cxrkit.api import evaluate as evaluate
    from cxrkit.api import train as train
    from cxrkit.comparisons import ablate as ablate
    from cxrkit.config import RunConfig as RunConfig
    from cxrkit.data.images import read_film as read_film
    from cxrkit.data.images import read_mask as read_mask
    from cxrkit.engine.calibrating import calibrate as calibrate
    from cxrkit.engine.predict import Segmenter as Segmenter
    from cxrkit.engine.predictor import Predictor as Predictor
    from cxrkit.errors import ConfigError as ConfigError
    from cxrkit.errors import CxrkitError as CxrkitError
    from cxrkit.errors import DataError as DataError
    from cxrkit.errors import DeclinedError as DeclinedError
    from cxrkit.hookspecs import hookimpl as hookimpl
    from cxrkit.inference import load as load
    from cxrkit.inference import predict as predict
    from cxrkit.interfaces import Augment as Augment
    from cxrkit.interfaces import Batch as Batch
    from cxrkit.interfaces import Dataset as Dataset
    from cxrkit.interfaces import Entry as Entry
    from cxrkit.interfaces import Job as Job
    from cxrkit.interfaces import Launcher as Launcher
    from cxrkit.interfaces import Logger as Logger
    from cxrkit.interfaces import Loss as Loss
    from cxrkit.interfaces import Model as Model
    from cxrkit.interfaces import Partner as Partner
    from cxrkit.interfaces import RunningJob as RunningJob
    from cxrkit.interfaces import Sample as Sample
    from cxrkit.interfaces import SideOutputs as SideOutputs
    from cxrkit.readings import Reading as Reading
    from cxrkit.readings import TrainingReading as TrainingReading
    from cxrkit.readings import ValidationReading as ValidationReading
    from cxrkit.report.overlay import draw_overlay as draw_overlay
    from cxrkit.scoring import measure as measure
    from cxrkit.scoring import score as score
    from cxrkit.segmentation import Film as Film
    from cxrkit.segmentation import Segmentation as Segmentation
    from cxrkit.services import Deployable as Deployable
    from cxrkit.services import Exporter as Exporter
    from cxrkit.services import Postprocess as Postprocess
    from cxrkit.services import PretrainedWeights as PretrainedWeights
    from cxrkit.services import Runtime as Runtime
    from cxrkit.services import Writer as Writer
    from cxrkit.version import __version__ as __version__

_HOMES = {
    "Augment": "interfaces",
    "Batch": "interfaces",
    "ConfigError": "errors",
    "CxrkitError": "errors",
    "DataError": "errors",
    "Dataset": "interfaces",
    "DeclinedError": "errors",
    "Deployable": "services",
    "Entry": "interfaces",
    "Exporter": "services",
    "Film": "segmentation",
    "Job": "interfaces",
    "Launcher": "interfaces",
    "Logger": "interfaces",
    "Loss": "interfaces",
    "Model": "interfaces",
    "Partner": "interfaces",
    "Predictor": "engine.predictor",
    "Postprocess": "services",
    "PretrainedWeights": "services",
    "Reading": "readings",
    "RunConfig": "config",
    "RunningJob": "interfaces",
    "Sample": "interfaces",
    "Segmentation": "segmentation",
    "Segmenter": "engine.predict",
    "Runtime": "services",
    "SideOutputs": "interfaces",
    "TrainedRun": "api",
    "TrainingReading": "readings",
    "ValidationReading": "readings",
    "Writer": "services",
    "ablate": "comparisons",
    "calibrate": "engine.calibrating",
    "draw_overlay": "report.overlay",
    "evaluate": "api",
    "hookimpl": "hookspecs",
    "load": "inference",
    "measure": "scoring",
    "predict": "inference",
    "read_film": "data.images",
    "read_mask": "data.images",
    "score": "scoring",
    "train": "api",
    "__version__": "version",
}

__all__ = [name for name in _HOMES if name != "__version__"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(f"cxrkit.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'cxrkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
