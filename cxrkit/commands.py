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
from cxrkit.engine.observer import Observer, Silent
from cxrkit.errors import ConfigError, CxrkitError, DataError, PluginError, StorageError, TrainingError

if TYPE_CHECKING:
    from cxrkit.ablation.results import Results as Results
    from cxrkit.ablation.results import load_results as load_results
    from cxrkit.config import make_config as make_config
    from cxrkit.engine.run import RunDirectory as RunDirectory

# These take longer to import, some of them torch, so they wait until they are used.
_HOMES = {
    "Results": "cxrkit.ablation.results",
    "RunDirectory": "cxrkit.engine.run",
    "load_results": "cxrkit.ablation.results",
    "make_config": "cxrkit.config",
}

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
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'cxrkit.commands' has no attribute {name!r}")
