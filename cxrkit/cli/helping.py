"""Help texts."""

from __future__ import annotations


def told(help_text: str, default: str) -> str:
    """A help text with a default that the command line doesn't hold itself, because a file or the data may."""
    return f"{help_text} [dim]\\[default: {default}][/dim]"
