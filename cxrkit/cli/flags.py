"""Flags: the ones that several verbs share, and those that are made from the table of settings and from plugins."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxrkit.cli.completion import COMPLETERS
from cxrkit.config import Device

if TYPE_CHECKING:
    from cxrkit.registry import Registry

WHAT, FILES = "What to compare", "Files and output"

_WITH_DEFAULT = r"(?P<text>.*) \[dim\]\\\[default: (?P<default>.*)\]\[/dim\]"


def option(
    flag: str, help: str, panel: str | None = None, *, metavar: str | None = None, default: str = "", **more: Any
) -> Any:
    """A flag of a command, in a panel of its help, which Tab completes as `cxrkit.cli.completion` says.

    `default` describes a default that the command line itself doesn't have; `more` is passed to Typer.
    """
    text = with_default(help, default) if default else help
    more.setdefault("autocompletion", COMPLETERS.get(flag))
    return typer.Option(flag, help=text, rich_help_panel=panel, show_default=False, metavar=metavar, **more)


def with_default(help_text: str, default: str) -> str:
    """A help text with a default that the command line doesn't hold itself, because a file or the data may."""
    return f"{help_text} [dim]\\[default: {default}][/dim]"


def split_default(help_text: str) -> tuple[str, str]:
    """The help text and the default that `with_default` put together; no default is ""."""
    found = re.fullmatch(_WITH_DEFAULT, help_text, re.DOTALL)
    return (found["text"], found["default"]) if found else (help_text, "")


def json_flag(what: str = "", panel: str | None = None) -> Any:
    """The flag `--json`: whether to print a result as JSON."""
    return typer.Option("--json", help=f"Print {what}{' as ' if what else ''}JSON.", rich_help_panel=panel)


def quiet_flag(panel: str | None = None) -> Any:
    """The flag `--quiet`."""
    return typer.Option("--quiet", "-q", help="No progress and no messages.", rich_help_panel=panel)


ANY_WEIGHTS = "A trained run's folder, a weights file, or weights that a package provides: cxrkit list weights."

Json = Annotated[bool, json_flag()]
Quiet = Annotated[bool, quiet_flag()]
DeviceFlag = Annotated[Device, typer.Option("--device", help="Where to compute.")]
NoQuality = Annotated[
    bool,
    typer.Option(
        "--no-quality",
        help="Don't estimate each mask's Dice coefficient, which takes four passes of the network instead of one "
        "where weights are calibrated for it.",
    ),
]

Labels = Annotated[
    str | None,
    option(
        "--labels",
        "Each film has one picture of class numbers, FILM.png, in which these structures have these numbers.",
        metavar="NAME=N,NAME=N",
    ),
]
MaskThreshold = Annotated[
    int | None,
    option("--mask-threshold", "What is brighter belongs to a mask, where masks have soft edges.", metavar="N", min=0),
]

Plan = Annotated[
    Path | None,
    typer.Argument(metavar="[PLAN.yaml]", help="A plan; flags override it.", show_default=False),
]
Varied = Annotated[
    list[str] | None,
    option("--vary", "Any other setting: --vary model.depth=3,4. May be repeated.", WHAT, metavar="KEY=A,B"),
]
Excluded = Annotated[
    list[str] | None,
    option(
        "--exclude", "Leave out combinations: 'model=unet,loss=dice'. May be repeated.", WHAT, metavar="KEY=LEVEL,..."
    ),
]


def parse_labels(text: str | None) -> dict[str, int] | None:
    """The structures and class numbers that `--labels` names.

    Raises:
        typer.BadParameter: it is written otherwise, or names one twice.
    """
    if text is None:
        return None
    from cxrkit.interfaces import STRUCTURE_NAME

    found: dict[str, int] = {}
    for item in text.split(","):
        name, _, number = (part.strip() for part in item.partition("="))
        if not re.fullmatch(STRUCTURE_NAME, name) or not re.fullmatch("[0-9]{1,9}", number) or name in found:
            raise typer.BadParameter(
                f"write each structure once, with its number, such as left_lung=1,right_lung=2; got {item!r}",
                param_hint="--labels",
            )
        found[name] = int(number)
    return found


@dataclass(frozen=True)
class Flags:
    """Flags that are made from the table of settings.

    Attributes:
        names: of the settings, separated by spaces; by default all that no group before has.
        panel: of the help; by default each setting's own.
        several: whether each flag takes several values, with commas between them, as text.
        shorthands: whether augmentations of plugins add theirs.
    """

    names: str = ""
    panel: str = ""
    several: bool = False
    shorthands: bool = False

    def parameters(self, registry: Registry) -> Iterator[inspect.Parameter]:
        """The flags as parameters of a function."""
        from cxrkit.settings import SETTINGS
        from cxrkit.settings import WHAT as WHAT_TO_TRAIN

        for name in self.names.split() or SETTINGS:
            about = SETTINGS[name]
            help = about.choices or about.help if self.several else about.help
            default = about.default or registry.default(name)
            yield self._parameter(name, about.flag_type, help, about.panel, default, about.metavar)
        if self.shorthands:
            for name, component in registry.shorthands().items():
                made = component.shorthand
                assert made is not None
                yield self._parameter(name, float, made.help, WHAT_TO_TRAIN, f"no {component.name}", made.metavar)

    def _parameter(
        self, name: str, takes: Any, help: str, panel: str, default: str, metavar: str | None
    ) -> inspect.Parameter:
        if self.several:
            one = (metavar or {int: "N", float: "X"}[takes]).partition("|")[0]
            takes, metavar = str, f"{one},..."
        flag = option(f"--{name.replace('_', '-')}", help, self.panel or panel, metavar=metavar, default=default)
        kind = inspect.Parameter.KEYWORD_ONLY
        return inspect.Parameter(name, kind, default=None, annotation=Annotated[takes | None, flag])


def takes(**groups: Flags) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let a verb's parameters of these names stand for groups of flags: each gets those that were given, by name."""

    def mark(verb: Callable[..., None]) -> Callable[..., None]:
        verb.flags = groups  # type: ignore[attr-defined]
        return verb

    return mark


def expand(verb: Callable[..., None]) -> Callable[..., None]:
    """A verb with each group of flags in its signature replaced by the flags, as Typer wants it."""
    groups: dict[str, Flags] = getattr(verb, "flags", {})
    if not groups:
        return verb
    from cxrkit.plugins import registry

    parameters: dict[str, inspect.Parameter] = {}
    members: dict[str, list[str]] = {}
    own = inspect.signature(verb, eval_str=True).parameters
    for name, parameter in own.items():
        made = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)]
        if name in groups:
            # Flags of the verb's own, and of earlier groups, win over a plugin's of the same name.
            taken = {*own, *parameters}
            made = [flag for flag in groups[name].parameters(registry()) if flag.name not in taken]
            members[name] = [flag.name for flag in made]
        parameters |= {flag.name: flag for flag in made}

    def expanded(**arguments: Any) -> None:
        for group, names in members.items():
            given = {name: arguments.pop(name) for name in names if name in arguments}
            arguments[group] = {name: value for name, value in given.items() if value not in (None, [])}
        verb(**arguments)

    expanded.__name__, expanded.__doc__ = verb.__name__, verb.__doc__
    expanded.__signature__ = inspect.Signature(list(parameters.values()))  # type: ignore[attr-defined]
    expanded.__annotations__ = {name: parameter.annotation for name, parameter in parameters.items()}
    return expanded
