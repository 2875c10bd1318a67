"""An evaluation's tables, and what a reader must know of their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cxrkit.engine.measures import FILM_MEASURES, Measure
from cxrkit.report.colours import structure_label
from cxrkit.report.sections import Bullets, Item, Section
from cxrkit.report.summary import Spread, Summary, columns, counted
from cxrkit.report.text_table import NONE, Table

if TYPE_CHECKING:
    from rich.table import Table as RichTable

#: How films on which a structure was missed are counted.
MISSED_COUNT = "they count with a Dice of 0 and, where nothing was found, with the input's diagonal as distance"


def score_table(summary: Summary, *, after: bool = False) -> Table:
    """The honest protocol: a row for each structure, of several datasets of all films and of each dataset's.

    `after` post-processing, it has no columns if that isn't known.
    """
    shown = [
        (key, unit, measure)
        for key, unit, measure in columns(summary.units)
        if measure.after == after and any(key in spreads for spreads in summary.structures.values())
    ]
    rows = tuple(
        (*of, structure_label(name), *(spreads[key].text(m) if key in spreads else NONE for key, _, m in shown))
        for of, one in summary.rows()
        for name, spreads in one.structures.items()
    )
    names = (*(["films"] if summary.datasets else []), "structure")
    headings = (*names, *(measure.heading(unit) for _, unit, measure in shown))
    return Table("", headings, rows if shown else (), names=len(names))


def _whole_films(summary: Summary, protocol: str) -> list[tuple[Measure[Any], Spread]]:
    """A protocol's measures of whole films."""
    keys = [(measure, (measure.protocol, measure.key)) for measure in FILM_MEASURES if measure.protocol == protocol]
    return [(measure, summary.whole[key]) for measure, key in keys if key in summary.whole]


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
        f"Mean ± sample standard deviation (ddof 1) over films, not over runs: {summary.films}.",
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
    if summary.datasets and fewer:
        lines.append(
            "What a film has no mask of is left out of its scores, so those over all channels aren't comparable."
        )
    if missed := [f"{structure_label(name)} on {count}" for name, count in summary.missed.items() if count]:
        lines.append(f"Missed altogether: {', '.join(missed)} of the films; {MISSED_COUNT}.")
    return lines


def whole_film_lines(summary: Summary) -> list[str]:
    """The honest measures of whole films, a sentence each."""
    lines = []
    for measure, spread in _whole_films(summary, "honest"):
        over = f"{spread.text(measure)} over {counted(spread.films, 'film')}" if spread.films else "no film has one"
        lost = f"; no value on {spread.lost} more, where a structure was not found" if spread.lost else ""
        lines.append(f"{measure.description[0].upper()}{measure.description[1:]}: {over}{lost}.")
    return lines


def remarks(summary: Summary) -> list[str]:
    """What stands below the terminal's table: the paper's protocol, measures of whole films, and the notes."""
    paper = [f"{m.label} {spread.text(m)} {m.unit}" for m, spread in _whole_films(summary, "paper")]
    lines = [f"Paper's protocol (soft, all channels): {', '.join(paper)}."] if paper else []
    return [*lines, *whole_film_lines(summary), *notes(summary)]


def rich_tables(summary: Summary) -> list[RichTable]:
    """The honest protocol for a terminal, without and with post-processing; `remarks` go below it."""
    after = score_table(summary, after=True)
    tables = [score_table(summary).rich(f"{summary.films}, honest protocol")]
    return [*tables, after.rich(f"after post-processing ({summary.evaluation.postprocess})")] if after.rows else tables


def score_sections(summary: Summary) -> list[Section]:
    """Both protocols and how to read them."""
    paper = _whole_films(summary, "paper")
    names = ("films",) if summary.datasets else ()
    headings = (*names, *(m.heading() for m, _ in paper))
    rows = tuple((*of, *(spread.text(m) for m, spread in _whole_films(one, "paper"))) for of, one in summary.rows())
    thresholded = "Probabilities thresholded at 0.5, per film and structure."
    soft = "Soft probabilities, background channel included if there is one; not comparable with the table above."
    items: dict[str, Sequence[Item]] = {
        f"Honest protocol: {summary.films}": (thresholded, score_table(summary), *whole_film_lines(summary)),
        f"After post-processing: {summary.evaluation.postprocess}": (score_table(summary, after=True),),
        "Paper's protocol (Maga 2021)": (soft, Table("", headings, rows, names=len(names))),
        "How to read this": (Bullets([("", note) for note in notes(summary)]),),
    }
    return [
        Section(title, content, level=3)
        for title, content in items.items()
        if not (isinstance(content[0], Table) and not content[0].rows)
    ]
