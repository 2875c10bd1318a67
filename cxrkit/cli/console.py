"""What the command line writes: results to stdout, messages to stderr, both safe to pipe.

Text is never interpreted as rich markup and never wrapped: a path may contain brackets, and must stay in one piece.
Names of files may hold anything: characters that would steer a terminal are written as their numbers.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from cxrkit.errors import TrainingInterruptedError, printable, reason
from cxrkit.processes import is_first_process

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Column, Table
    from rich.text import Text

    from cxrkit.errors import CxrkitError

#: Lines that don't go to a terminal may be as wide as they like.
_UNLIMITED = 10_000


def one_line(text: str) -> str:
    """A name as `printable` has it, without line breaks and tabs too."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def stdout() -> Console:
    """Where results go."""
    from rich.console import Console

    made = Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else _UNLIMITED)
    made.on_broken_pipe = _broken_pipe  # type: ignore[method-assign]
    return made


def _broken_pipe() -> None:
    """Let the command line end as it does for any closed pipe; rich would exit with 1."""
    raise BrokenPipeError


def stderr(*, always: bool = False) -> Console:
    """Where messages and progress go; in a process that isn't the first of its run, nowhere unless `always`."""
    from rich.console import Console

    width, quiet = None if sys.stderr.isatty() else _UNLIMITED, not (always or is_first_process())
    return Console(stderr=True, highlight=False, markup=False, emoji=False, width=width, quiet=quiet)


def show(*renderables: RenderableType) -> None:
    """Print results: tables, or text as it is. Where a pipe reads, tables have a tab between cells and no more."""
    from rich.table import Table

    console = stdout()
    for item in renderables:
        if isinstance(item, str):
            console.print(printable(item), soft_wrap=True)
        elif isinstance(item, Table) and not sys.stdout.isatty():
            lines = ["\t".join(cells) for cells in zip(*map(_plain_column, item.columns), strict=True)]
            sys.stdout.write("".join(f"{line}\n" for line in ([f"{item.title}"] if item.title else []) + lines))
        else:
            console.print(item)


def _plain_column(column: Column) -> list[str]:
    """The heading and the cells of a table's column, each a line of text."""
    cells = (printable(str(cell)) for cell in (column.header, *column.cells))
    return ["; ".join(cell.split("\n")).replace("\t", " ") for cell in cells]


def table(
    headings: Sequence[str],
    rows: Iterable[Sequence[str | Text]],
    *,
    whole: Collection[str] = (),
    right: Collection[str] = (),
) -> Table:
    """A table of plain text.

    Args:
        headings: of the columns; those in `whole` are never folded, those in `right` are aligned to the right.
        rows: cells; `Text` where one has a style (`styled`).
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in headings:
        justify: Literal["left", "right"] = "right" if heading in right else "left"
        made.add_column(printable(heading), overflow="fold", no_wrap=heading in whole, justify=justify)
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(printable(cell)) for cell in row))
    return made


def styled(text: str, style: str) -> Text:
    """A cell with a style."""
    from rich.text import Text

    return Text(printable(text), style=style)


#: Whether the command has printed its result as JSON: an error must not add a second object to it.
json_shown = False


def show_json(content: Any) -> None:
    """Print a result as JSON; paths become text, and numbers that JSON lacks (NaN) become null."""
    plain = json.loads(json.dumps(content, default=str), parse_constant=lambda _: None)
    # In ASCII, which every terminal can show.
    sys.stdout.write(json.dumps(plain, indent=2) + "\n")
    global json_shown
    json_shown = True


def say(*lines: str, style: str = "") -> None:
    """Print a message."""
    console = stderr()
    for line in lines:
        console.print(printable(line), style=style, soft_wrap=True)


def warn(message: str) -> None:
    """Print a warning."""
    _labelled("Warning:", "bold yellow", [one_line(message)], stderr())


def print_error(error: CxrkitError) -> None:
    """Print what is wrong, and below it what to do; that a training was stopped as asked is no error."""
    lines = [one_line(error.what), *([error.remedy] if error.remedy else [])]
    if isinstance(error, TrainingInterruptedError):
        say(*lines)
    else:
        _labelled("Error:", "bold red", lines, stderr(always=True))


def print_defect(error: BaseException) -> None:
    """Print an exception that isn't the user's fault."""
    _labelled(
        "Error:",
        "bold red",
        [
            one_line(f"This is a defect of cxrkit or a plugin: {reason(error)}"),
            "Run the same command with --debug to see where, and please report it with that output.",
        ],
        stderr(always=True),
    )


def _labelled(label: str, style: str, lines: Iterable[str], console: Console) -> None:
    from rich.text import Text

    first, *rest = lines
    with console.capture() as written:
        console.print(Text.assemble((label, style), " ", first), soft_wrap=True)
        for line in rest:
            console.print(printable(line), soft_wrap=True)
    # While bars are shown, rich has replaced stderr by something that prints above them; a console would bypass it.
    sys.stderr.write(written.get())
