"""An evaluation's tables, and what a reader must know of their numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cxrkit.engine.measures import FILM_MEASURES
from cxrkit.report.colours import structure_label
from cxrkit.report.sections import Bullets, Section
from cxrkit.report.summary import Summary, columns, counted
from cxrkit.report.text_table import NONE, Table

if TYPE_CHECKING:
    from rich.table import Table as RichTable

#: How films on which a structure was missed are counted.
MISSED_COUNT = "they count with a Dice of 0 and, where nothing was found, with the input's diagonal as distance"


def score_table(summary: Summary) -> Table:
    """The honest protocol: a row for each structure."""
    shown = [column for column in columns(summary.units) if any(column[0] in s for s in summary.structures.values())]
    rows = tuple(
        (structure_label(name), *(spreads[key].text(m) if key in spreads else NONE for key, _, m in shown))
        for name, spreads in summary.structures.items()
    )
    return Table("", ("structure", *(measure.heading(unit) for _, unit, measure in shown)), rows)


def _paper_table(summary: Summary) -> Table:
    found = [(m, summary.whole[m.protocol, m.key]) for m in FILM_MEASURES if ("paper", m.key) in summary.whole]
    found = [(measure, spread) for measure, spread in found if measure.protocol == "paper"]
    headings, row = (measure.heading() for measure, _ in found), (spread.text(measure) for measure, spread in found)
    return Table("", tuple(headings), (tuple(row),), names=0)


def selection(summary: Summary) -> str:
    """Which weights were evaluated and how they were chosen; says so where that flatters the scores."""
    evaluation = summary.evaluation
    text = f"{evaluation.weights} weights (step {evaluation.step}), "
    return text + {
        "test": "chosen by their score on the test films themselves, as in the paper's released code: these scores are "
        "optimistic",
        "nothing": "the last of the training: nothing was chosen",
    }.get(evaluation.selected_on, evaluation.selection)


def notes(summary: Summary) -> list[str]:
    """What a reader must know of the numbers, a sentence each."""
    total = len(summary.evaluation.films)
    lines = [
        f"Mean ± standard deviation over films (not over runs), {summary.films}.",
        f"Weights: {selection(summary)}.",
    ]
    if summary.units == ("px",):
        lines.append("Distances are in pixels of the network's input: the films' pixel spacing isn't known.")
    elif len(summary.units) > 1:
        counts = " and ".join(
            f"{counted(sum(film.unit == unit for film in summary.evaluation.films), 'film')} in {unit}"
            for unit in summary.units
        )
        lines.append(f"Distances: {counts}, since the pixel spacing of some isn't known.")
    with_mask = {name: sum(name in film.structures for film in summary.evaluation.films) for name in summary.structures}
    if fewer := [f"{structure_label(name)} {count}" for name, count in with_mask.items() if count < total]:
        lines.append(f"Films with a true mask, where not all {total} have one: {', '.join(fewer)}.")
    if missed := [f"{structure_label(name)} on {count}" for name, count in summary.missed.items() if count]:
        lines.append(f"Missed altogether: {', '.join(missed)} of the films; {MISSED_COUNT}.")
    return lines


def whole_film_lines(summary: Summary) -> list[str]:
    """The honest measures of whole films, a sentence each."""
    lines = []
    for measure in FILM_MEASURES:
        spread = summary.whole.get((measure.protocol, measure.key))
        if measure.protocol == "honest" and spread is not None:
            over = f"{spread.text(measure)} over {counted(spread.films, 'film')}" if spread.films else "no film has one"
            lost = f"; no value on {spread.lost} more, where a structure was not found" if spread.lost else ""
            lines.append(f"{measure.description[0].upper()}{measure.description[1:]}: {over}{lost}.")
    return lines


def remarks(summary: Summary) -> list[str]:
    """What stands below the terminal's table: the paper's protocol, measures of whole films, and the notes."""
    paper = _paper_table(summary)
    cells = ", ".join(
        f"{heading.removesuffix(' %')} {cell} %" for heading, cell in zip(paper.headings, paper.rows[0], strict=True)
    )
    lines = [f"Paper's protocol (soft, all channels): {cells}."] if cells else []
    return [*lines, *whole_film_lines(summary), *notes(summary)]


def rich_table(summary: Summary) -> RichTable:
    """The honest protocol for a terminal; `remarks` go below it."""
    return score_table(summary).rich(f"{summary.films}, honest protocol")


def score_sections(summary: Summary) -> list[Section]:
    """Both protocols and how to read them."""
    return [
        Section(
            f"Honest protocol: {summary.films}",
            (
                "Probabilities thresholded at 0.5, per film and structure.",
                score_table(summary),
                *whole_film_lines(summary),
            ),
            level=3,
        ),
        Section(
            "Paper's protocol (Maga 2021)",
            (
                "Soft probabilities, background channel included if there is one; not comparable with the table above.",
                _paper_table(summary),
            ),
            level=3,
        ),
        Section("How to read this", (Bullets([("", note) for note in notes(summary)]),), level=3),
    ]
