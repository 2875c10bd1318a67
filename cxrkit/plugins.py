"""Finding, loading and isolating plugins.

Plugins are entry points of the group `cxrkit`. Each is loaded on its own: one that fails is recorded with the reason,
and the others still work. The loaded set is the only global state of cxrkit.
"""

from __future__ import annotations

import inspect
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache, partial
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy

from cxrkit.entry_points import COMPONENTS, announced, is_disabled, origin
from cxrkit.errors import PluginError, nearest, reason
from cxrkit.hookspecs import GROUP, Hooks, Register
from cxrkit.kinds import KINDS
from cxrkit.probing import danger_of
from cxrkit.registry import Component, Registry

#: A plugin that takes longer than this to load is reported as slow.
SLOW_SECONDS = 1.0

_BUILT_IN = "cxrkit_plugins"
#: The distribution whose plugins are known to load.
_OWN = "cxrkit"


@dataclass(frozen=True)
class PluginStatus:
    """Whether one plugin was loaded, and what it registered.

    Attributes:
        name: the entry point's name; `distribution` and `version` are of the package that has it.
        seconds: how long importing and registering took.
        error: one line, or None if it loaded; `details` is the whole traceback.
        disabled: switched off by the variable CXRKIT_DISABLE_PLUGINS (names of plugins or distributions).
        imports_torch: loading it imported torch, which takes seconds; lazy factories (`"package.module:Class"`)
            would not.
        remarks: functions that look like hooks and aren't, a sentence each.
    """

    name: str
    distribution: str
    version: str
    seconds: float = 0.0
    error: str | None = None
    details: str = ""
    disabled: bool = False
    imports_torch: bool = False
    components: tuple[Component, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def slow(self) -> bool:
        """Whether loading took longer than `SLOW_SECONDS`."""
        return self.seconds > SLOW_SECONDS


@dataclass
class Plugins:
    """The registry and the status of every plugin that was found."""

    registry: Registry = field(default_factory=Registry)
    statuses: list[PluginStatus] = field(default_factory=list)


def load_plugins(found: Iterable[EntryPoint] | None = None, *, trying: bool = False) -> Plugins:
    """Load plugins, each on its own.

    Args:
        found: the entry points to load; by default all installed ones of the group `cxrkit`.
        trying: whether each version of a plugin, other than cxrkit's own, is first tried in a process of its own, as
            one may end or stop the process that loads it.
    """
    plugins = Plugins()
    candidates = entry_points(group=COMPONENTS) if found is None else found
    unique = {(point.name, point.value): point for point in candidates}
    for point in sorted(unique.values(), key=lambda point: (point.value != _BUILT_IN, point.name)):
        # What a plugin prints must not get into results, which may be JSON.
        with redirect_stdout(sys.stderr):
            status = _load_one(point, trying=trying and origin(point)[0] != _OWN)
        plugins.statuses.append(status)
        if status.error is not None:
            plugins.registry.broken[status.name] = status.error
        for component in status.components:
            plugins.registry.add(component)
    return plugins


def _load_one(point: EntryPoint, *, trying: bool = False) -> PluginStatus:
    distribution, version = origin(point)
    status = partial(PluginStatus, point.name, distribution, version)
    if is_disabled(point):
        return status(disabled=True)
    if trying and (danger := danger_of(point)):
        again = f"Update or uninstall {distribution}; `cxrkit plugins check {distribution}` tries it again."
        return status(error=f"it can't be loaded safely: {danger}", details=again)
    started, had_torch = time.perf_counter(), "torch" in sys.modules
    collected: list[Component] = []
    try:
        # A manager of its own: pluggy calls all registered plugins' hooks together, and one that raises would lose the
        # others' registrations.
        manager = pluggy.PluginManager(GROUP)
        manager.add_hookspecs(Hooks)
        with announced(f"plugin '{point.name}'", distribution):
            plugin = point.load()
        manager.register(plugin, name=point.name)
        for kind in KINDS.values():
            hook = getattr(plugin, kind.hook, None)
            if callable(hook) and manager.parse_hookimpl_opts(plugin, kind.hook) is None:
                raise PluginError(f"its function {kind.hook} lacks the decorator @cxrkit.hookimpl.", "Add it.")
        # Without this, pluggy ignores a hook whose name is misspelt.
        manager.check_pending()
        for kind in KINDS.values():
            getattr(manager.hook, kind.hook)(register=_registrar(kind.name, distribution, version, collected))
        trial = Registry()
        for component in collected:
            trial.add(component)
        for kind_name, name in trial.clashes():
            raise PluginError(f"it registers the {kind_name} '{name}' twice.", f"Update {distribution}.")
        remarks = _almost_hooks(plugin)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # A plugin may fail in any way, even by calling sys.exit; only Ctrl-C isn't caught.
        details = ""
        with suppress(BaseException):  # an exception may fail to be printed
            details = traceback.format_exc()
        what = f"{type(error).__name__}: {error.what}" if isinstance(error, PluginError) else reason(error)
        return status(seconds=time.perf_counter() - started, error=what, details=details)
    return status(
        seconds=time.perf_counter() - started,
        components=tuple(collected),
        imports_torch=not had_torch and "torch" in sys.modules,
        remarks=remarks,
    )


def _almost_hooks(plugin: Any) -> tuple[str, ...]:
    """Functions of a plugin that are named or written like a hook and are none: nothing would call them."""
    hooks = [kind.hook for kind in KINDS.values()]
    found = []
    for name in dir(plugin):
        function = getattr(plugin, name, None)
        if name.startswith("_") or name in hooks or not inspect.isroutine(function):
            continue
        code = getattr(getattr(function, "__func__", function), "__code__", None)
        like = name.startswith("register") and code is not None and "register" in code.co_varnames[: code.co_argcount]
        if like or get_close_matches(name, hooks, n=1, cutoff=0.85):
            found.append(f"Its function {name} is no hook. {nearest(name, hooks)}".rstrip())
    return tuple(found)


def answer_probe(name: str, value: str, token: str) -> None:
    """Load one plugin, and say on stdout that this process has survived it; `cxrkit.probing` listens."""
    stream = os.dup(1)  # a plugin may close or replace what it finds
    os.write(stream, token.encode())
    try:
        _load_one(EntryPoint(name, value, COMPONENTS))
        danger = ""
        os.fstat(1), os.fstat(2)
        if sys.stdout.closed or sys.stderr.closed:
            raise OSError
    except OSError:
        danger = "it closes the standard streams"
    except BaseException as error:
        danger = f"it raises {reason(error)}"
    os.write(stream, f"{token}{danger}".encode(errors="replace"))
    os._exit(0)  # threads that it started may never end


def _registrar(kind: str, distribution: str, version: str, into: list[Component]) -> Register:
    def register(name: str, factory: str | Callable[..., Any], **about: Any) -> None:
        into.append(Component(kind, name, factory, distribution=distribution, version=version, **about))

    return register


@lru_cache(maxsize=1)
def installed() -> Plugins:
    """The installed plugins, loaded once per process; `installed.cache_clear()` forgets them."""
    return load_plugins(trying=True)


def registry() -> Registry:
    """The components of all installed plugins."""
    return installed().registry
