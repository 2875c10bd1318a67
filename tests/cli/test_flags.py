from __future__ import annotations

import typer
from hypothesis import given
from hypothesis import strategies as st

from cxrkit.cli.flags import split_default, with_default
from cxrkit.cli.verbs import unwrap


@given(st.text(), st.text())
def test_a_default_is_separated_again(text: str, default: str) -> None:
    parts = split_default(with_default(text, default))
    assert with_default(*parts) == with_default(text, default)


def test_help_and_default_come_apart() -> None:
    assert split_default(with_default("Only these, as [A, B].", "all")) == ("Only these, as [A, B].", "all")
    assert split_default("Print JSON.") == ("Print JSON.", "")


def test_the_terminal_breaks_the_lines_of_a_help() -> None:
    outer, inner = typer.Typer(), typer.Typer()

    def command() -> None:
        """Do it.

        One sentence of a paragraph
        goes on in the next line.

        cxrkit do it
        """

    outer.command()(command)
    inner.command()(command)
    outer.add_typer(inner, name="inner")
    unwrap(outer)
    for found in (*outer.registered_commands, *inner.registered_commands):
        assert found.help == "Do it.\n\nOne sentence of a paragraph goes on in the next line.\n\ncxrkit do it"
