"""Summaries as tables: for a terminal (rich) and as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cxrkit.report.colours import structure_label
from cxrkit.report.summary import DISTANCES, OVERLAPS, StructureRow, Summary

if TYPE_CHECKING:
    from rich.table import Table


#: How films count on which a structure was missed.
MISSED_COUNT = "they count with a Dice of 0 and, where nothing was found, with the input's diagonal as distance"


def headings(summary: Summary) -> list[str]:
    """Column headings of the honest protocol's table, with the units of the distances."""
    distances = [f"{heading} {unit}" for heading in DISTANCES.values() for unit in summary.units]
    return ["structure", *OVERLAPS.values(), *distances]


def cells(row: StructureRow, summary: Summary) -> list[str]:
    """One structure's line of that table."""
    overlaps = [row.overlaps[measure].text(100, 1) for measure in OVERLAPS]
    distances = [row.distances[measure, unit].text(1, 2) for measure in DISTANCES for unit in summary.units]
    return [structure_label(row.structure), *overlaps, *distances]


def notes(summary: Summary) -> list[str]:
    """What a reader must know of the numbers, a sentence each."""
    of_films = f"{summary.films} {summary.part} film{'' if summary.films == 1 else 's'}"
    lines = [f"Mean ± standard deviation over films (not over runs), {of_films}.", f"Weights: {summary.selection}."]
    if summary.units == ("px",):
        lines.append("Distances are in pixels of the network's input: the films' pixel spacing isn't known.")
    elif len(summary.units) > 1 and summary.rows:
        distances = summary.rows[0].distances
        counts = " and ".join(f"{distances['hd95', unit].films} films in {unit}" for unit in summary.units)
        lines.append(f"Distances: {counts}, since the pixel spacing of some isn't known.")
    if missed := [f"{structure_label(row.structure)} on {row.missed}" for row in summary.rows if row.missed]:
        lines.append(f"Missed altogether: {', '.join(missed)} of the films; {MISSED_COUNT}.")
    return lines


def ratio_text(summary: Summary) -> str | None:
    """The cardiothoracic ratio's error in a sentence; None where there is nothing to compare."""
    ratio = summary.ratio
    if ratio is None:
        return None
    if ratio.error is None:
        text = "no prediction gives one"
    else:
        of = ratio.error.films
        text = f"mean absolute error {ratio.error.text(1, 3)} over {of} film{'' if of == 1 else 's'}"
    if ratio.missing:
        text += f"; {ratio.missing} more where heart or lungs weren't found"
    return f"Cardiothoracic ratio: {text}."


def remarks(summary: Summary) -> list[str]:
    """What stands below the terminal's table: the paper's protocol, the cardiothoracic ratio, and the notes."""
    return [
        f"Paper's protocol (soft, all channels): DSC {summary.dsc.text(100, 1)} %, IoU {summary.iou.text(100, 1)} %.",
        *_ratio_lines(summary),
        *notes(summary),
    ]


def rich_table(summary: Summary) -> Table:
    """The honest protocol for a terminal; `remarks` go below it."""
    from rich import box
    from rich.table import Table

    title = f"{summary.films} {summary.part} film{'' if summary.films == 1 else 's'}, honest protocol"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for position, heading in enumerate(headings(summary)):
        table.add_column(heading, justify="left" if position == 0 else "right", overflow="fold")
    for row in summary.rows:
        table.add_row(*cells(row, summary))
    return table


def markdown_table(summary: Summary) -> str:
    """Both protocols as Markdown."""
    columns = headings(summary)
    lines = [
        f"### Honest protocol: {summary.films} {summary.part} film{'' if summary.films == 1 else 's'}",
        "",
        "Probabilities thresholded at 0.5, per film and structure.",
        "",
        _line(columns),
        _line(["---", *["---:"] * (len(columns) - 1)]),
        *(_line(cells(row, summary)) for row in summary.rows),
        "",
        *_ratio_lines(summary),
        "",
        "### Paper's protocol (Maga 2021)",
        "",
        "Soft probabilities, background channel included where there is one; not comparable with the table above.",
        "",
        _line(["DSC %", "IoU %"]),
        _line(["---:", "---:"]),
        _line([summary.dsc.text(100, 1), summary.iou.text(100, 1)]),
        "",
        "### How to read this",
        "",
        *(f"- {note}" for note in notes(summary)),
    ]
    return "\n".join(lines) + "\n"


def _ratio_lines(summary: Summary) -> list[str]:
    text = ratio_text(summary)
    return [] if text is None else [text]


def _line(values: list[str]) -> str:
    return "| " + " | ".join(values) + " |"
