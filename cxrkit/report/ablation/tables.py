"""The tables of an ablation's report: for a terminal, Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cxrkit.report.ablation.numbers import ArmNumbers, Comparison, Measure, Numbers, film_values

if TYPE_CHECKING:
    from rich.table import Table as RichTable

#: Columns of the main table, where a run has them.
_MAIN = ("lungs_dice", "heart_dice", "lungs_hd95", "heart_hd95", "ctr_error", "paper_dsc", "paper_iou")
SEEDS_SAID = "Mean ± standard deviation over seeds; each seed's value is its mean over the test films."
FILMS_SAID = (
    "Mean ± standard deviation over test films, and the mean's 95 % bootstrap interval. A film that several seeds "
    "tested counts once, with its mean."
)
PAIRS_SAID = (
    "Paired over the films and seeds that both arms have: Wilcoxon's signed-rank test, corrected by Holm over all "
    "pairs of arms in that measure; the effect is the matched-pairs rank-biserial correlation."
)


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


def main_measures(numbers: Numbers) -> list[Measure]:
    """The measures of the main table: lungs, heart, ratio and the paper's; of every structure where those aren't."""
    known = {measure.key for measure in numbers.measures}
    if "lungs_dice" in known:
        keys = [key for key in _MAIN if key in known]
    else:
        keys = [m.key for m in numbers.measures if m.key.endswith(("_dice", "_hd95")) or m.paper]
    return [numbers.measure(key) for key in keys]


def seeds_table(numbers: Numbers) -> Table:
    """Every arm, mean ± std over seeds."""
    measures = main_measures(numbers)

    def cell(arm: ArmNumbers, measure: Measure) -> str:
        found = arm.cells[measure.key]
        if found.mean is None:
            return "—"
        spread = "" if found.std is None else f" ± {measure.text(found.std)}"
        return f"{measure.text(found.mean)}{spread}" + (f" ({found.lost} lost)" if found.lost else "")

    rows = [
        (arm.arm.label, f"{arm.finished}/{len(arm.runs)}", *(cell(arm, measure) for measure in measures))
        for arm in numbers.arms
    ]
    bold = {
        (index, column)
        for column, measure in enumerate(measures, start=2)
        for index, arm in enumerate(numbers.arms)
        if arm is numbers.best(measure.key)
    }
    headings = ("arm", "seeds", *(measure.label for measure in measures))
    return Table(SEEDS_SAID, headings, tuple(rows), frozenset(bold) if len(numbers.arms) > 1 else frozenset())


def films_table(numbers: Numbers) -> Table:
    """Every arm in the primary measures, with the spread over films."""

    def cell(arm: ArmNumbers, measure: Measure) -> str:
        found = arm.cells[measure.key]
        if not found.films:
            return "—"
        mean = sum(found.films.values()) / len(found.films)
        text = measure.text(mean)
        text += "" if found.film_std is None else f" ± {measure.text(found.film_std)}"
        if found.interval is not None:
            text += f" [{measure.text(found.interval.low)}, {measure.text(found.interval.high)}]"
        return text

    counts = [max((len(cell.films) for cell in arm.cells.values()), default=0) for arm in numbers.arms]
    rows = tuple(
        (arm.arm.label, str(count), *(cell(arm, measure) for measure in numbers.primary))
        for arm, count in zip(numbers.arms, counts, strict=True)
    )
    return Table(FILMS_SAID, ("arm", "films", *(m.label for m in numbers.primary)), rows)


def pairs_table(numbers: Numbers, comparisons: Sequence[Comparison]) -> Table:
    """Comparisons of arms, a line each."""
    rows = []
    for comparison in comparisons:
        measure, test = numbers.measure(comparison.measure), comparison.test
        between = f"[{measure.text(test.interval.low)}, {measure.text(test.interval.high)}]" if test.interval else "—"
        rows.append(
            (
                measure.label,
                comparison.first.label,
                comparison.second.label,
                f"{measure.scale * test.difference:+.{measure.digits + 1}f}",
                between,
                f"{test.effect:+.2f}",
                p_text(test.p),
                p_text(comparison.corrected),
                str(test.items),
            )
        )
    headings = ("measure", "arm A", "arm B", "A − B", "95 % interval", "effect", "p", "p (Holm)", "films")
    return Table(PAIRS_SAID, headings, tuple(rows))


def told_comparisons(numbers: Numbers) -> list[Comparison]:
    """The comparisons that answer the ablation's question: of arms that differ in a single factor."""
    return [c for c in numbers.comparisons if sum(c.first.levels[f] != c.second.levels[f] for f in c.first.levels) == 1]


