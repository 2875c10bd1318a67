"""The one table of all reports: as Markdown, as LaTeX, and for a terminal."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cxrkit.errors import printable

if TYPE_CHECKING:
    from rich.table import Table as RichTable

#: A cell without a value.
NONE = "–"


@dataclass(frozen=True)
class Table:
    """A table as text.

    Attributes:
        caption: what the numbers are of; may be empty.
        headings: of the columns.
        rows: as many cells each.
        bold: (row, column) of the best value of each column.
        alarm: (row, column) of cells that show that something is missing.
        names: how many of the first columns are names, aligned left; the others are numbers.
    """

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    bold: frozenset[tuple[int, int]] = frozenset()
    alarm: frozenset[tuple[int, int]] = frozenset()
    names: int = 1

    def markdown(self) -> str:
        """GitHub's Markdown, the caption below."""
        rule = ["---" if column < self.names else "---:" for column in range(len(self.headings))]
        rows = self._formatted(_markdown_cell, "**{}**")
        lines = ["| " + " | ".join(row) + " |" for row in (map(_markdown_cell, self.headings), rule, *rows)]
        return "\n".join([*lines, *(["", escape_markdown(self.caption)] if self.caption else [])])

    def latex(self, label: str) -> str:
        """A `table` environment for the booktabs package."""
        rows = self._formatted(escape_latex, r"\textbf{{{}}}")
        lines = [
            "% \\usepackage{booktabs}",
            r"\begin{table}",
            rf"  \caption{{{escape_latex(self.caption)}}}",
            rf"  \label{{tab:{latex_label(label)}}}",
            rf"  \begin{{tabular}}{{{'l' * self.names}{'r' * (len(self.headings) - self.names)}}}",
            r"    \toprule",
            "    " + " & ".join(escape_latex(heading) for heading in self.headings) + r" \\",
            r"    \midrule",
            *("    " + " & ".join(row) + r" \\" for row in rows),
        ]
        return "\n".join([*lines, r"    \bottomrule", r"  \end{tabular}", r"\end{table}", ""])

    def rich(self, title: str = "") -> RichTable:
        """For a terminal, without the caption."""
        from rich import box
        from rich.table import Table as RichTable
        from rich.text import Text

        made = RichTable(
            title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False
        )
        for column, heading in enumerate(self.headings):
            made.add_column(printable(heading), justify="left" if column < self.names else "right", overflow="fold")
        for row, cells in enumerate(self.rows):
            styles = [
                "bold red" if (row, n) in self.alarm else "bold" if (row, n) in self.bold else ""
                for n in range(len(cells))
            ]
            made.add_row(*(Text(printable(text), style=style) for text, style in zip(cells, styles, strict=True)))
        return made

    def _formatted(self, escape: Callable[[str], str], best: str) -> list[list[str]]:
        """The rows with escaped cells, the best ones within `best`."""
        return [
            [best.format(escape(text)) if (row, n) in self.bold else escape(text) for n, text in enumerate(cells)]
            for row, cells in enumerate(self.rows)
        ]


_MATHS = {"±": r"\pm", "−": "-", "≥": r"\geq", "δ": r"\delta", "·": r"\cdot", "×": r"\times", "<": "<", ">": ">"}
_LATEX = (
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {character: f"${symbol}$" for character, symbol in _MATHS.items()}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "…": r"\dots{}"}
    | {"—": "---", "–": "--", "“": "``", "”": "''"}
)


def escape_markdown(text: str) -> str:
    """A line of text in which no name becomes HTML or a link; our own emphasis and code stay.

    >>> escape_markdown("<b>p < 0.05</b> ![x](y)")
    '&lt;b>p < 0.05&lt;/b> ![x]\\\\(y)'
    """
    text = re.sub(r"&(?=#|\w+;)", "&amp;", " ".join(text.splitlines()))
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text).replace("](", "]\\(")


def _markdown_cell(text: str) -> str:
    return escape_markdown(text).replace("|", "\\|")


def escape_latex(text: str) -> str:
    """Text whose special characters LaTeX prints."""
    return "".join(_LATEX.get(character, character) for character in text)


def latex_label(name: str) -> str:
    """A name as `\\label` takes it: letters, digits and hyphens.

    >>> latex_label("10 % of the films")
    '10-of-the-films'
    """
    return re.sub(r"[^A-Za-z0-9.+]+", "-", name).strip("-.") or "ablation"
