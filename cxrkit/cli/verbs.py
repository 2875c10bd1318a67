"""Verbs, that is the commands: the built-in ones, and those of other packages, each imported when it is called.

A package adds one by an entry point of the group `cxrkit.commands`: its name is the command's, and it names a function
with Typer's annotations, or a `typer.Typer` with several commands.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import typer
from typer.core import TyperCommand

from cxrkit.entry_points import VERBS, is_disabled, loading, origin, source_of
from cxrkit.errors import PluginError

#: In the order of the help.
_BUILT_IN = {
    "train": "cxrkit.cli.train:train",
    "evaluate": "cxrkit.cli.evaluate:evaluate",
    "predict": "cxrkit.cli.predict:predict",
    "measure": "cxrkit.cli.measure:measure",
    "calibrate": "cxrkit.cli.calibrate:calibrate",
    "ablate": "cxrkit.cli.ablate:ablate",
    "report": "cxrkit.cli.ablate:report",
    "bench": "cxrkit.cli.bench:bench",
    "export": "cxrkit.cli.export:export",
    "data": "cxrkit.cli.data:app",
    "list": "cxrkit.cli.components:list_components",
    "show": "cxrkit.cli.components:show_component",
    "plugins": "cxrkit.cli.plugins:app",
    "doctor": "cxrkit.cli.doctor:doctor",
}


@dataclass(frozen=True)
class Verb:
    """A verb, and where it comes from.

    Attributes:
        name: what one types.
        target: `"package.module:attribute"`.
        distribution, version: of the package that has it.
        taken: the distributions that have the name too; empty if it is this one's alone.
    """

    name: str
    target: str
    distribution: str = "cxrkit"
    version: str = ""
    taken: tuple[str, ...] = ()

    @cached_property
    def summary(self) -> str:
        """The first line of its docstring, read from the source without importing it; "" where there is none."""
        module, _, attribute = self.target.partition(":")
        try:
            tree = ast.parse(source_of(module).read_bytes())
        except Exception:  # the package may be broken in any way, and help must still be shown
            return ""
        found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == attribute]
        return (ast.get_docstring(found[0] if found else tree) or "").partition("\n")[0]

    def load(self) -> Any:
        """The verb as a command.

        Raises:
            PluginError: it can't be imported, isn't a verb, or several packages have one of its name.
        """
        if self.taken:
            raise PluginError(
                f"The command '{self.name}' is claimed by {' and '.join((self.distribution, *self.taken))}.",
                "Uninstall one of them, or switch one off: CXRKIT_DISABLE_PLUGINS.",
            )
        module, _, attribute = self.target.partition(":")
        with loading(f"command '{self.name}'", self.distribution, self.version):
            return _command(self.name, getattr(importlib.import_module(module), attribute))


class LazyCommand(TyperCommand):
    """A verb in the help of all verbs; it becomes the real command when it is called."""

    def __init__(self, verb: Verb) -> None:
        self.verb = verb
        super().__init__(verb.name, rich_markup_mode="rich")

    @property
    def help(self) -> str:
        """Its line in the help of all verbs, which nothing else waits for."""
        return self.verb.summary or f"A command of {self.verb.distribution}."

    @help.setter
    def help(self, value: str | None) -> None:
        pass

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """The real command's."""
        return self.verb.load().make_context(info_name, args, parent, **extra)


def built_in_verbs() -> dict[str, Verb]:
    """The verbs of cxrkit itself, by name."""
    return {name: Verb(name, target) for name, target in _BUILT_IN.items()}


def other_verbs() -> tuple[list[Verb], list[str]]:
    """The verbs of other packages, and what is wrong with some of them, from metadata alone."""
    from importlib.metadata import entry_points

    found: dict[str, dict[str, Verb]] = {}
    faults: list[str] = []
    for point in entry_points(group=VERBS):
        if is_disabled(point):
            continue
        distribution, version = origin(point)
        if point.name in _BUILT_IN:
            faults.append(f"The command '{point.name}' of {distribution} can't be used: cxrkit has one of that name.")
        else:
            found.setdefault(point.name, {})[distribution] = Verb(point.name, point.value, distribution, version)
    verbs = []
    for name, claims in sorted(found.items()):
        first, *others = sorted(claims)
        if others:
            faults.append(f"The command '{name}' can't be used: {' and '.join((first, *others))} both claim it.")
        verb = claims[first]
        verbs.append(Verb(name, verb.target, first, verb.version, tuple(others)))
    return verbs, faults


def _command(name: str, target: Any) -> Any:
    """A function or a `typer.Typer` as a command of that name."""
    if isinstance(target, typer.Typer):
        unwrap(target)
        command: Any = typer.main.get_group(target)
    elif inspect.isroutine(target):
        from cxrkit.cli.flags import expand

        app = typer.Typer(add_completion=False, rich_markup_mode="rich")
        app.command(name)(expand(target))
        unwrap(app)
        command = typer.main.get_command(app)
    else:
        raise TypeError(f"it is {type(target).__name__}, neither a function nor a typer.Typer")
    command.name = name
    command.context_settings = {"help_option_names": ["-h", "--help"]} | command.context_settings
    return command


def unwrap(app: typer.Typer) -> None:
    """Let the terminal break the lines of every command's help: those of a docstring are as long as a source line."""
    for command in app.registered_commands:
        paragraphs = (inspect.getdoc(command.callback) or "").split("\n\n")
        command.help = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            unwrap(group.typer_instance)