def effects_table(numbers: Numbers) -> Table:
    """Each level of each factor, over all runs that have it."""
    keys = [measure.key for measure in numbers.primary]
    levels = dict.fromkeys((effect.factor, effect.level) for effect in numbers.effects)
    by_level = {(e.factor, e.level, e.measure): e for e in numbers.effects}
    rows = []
    for factor, level in levels:
        cells, runs = [], 0
        for key in keys:
            effect, measure = by_level[factor, level, key], numbers.measure(key)
            runs = effect.runs
            spread = "" if effect.std is None else f" ± {measure.text(effect.std)}"
            cells.append(f"{measure.text(effect.mean)}{spread}")
        rows.append((factor, level, str(runs), *cells))
    caption = "Main effects: mean ± standard deviation over all finished runs with that level, whatever their others."
    return Table(caption, ("factor", "level", "runs", *(m.label for m in numbers.primary)), tuple(rows))


def p_text(p: float) -> str:
    """`0.034`, `<0.001`."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


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
        rf"  \label{{tab:{label}}}",
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
    "—": "--",
    "·": r"$\cdot$",
    "×": r"$\times$",
    "<": r"$<$",
    ">": r"$>$",
}


def escape_latex(text: str) -> str:
    """Text whose special characters LaTeX prints."""
    return "".join(_LATEX.get(character, character) for character in text)


def scores_csv(numbers: Numbers) -> str:
    """A line for every film, seed and measure; what failed or is missing has none, see `runs.csv`."""
    factors = [factor.name for factor in numbers.results.plan.factors]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["arm", *factors, "seed", "protocol", "film", "measure", "value"])
    for arm in numbers.arms:
        for run in arm.runs:
            for measure in numbers.measures:
                for film, value in film_values(run, measure).items():
                    levels = [arm.arm.levels[name] for name in factors]
                    protocol = "paper" if measure.paper else "honest"
                    writer.writerow(
                        [arm.arm.label, *levels, run.seed, protocol, film, measure.key, "" if value is None else value]
                    )
    return stream.getvalue()


def runs_csv(numbers: Numbers) -> str:
    """A line for every planned run: its state, time, error, and means over films."""
    factors = [factor.name for factor in numbers.results.plan.factors]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    keys = [measure.key for measure in numbers.measures]
    writer.writerow(["arm", *factors, "seed", "state", "seconds", "error", *keys])
    for arm in numbers.arms:
        for run in arm.runs:
            levels = [arm.arm.levels[name] for name in factors]
            means = [arm.cells[key].seeds.get(run.seed, "") for key in keys]
            writer.writerow([arm.arm.label, *levels, run.seed, run.state, run.seconds, run.error or "", *means])
    return stream.getvalue()


def comparisons_csv(numbers: Numbers) -> str:
    """A line for every pair of arms and primary measure, unrounded."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["measure", "a", "b", "films", "differing", "difference", "low", "high", "effect", "p", "p_holm"])
    for c in numbers.comparisons:
        between = (c.test.interval.low, c.test.interval.high) if c.test.interval else ("", "")
        row = [c.measure, c.first.label, c.second.label, c.test.items, c.test.differing, c.test.difference, *between]
        writer.writerow([*row, c.test.effect, c.test.p, c.corrected])
    return stream.getvalue()


def rich_arms(numbers: Numbers) -> RichTable:
    """The main table for a terminal."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    table = seeds_table(numbers)
    made = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column, heading in enumerate(table.headings):
        made.add_column(heading, justify="left" if column == 0 else "right", overflow="fold")
    for index, row in enumerate(table.rows):
        incomplete = numbers.arms[index].missing
        cells = [Text(text, style="bold" if (index, column) in table.bold else "") for column, text in enumerate(row)]
        if incomplete:
            cells[1].stylize("bold red")
        made.add_row(*cells)
    return made
