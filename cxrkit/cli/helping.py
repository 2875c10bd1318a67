"""Help texts."""

from __future__ import annotations

import inspect
import re
from typing import Any

import typer

_TOLD = r"(?P<text>.*) \[dim\]\\\[default: (?P<default>.*)\]\[/dim\]"


def option(flag: str, panel: str, help: str, *, metavar: str | None = None, default: str = "", **more: Any) -> Any:
    """A flag of a verb, in a panel of its help; `default` as for `told`, `more` as for Typer."""
    text = told(help, default) if default else help
    return typer.Option(flag, help=text, rich_help_panel=panel, show_default=False, metavar=metavar, **more)


def told(help_text: str, default: str) -> str:
    """A help text with a default that the command line doesn't hold itself, because a file or the data may."""
    return f"{help_text} [dim]\\[default: {default}][/dim]"


def untold(help_text: str) -> tuple[str, str]:
    """The help text and the default of what `told` made, for whoever shows them apart; no default is ""."""
    found = re.fullmatch(_TOLD, help_text, re.DOTALL)
    return (found["text"], found["default"]) if found else (help_text, "")


def unwrap(app: typer.Typer) -> None:
    """Let the terminal break the lines of every command's help: those of a docstring are as long as a source line."""
    for command in app.registered_commands:
        paragraphs = (inspect.getdoc(command.callback) or "").split("\n\n")
        command.help = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            unwrap(group.typer_instance)
