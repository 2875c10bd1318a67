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
from cxrkit.cli.flags import ANY_WEIGHTS, DeviceFlag, Json, Quiet, option
from cxrkit.cli.loading import load_plugins
from cxrkit.cli.predict import chosen_writers
from cxrkit.cli.progress import progress
from cxrkit.config import make_config
from cxrkit.engine.interrupts import stop_requests
from cxrkit.engine.observer import Observer, Silent
from cxrkit.engine.run import RunDirectory
from cxrkit.errors import ConfigError, CxrkitError, DataError, PluginError, StorageError, TrainingError
from cxrkit.files import csv_text, locked, storage_error, write_bytes

if TYPE_CHECKING:
    from cxrkit.ablation.results import Results as Results
    from cxrkit.ablation.results import load_results as load_results
    from cxrkit.data.film_files import films_below as films_below
    from cxrkit.engine.writing import build_writers as build_writers
    from cxrkit.engine.writing import make_files as make_files

#: These import torch, which not every verb needs.
_LAZY = {
    "Results": "ablation.results",
    "load_results": "ablation.results",
    "films_below": "data.film_files",
    "build_writers": "engine.writing",
    "make_files": "engine.writing",
}

__all__ = [
    "ANY_WEIGHTS",
    "ConfigError",
    "CxrkitError",
    "DataError",
    "DeviceFlag",
    "Json",
    "Observer",
    "PluginError",
    "Quiet",
    "Results",
    "RunDirectory",
    "Silent",
    "StorageError",
    "TrainingError",
    "build_writers",
    "chosen_writers",
    "csv_text",
    "films_below",
    "load_plugins",
    "load_results",
    "locked",
    "make_config",
    "make_files",
    "option",
    "progress",
    "say",
    "show",
    "show_json",
    "stop_requests",
    "storage_error",
    "table",
    "warn",
    "write_bytes",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f"cxrkit.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'cxrkit.commands' has no attribute {name!r}")
