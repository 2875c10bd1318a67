"""An evaluation's tables, and what a reader must know of their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cxrkit.engine.measures import CASSETTE, FILM_MEASURES, Measure
from cxrkit.metrics.agreement import ENLARGED, Agreement
from cxrkit.report.colours import structure_label
from cxrkit.report.sections import Bullets, Item, Section
from cxrkit.report.summary import Spread, Summary, columns, counted
from cxrkit.report.text_table import NONE, Table

if TYPE_CHECKING:
    from rich.table import Table as RichTable

#: The measures by which candidates are compared: without post-processing, and the masks as they are used.
_COMPARED = ("dice", "iou", "hd95", "assd", "nsd", "dice_after", "hd95_after")
_CTR_ERROR = next(measure for measure in FILM_MEASURES if measure.key == "ctr_error")

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
    if evaluation.selected_on == "masks":
        return f"masks in {evaluation.weights}"
    text = f"{evaluation.weights}{'' if evaluation.full_size else ' weights'} (step {evaluation.step}), "
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
        f"{'Scored' if summary.evaluation.selected_on == 'masks' else 'Weights'}: {selection(summary)}.",
    ]
    if summary.evaluation.full_size:
        lines.append(
            "At the films' own size, not the network's: slightly other scores than those of a run's own films."
        )
    if summary.units == ("px",):
        of = "film" if summary.evaluation.full_size else "network's input"
        lines.append(f"Distances are in pixels of the {of}: the films' pixel spacing isn't known.")
    elif len(summary.units) > 1:
        counts = " and ".join(
            f"{counted(sum(film.unit == unit for film in summary.evaluation.films), 'film')} in {unit}"
            for unit in summary.units
        )
        lines.append(f"Distances: {counts}, since the pixel spacing of some isn't known.")
    if any("nsd" in scores.measures for film in summary.evaluation.films for scores in film.structures.values()):
        unknown = f"; where the spacing isn't known, a film's longer side counts as {CASSETTE:g} mm"
        lines.append(f"NSD's tolerance: {summary.evaluation.tolerance:g} mm{unknown if 'px' in summary.units else ''}.")
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
    return [*lines, *agreement_lines(summary.evaluation.agreement)]


def agreement_lines(found: Agreement | None) -> list[str]:
    """How the cardiothoracic ratio agrees with the true one, in a sentence; none where no film has both."""
    if found is None:
        return []
    parts = [f"bias {signed(found.bias)}"]
    if found.limits is not None:
        parts.append(f"limits of agreement {signed(found.limits[0])} to {signed(found.limits[1])}")
    parts.append(f"coefficient of variation {100 * found.variation:.1f} %")
    return [
        f"Cardiothoracic ratio against the true one: {', '.join(parts)}; both are above {ENLARGED:g}, or both aren't, "
        f"on {100 * found.same_side:.0f} % of {counted(found.films, 'film')}."
    ]


def signed(value: float) -> str:
    """A difference of ratios: `+0.012`."""
    return f"{value:+.3f}".replace("-", "−")


def remarks(summary: Summary) -> list[str]:
    """What stands below the terminal's table: the paper's protocol, measures of whole films, and the notes."""
    paper = [f"{m.label} {spread.text(m)} {m.unit}" for m, spread in _whole_films(summary, "paper")]
    lines = [f"Paper's protocol (soft, all channels): {', '.join(paper)}."] if paper else []
    return [*lines, *whole_film_lines(summary), *notes(summary)]


def side_by_side(summaries: Mapping[str, Summary]) -> tuple[Table, Table]:
    """The honest scores of several candidates by name, a row for each structure and candidate; and their ratios."""
    units = tuple(dict.fromkeys(unit for one in summaries.values() for unit in one.units))
    shown = [(key, unit, m) for key, unit, m in columns(units) if m.key in _COMPARED]
    names = dict.fromkeys(name for one in summaries.values() for name in one.structures)
    cells: dict[tuple[str, str], Mapping[str, Spread]] = {
        (name, candidate): one.structures.get(name, {}) for name in names for candidate, one in summaries.items()
    }
    shown = [column for column in shown if any(column[0] in spreads for spreads in cells.values())]
    rows = tuple(
        (structure_label(name), candidate, *(spreads[key].text(m) if key in spreads else NONE for key, _, m in shown))
        for (name, candidate), spreads in cells.items()
    )
    headings = ("structure", "of", *(measure.heading(unit) for _, unit, measure in shown))
    ratios = tuple(_ratio_row(candidate, one) for candidate, one in summaries.items())
    about = ("of", "CTR error", "bias", "limits of agreement", "CV %", "same side of 0.5 %", "films", "no ratio")
    return Table("", headings, rows, names=2), Table("", about, tuple(row for row in ratios if row))


def _ratio_row(candidate: str, summary: Summary) -> tuple[str, ...]:
    """A candidate's cardiothoracic ratios; () where no film has a true one."""
    error, found = summary.whole.get(("honest", "ctr_error")), summary.evaluation.agreement
    if error is None:
        return ()
    if found is None:
        return (candidate, *[NONE] * 5, "0", str(error.lost))
    limits = NONE if found.limits is None else " to ".join(map(signed, found.limits))
    shares = (f"{100 * found.variation:.1f}", f"{100 * found.same_side:.0f}")
    return (candidate, error.text(_CTR_ERROR), signed(found.bias), limits, *shares, str(found.films), str(error.lost))


def common_notes(summaries: Mapping[str, Summary]) -> list[str]:
    """What a reader must know of scores side by side: what holds of all once, the rest by candidate."""
    each = {name: notes(one) for name, one in summaries.items()}
    shared = [line for line in next(iter(each.values())) if all(line in lines for lines in each.values())]
    own = [f"{name}: {line}" for name, lines in each.items() for line in lines if line not in shared]
    return [*shared, *own]


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
