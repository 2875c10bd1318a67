"""What a command of another package needs to look and behave like cxrkit's own.

A command is a function with Typer's annotations that an entry point of the group `cxrkit.commands` names. The entry
point's name is the command's, and the first line of its docstring appears in `cxrkit --help`. It is imported when it is
called. Results go to stdout (`show`, `show_json`), messages and progress to stderr (`say`, `warn`, `progress`). Errors
that the user can fix are raised as a `CxrkitError`, which is printed without a traceback and determines the exit code.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from cxrkit.cli.console import say, show, show_json, table, warn
from cxrkit.cli.flags import ANY_WEIGHTS, DeviceFlag, Json, NoQuality, Quiet, option
from cxrkit.cli.loading import load_plugins
from cxrkit.cli.predict import chosen_writers
from cxrkit.cli.progress import progress
from cxrkit.config import make_config
from cxrkit.data.limits import at_most_pixels
from cxrkit.engine.interrupts import stop_requests
from cxrkit.engine.observer import Observer, Silent
from cxrkit.engine.run import RunDirectory
from cxrkit.errors import ConfigError, CxrkitError, DataError, PluginError, StorageError, TrainingError
from cxrkit.files import csv_text, locked, storage_error, write_bytes

if TYPE_CHECKING:
    from cxrkit.ablation.results import Results as Results
    from cxrkit.ablation.results import load_results as load_results
    from cxrkit.data.film_files import films_below as films_below
    from cxrkit.engine.measures import ratio_of as ratio_of
    from cxrkit.engine.outcomes import Failure as Failure
    from cxrkit.engine.outcomes import Predictions as Predictions
    from cxrkit.engine.outcomes import row_of as row_of
    from cxrkit.engine.predictions import film_name as film_name
    from cxrkit.engine.predictions import side_by_side as side_by_side
    from cxrkit.engine.workers import Workers as Workers
    from cxrkit.engine.workers import sensible_workers as sensible_workers
    from cxrkit.engine.writing import build_writers as build_writers
    from cxrkit.engine.writing import make_files as make_files
    from cxrkit.report.colours import structure_colours as structure_colours

#: These import torch, which not every verb needs.
_LAZY = {
    "Failure": "engine.outcomes",
    "Predictions": "engine.outcomes",
    "Results": "ablation.results",
    "Workers": "engine.workers",
    "build_writers": "engine.writing",
    "film_name": "engine.predictions",
    "films_below": "data.film_files",
    "load_results": "ablation.results",
    "make_files": "engine.writing",
    "ratio_of": "engine.measures",
    "row_of": "engine.outcomes",
    "sensible_workers": "engine.workers",
    "side_by_side": "engine.predictions",
    "structure_colours": "report.colours",
}

__all__ = [
    "ANY_WEIGHTS",
    "ConfigError",
    "CxrkitError",
    "DataError",
    "DeviceFlag",
    "Failure",
    "Json",
    "NoQuality",
    "Observer",
    "PluginError",
    "Predictions",
    "Quiet",
    "Results",
    "RunDirectory",
    "Silent",
    "StorageError",
    "TrainingError",
    "Workers",
    "at_most_pixels",
    "build_writers",
    "chosen_writers",
    "csv_text",
    "film_name",
    "films_below",
    "load_plugins",
    "load_results",
    "locked",
    "make_config",
    "make_files",
    "option",
    "progress",
    "ratio_of",
    "row_of",
    "say",
    "sensible_workers",
    "show",
    "show_json",
    "side_by_side",
    "stop_requests",
    "storage_error",
    "structure_colours",
    "table",
    "warn",
    "write_bytes",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f"cxrkit.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'cxrkit.commands' has no attribute {name!r}")
