"""Help texts."""

from __future__ import annotations

import re

_TOLD = r"(?P<text>.*) \[dim\]\\\[default: (?P<default>.*)\]\[/dim\]"


def told(help_text: str, default: str) -> str:
    """A help text with a default that the command line doesn't hold itself, because a file or the data may."""
    return f"{help_text} [dim]\\[default: {default}][/dim]"


def untold(help_text: str) -> tuple[str, str]:
    """The help text and the default of what `told` made, for whoever shows them apart; no default is ""."""
    found = re.fullmatch(_TOLD, help_text, re.DOTALL)
    return (found["text"], found["default"]) if found else (help_text, "")
