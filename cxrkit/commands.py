"""What a command of another package needs to look and behave like cxrkit's own.

A command is a function with Typer's annotations that an entry point of the group `cxrkit.commands` names. The entry
point's name is the command's, and the first line of its docstring appears in `cxrkit --help`. It is imported when it is
called. Results go to stdout (`show`, `show_json`), messages and progress to stderr (`say`, `warn`, `progress`). Errors
that the user can fix are raised as a `CxrkitError`, which is printed without a traceback and determines the exit code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cxrkit.cli.console import say, show, show_json, table, warn
from cxrkit.cli.flags import DeviceFlag, Json, Quiet, option
from cxrkit.cli.progress import progress
from cxrkit.config import make_config
from cxrkit.engine.observer import Observer, Silent
from cxrkit.engine.run import RunDirectory
from cxrkit.errors import ConfigError, CxrkitError, DataError, PluginError, StorageError, TrainingError

if TYPE_CHECKING:
    from cxrkit.ablation.results import Results as Results
    from cxrkit.ablation.results import load_results as load_results

__all__ = [
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
    "load_results",
    "make_config",
    "option",
    "progress",
    "say",
    "show",
    "show_json",
    "table",
    "warn",
]


def __getattr__(name: str) -> Any:
    if name in ("Results", "load_results"):  # they import torch, which not every verb needs
        from cxrkit.ablation import results

        return getattr(results, name)
    raise AttributeError(f"module 'cxrkit.commands' has no attribute {name!r}")
