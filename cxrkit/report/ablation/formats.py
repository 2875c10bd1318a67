"""A table as text: Markdown and LaTeX."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A table as text.

    Attributes:
        caption: what the numbers are of.
        headings: of the columns.
        rows: as many cells each.
        bold: (row, column) of the best value of each column.
    """

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    bold: frozenset[tuple[int, int]] = frozenset()


def markdown(table: Table) -> str:
    """GitHub's Markdown; the best of each column is bold."""

    def cell(row: int, column: int, text: str) -> str:
        plain = text.replace("|", "\\|")
        return f"**{plain}**" if (row, column) in table.bold else plain

    lines = ["| " + " | ".join(table.headings) + " |", "| " + " | ".join("---" for _ in table.headings) + " |"]
    for index, row in enumerate(table.rows):
        lines.append("| " + " | ".join(cell(index, column, text) for column, text in enumerate(row)) + " |")
    return "\n".join([*lines, "", table.caption, ""])


def latex(table: Table, label: str) -> str:
    """A `table` environment for the booktabs package."""

    def cell(row: int, column: int, text: str) -> str:
        plain = escape_latex(text)
        return rf"\textbf{{{plain}}}" if (row, column) in table.bold else plain

    lines = [
        "% \\usepackage{booktabs}",
        r"\begin{table}",
        rf"  \caption{{{escape_latex(table.caption)}}}",
        rf"  \label{{tab:{latex_label(label)}}}",
        rf"  \begin{{tabular}}{{l{'r' * (len(table.headings) - 1)}}}",
        r"    \toprule",
        "    " + " & ".join(escape_latex(heading) for heading in table.headings) + r" \\",
        r"    \midrule",
    ]
    for index, row in enumerate(table.rows):
        cells = [cell(index, column, text) for column, text in enumerate(row)]
        lines.append("    " + " & ".join(cells) + r" \\")
    return "\n".join([*lines, r"    \bottomrule", r"  \end{tabular}", r"\end{table}", ""])


_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "−": r"$-$",
    "—": "---",
    "–": "--",
    "≥": r"$\geq$",
    "δ": r"$\delta$",
    "«": "``",
    "»": "''",
    "…": r"\dots{}",
    "·": r"$\cdot$",
    "×": r"$\times$",
    "<": r"$<$",
    ">": r"$>$",
}


def escape_latex(text: str) -> str:
    """Text whose special characters LaTeX prints."""
    return "".join(_LATEX.get(character, character) for character in text)


def latex_label(name: str) -> str:
    """A name as `\\label` takes it: letters, digits and hyphens.

    >>> latex_label("10 % of the films")
    '10-of-the-films'
    """
    return re.sub(r"[^A-Za-z0-9.+]+", "-", name).strip("-.") or "ablation"
