"""What a verb of another package needs to look and behave like one of cxrkit's own.

A verb is a function with Typer's annotations that an entry point of the group `cxrkit.commands` leads to; the entry
point's name is the verb, and its docstring's first line stands in `cxrkit --help`. It is imported when it is called.
Results go to stdout (`show`, `show_json`), messages and progress to stderr (`say`, `warn`, `progress`). It raises a
`CxrkitError` for what the user can put right: that is printed without a traceback and decides the exit code.
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
