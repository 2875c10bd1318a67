"""The tables of an ablation's report."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from cxrkit.metrics.statistics import ALPHA, PairedTest, sample_std, smallest_p
from cxrkit.report.ablation.cells import ArmNumbers
from cxrkit.report.ablation.columns import Column
from cxrkit.report.ablation.differences import Comparison, LevelPair
from cxrkit.report.ablation.numbers import Numbers
from cxrkit.report.summary import counted
from cxrkit.report.tables import MISSED_COUNT
from cxrkit.report.text_table import NONE, Table

OVER_SEEDS = "Mean ± sample standard deviation (ddof 1) over seeds; each seed's value is its mean over the test films."
_BOLD = "Bold: the best mean of the arms that can be ranked."
_CHOSEN = (
    "Runs with the paper's protocol: columns “chosen on test” are of the weights that the test films chose, all others "
    "of the last weights."
)
_MISSED = (
    "Missed: structures, over all films and seeds, whose mask has no pixel in common with the true one; "
    f"{MISSED_COUNT}."
)
_OVER_FILMS = (
    "Mean ± sample standard deviation (ddof 1) over test films, and the mean's 95 % bootstrap interval. A film that "
    "several seeds tested counts once, with its mean; for the interval, patients are drawn with replacement, each with "
    "all their films."
)
_PAIRS = (
    "Paired over the films and seeds that both arms have, where films of one patient count once, with their mean: "
    "Wilcoxon's signed-rank test, Holm-corrected over all pairs of arms in that measure; the effect is the "
    "matched-pairs rank-biserial correlation. The tests are over {items}: they hold for these trained networks, not "
    "for others that other seeds would give. “A higher (seeds)”: with how many seeds A has the higher mean."
)
_LEVELS = (
    "Levels of a factor, compared over runs: a run counts once, with its mean over films, and is paired with the run "
    "that differs from it in this factor alone (same seed, same other levels). A − B is the mean ± sample standard "
    "deviation (ddof 1) over these pairs, tested by Wilcoxon's signed-rank test, Holm-corrected over the factor's "
    "pairs. {few}Unlike the tests over films this shows whether a difference holds for another training. Runs of one "
    "seed share their films, so few seeds show less than the number of pairs suggests."
)
_EFFECTS = (
    "Main effects: mean ± sample standard deviation (ddof 1) over runs, using only combinations of the other factors "
    "and a seed that every level has, and the films that all of these runs were tested on."
)


def seeds_table(numbers: Numbers, columns: Sequence[Column] | None = None) -> Table:
    """A row for each arm, mean ± standard deviation over seeds, in some columns; None: the main ones."""
    whole = columns is None
    columns = numbers.main if columns is None else columns

    def text(arm: ArmNumbers, column: Column) -> str:
        cell = arm.cells[column.key]
        mean = NONE if cell.mean is None else column.measure.text(cell.mean, cell.std)
        return mean + (f" ({cell.lost} lost)" if cell.lost else "")

    missed = whole and any(arm.missed for arm in numbers.arms)
    rows = tuple(
        (
            *(arm.label, f"{arm.finished}/{len(arm.runs)}"),
            *(text(arm, column) for column in columns),
            *([str(arm.missed)] if missed else []),
        )
        for arm in numbers.arms
    )
    bold = frozenset(
        (row, place)
        for place, column in enumerate(columns, start=2)
        for row, arm in enumerate(numbers.arms)
        if arm in _outstanding(numbers, column)
    )
    chosen = any(column.measure.protocol != column.selection for column in columns)
    captions = {OVER_SEEDS: True, _BOLD: bool(bold), _CHOSEN: chosen, _MISSED: missed}
    return Table(
        " ".join(caption for caption, applies in captions.items() if applies),
        ("arm", "seeds", *(column.label for column in columns), *(["missed"] if missed else [])),
        rows,
        bold,
        frozenset((row, 1) for row, arm in enumerate(numbers.arms) if arm.unfinished),
    )


def _outstanding(numbers: Numbers, column: Column) -> tuple[ArmNumbers, ...]:
    """The best arms of several; none where all are equal."""
    ranking = numbers.rankings[column.key]
    alone = len(ranking.ranked) + len(ranking.left_out) < 2
    return () if alone or len(ranking.best) == len(ranking.ranked) > 1 else ranking.best


def films_table(numbers: Numbers) -> Table:
    """Every arm in the primary columns, with the spread over films."""
    rows = []
    for arm in numbers.arms:
        count = max((len(cell.films) for cell in arm.cells.values()), default=0)
        texts = [_over_films(arm, column, count) for column in numbers.primary]
        rows.append((arm.label, str(count), *texts))
    return Table(_OVER_FILMS, ("arm", "films", *(c.label for c in numbers.primary)), tuple(rows))


def _over_films(arm: ArmNumbers, column: Column, count: int) -> str:
    cell, text = arm.cells[column.key], column.measure.text
    if not (films := list(cell.films.values())):
        return NONE
    mean = text(sum(films) / len(films), cell.film_std)
    interval = "" if cell.interval is None else f" [{text(cell.interval.low)}, {text(cell.interval.high)}]"
    return mean + interval + (f" ({counted(len(films), 'film')})" if len(films) < count else "")


def pairs_table(numbers: Numbers, comparisons: Sequence[Comparison]) -> Table:
    """Comparisons of arms, a row for each."""
    seeds = "A higher (seeds)"
    headings = ("measure", "arm A", "arm B", "A − B", "95 % interval", seeds, "effect", "p", "p (Holm)", numbers.items)
    return Table(
        _PAIRS.format(items=numbers.items), headings, tuple(map(partial(_pair, numbers), comparisons)), names=3
    )


def _pair(numbers: Numbers, comparison: Comparison) -> tuple[str, ...]:
    column, test = comparison.column, comparison.test
    names = (column.label, comparison.first.label, comparison.second.label)
    if test is None or comparison.corrected is None:
        return (*names, "not comparable", *[NONE] * 5, "0")
    text, interval = column.measure.text, test.interval
    return (
        *names,
        _difference(column, test),
        f"[{text(interval.low)}, {text(interval.high)}]" if interval else NONE,
        f"{comparison.seeds_above} of {len(comparison.by_seed)}",
        *_tested(test, comparison.corrected),
        str(test.items),
    )


def _difference(column: Column, test: PairedTest, std: float | None = None) -> str:
    """With one more digit than values have."""
    scale, digits = column.measure.scale, column.measure.digits + 1
    spread = "" if std is None else f" ± {scale * std:.{digits}f}"
    return f"{scale * test.difference:+.{digits}f}{spread}"


def _tested(test: PairedTest, corrected: float) -> tuple[str, ...]:
    """Effect, p, and corrected p."""
    return f"{test.effect:+.2f}", *("<0.001" if p < 0.001 else f"{p:.3f}" for p in (test.p, corrected))


def primary_comparisons(numbers: Numbers) -> tuple[list[Comparison], list[Comparison]]:
    """The comparisons in primary columns: of arms that differ in a single factor, and all others."""
    single: list[Comparison] = []
    rest: list[Comparison] = []
    for c in numbers.comparisons:
        if c.column in numbers.primary:
            differing = sum(c.first.levels[factor] != c.second.levels[factor] for factor in c.first.levels)
            (single if differing == 1 else rest).append(c)
    return single, rest


def effects_table(numbers: Numbers) -> Table | None:
    """Each level of each factor, over the runs that the levels can be compared on; None if there is no effect."""
    rows = []
    for factor in dict.fromkeys(effects.factor for effects in numbers.effects if effects.levels):
        effects = {one.column.key: one for one in numbers.effects if one.factor == factor}
        planned = max(one.planned for one in effects.values())
        for level in dict.fromkeys(level for one in effects.values() for level in one.levels):
            found = [effects[column.key].levels.get(level) for column in numbers.primary]
            counts = dict.fromkeys(str(len(values)) for values in found if values)
            cells = [
                column.measure.text(float(np.mean(values)), sample_std(values)) if values else NONE
                for column, values in zip(numbers.primary, found, strict=True)
            ]
            rows.append((factor, level, f"{' or '.join(counts)} of {planned}", *cells))
    headings = ("factor", "level", "runs", *(column.label for column in numbers.primary))
    return Table(_EFFECTS, headings, tuple(rows), names=2) if rows else None


def levels_table(numbers: Numbers) -> Table | None:
    """Every pair of each factor's levels, over runs; None where there is no pair."""
    rows = []
    for pair in numbers.level_pairs:
        column, test = pair.column, pair.test
        names = (column.label, pair.factor, pair.first, pair.second)
        difference = _difference(column, test, pair.std)
        rows.append((*names, difference, f"{test.above} of {test.items}", *_tested(test, pair.corrected)))
    few = ", ".join(_too_few(numbers.level_pairs))
    remark = f"There are too few runs for any corrected p below {ALPHA} in {few}. " if few else ""
    headings = ("measure", "factor", "level A", "level B", "A − B", "A higher", "effect", "p", "p (Holm)")
    return Table(_LEVELS.format(few=remark), headings, tuple(rows), names=4) if rows else None


def _too_few(pairs: Sequence[LevelPair]) -> list[str]:
    """The factors none of whose pairs can be significant, whatever the runs' scores are."""
    tests: dict[tuple[str, str], list[int]] = {}
    for pair in pairs:
        tests.setdefault((pair.factor, pair.column.key), []).append(pair.test.items)
    return list(dict.fromkeys(f for (f, _), items in tests.items() if smallest_p(max(items)) * len(items) >= ALPHA))


def how_to_read(numbers: Numbers) -> str:
    """The measures of the main table in a paragraph."""
    parts = []
    for protocol, name in (
        ("honest", "Honest measures, at a threshold of 0.5"),
        ("paper", "The paper's, of soft probabilities"),
    ):
        measures = dict.fromkeys(c.measure for c in numbers.main if c.measure.protocol == protocol)
        if measures:
            parts.append(f"{name}: {', '.join(f'{m.label} ({m.description})' for m in measures)}.")
    return " ".join(parts)
