"""The tables of an ablation's report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cxrkit.metrics.statistics import ALPHA, smallest_p
from cxrkit.report.ablation.cells import ArmNumbers
from cxrkit.report.ablation.effects import LevelPair
from cxrkit.report.ablation.formats import Table
from cxrkit.report.ablation.measures import Measure
from cxrkit.report.ablation.numbers import Numbers
from cxrkit.report.ablation.pairs import Comparison
from cxrkit.report.tables import MISSED_COUNT

if TYPE_CHECKING:
    from rich.table import Table as RichTable

NONE = "–"
#: Columns of the main table, where a run has them; distances of two units have two columns.
_MAIN = (
    *("lungs_dice", "heart_dice", "lungs_hd95", "heart_hd95", "ctr_error"),
    *("paper_dsc", "paper_iou", "paper_dsc_honest_weights", "paper_iou_honest_weights"),
)
SEEDS_SAID = "Mean ± standard deviation over seeds; each seed's value is its mean over the test films."
BOLD_SAID = "Bold: the best mean of the arms that can be ranked."
CHOSEN_SAID = (
    "Runs with the paper's protocol: columns «chosen on test» are of the weights that the test films chose, all others "
    "of the last weights."
)
MISSED_SAID = (
    "Missed: structures, over all films and seeds, whose mask has no pixel in common with the true one; "
    f"{MISSED_COUNT}."
)
FILMS_SAID = (
    "Mean ± standard deviation over test films, and the mean's 95 % bootstrap interval. A film that several seeds "
    "tested counts once, with its mean; for the interval, patients are drawn anew, each with all films."
)
PAIRS_SAID = (
    "Paired over the films and seeds that both arms have, films of one patient with their mean: Wilcoxon's "
    "signed-rank test, corrected by Holm over all pairs of arms in that measure; the effect is the matched-pairs "
    "rank-biserial correlation. The tests are over {items}: they hold for these trained networks, not for others that "
    "other seeds would give. «A higher, seeds»: in how many seeds A has the higher mean."
)
LEVELS_SAID = (
    "Levels of a factor, compared over runs: a run counts once, with its mean over films, and is paired with the run "
    "that differs from it in this factor alone (same seed, same other levels). A − B is the mean ± standard deviation "
    "over these pairs; Wilcoxon's signed-rank test, corrected by Holm over the factor's pairs. {few}Unlike the tests "
    "over films this tells whether a difference outlasts another training. Runs of one seed share their films, so few "
    "seeds tell less than the number of pairs suggests."
)


def main_measures(numbers: Numbers) -> list[Measure]:
    """The measures of the main table: lungs, heart, ratio and the paper's; of every structure where those aren't."""
    if any(measure.key == "lungs_dice" for measure in numbers.measures):
        place = {key: index for index, key in enumerate(_MAIN)}
        chosen = [m for m in numbers.measures if _without_unit(m.key) in place]
        return sorted(chosen, key=lambda measure: place[_without_unit(measure.key)])
    return [
        m
        for m in numbers.measures
        if _without_unit(m.key).endswith(("_dice", "_hd95")) or m.protocol == "paper" or m.key == "ctr_error"
    ]


def _without_unit(key: str) -> str:
    return key.removesuffix("_mm").removesuffix("_px")


def seeds_table(numbers: Numbers) -> Table:
    """Every arm, mean ± std over seeds."""
    measures = main_measures(numbers)

    def cell(arm: ArmNumbers, measure: Measure) -> str:
        found = arm.cells[measure.key]
        if found.mean is None:
            return f"{NONE} ({found.lost} lost)" if found.lost else NONE
        spread = "" if found.std is None else f" ± {measure.text(found.std)}"
        return f"{measure.text(found.mean)}{spread}" + (f" ({found.lost} lost)" if found.lost else "")

    missed = any(arm.missed for arm in numbers.arms)
    rows = [
        (
            *(arm.label, f"{arm.finished}/{len(arm.runs)}"),
            *(cell(arm, measure) for measure in measures),
            *([str(arm.missed)] if missed else []),
        )
        for arm in numbers.arms
    ]
    bold = frozenset(
        (index, column)
        for column, measure in enumerate(measures, start=2)
        for index, arm in enumerate(numbers.arms)
        if arm in _told_best(numbers, measure)
    )
    said = [SEEDS_SAID, *([BOLD_SAID] if bold else [])]
    if any(measure.key == "paper_dsc_honest_weights" for measure in measures):
        said.append(CHOSEN_SAID)
    headings = ["arm", "seeds", *(measure.label for measure in measures)]
    if missed:
        said.append(MISSED_SAID)
        headings.append("missed")
    return Table(" ".join(said), tuple(headings), tuple(rows), bold)


def _told_best(numbers: Numbers, measure: Measure) -> tuple[ArmNumbers, ...]:
    """The best arms of several; none where all are equal."""
    ground = numbers.grounds[measure.key]
    best = ground.best
    alone = len(ground.ranked) + len(ground.left_out) < 2
    return () if alone or len(best) == len(ground.ranked) > 1 else best


def films_table(numbers: Numbers) -> Table:
    """Every arm in the primary measures, with the spread over films."""

    def cell(arm: ArmNumbers, measure: Measure) -> str:
        found = arm.cells[measure.key]
        if not found.films:
            return NONE
        mean = sum(found.films.values()) / len(found.films)
        text = measure.text(mean)
        text += "" if found.film_std is None else f" ± {measure.text(found.film_std)}"
        if found.interval is not None:
            text += f" [{measure.text(found.interval.low)}, {measure.text(found.interval.high)}]"
        return text

    counts = [max((len(cell.films) for cell in arm.cells.values()), default=0) for arm in numbers.arms]
    rows = tuple(
        (arm.label, str(count), *(cell(arm, measure) for measure in numbers.primary))
        for arm, count in zip(numbers.arms, counts, strict=True)
    )
    return Table(FILMS_SAID, ("arm", "films", *(m.label for m in numbers.primary)), rows)


def pairs_table(numbers: Numbers, comparisons: Sequence[Comparison]) -> Table:
    """Comparisons of arms, a line each."""
    seeds = "A higher, seeds"
    headings = ("measure", "arm A", "arm B", "A − B", "95 % interval", seeds, "effect", "p", "p (Holm)", numbers.items)
    return Table(
        PAIRS_SAID.format(items=numbers.items),
        headings,
        tuple(_pair(numbers, comparison) for comparison in comparisons),
    )


def _pair(numbers: Numbers, comparison: Comparison) -> tuple[str, ...]:
    measure, test = numbers.measure(comparison.measure), comparison.test
    names = (measure.label, comparison.first.label, comparison.second.label)
    if test is None or comparison.corrected is None:
        return (*names, "not comparable", *[NONE] * 5, "0")
    interval = f"[{measure.text(test.interval.low)}, {measure.text(test.interval.high)}]" if test.interval else NONE
    return (
        *names,
        f"{measure.scale * test.difference:+.{measure.digits + 1}f}",
        interval,
        f"{comparison.seeds_above} of {len(comparison.by_seed)}",
        f"{test.effect:+.2f}",
        p_text(test.p),
        p_text(comparison.corrected),
        str(test.items),
    )


def primary_comparisons(numbers: Numbers) -> tuple[list[Comparison], list[Comparison]]:
    """The comparisons in primary measures: of arms that differ in a single factor, and all others."""
    keys = {measure.key for measure in numbers.primary}
    told: list[Comparison] = []
    rest: list[Comparison] = []
    for c in numbers.comparisons:
        if c.measure in keys:
            single = sum(c.first.levels[factor] != c.second.levels[factor] for factor in c.first.levels) == 1
            (told if single else rest).append(c)
    return told, rest


def effects_table(numbers: Numbers) -> Table:
    """Each level of each factor, over the runs that the levels can be compared on."""
    keys = [measure.key for measure in numbers.primary]
    by_level = {(e.factor, e.level, e.measure): e for e in numbers.effects}
    rows = []
    for factor, level in dict.fromkeys((effect.factor, effect.level) for effect in numbers.effects):
        found = [by_level.get((factor, level, key)) for key in keys]
        cells = []
        for key, effect in zip(keys, found, strict=True):
            measure = numbers.measure(key)
            spread = "" if effect is None or effect.std is None else f" ± {measure.text(effect.std)}"
            cells.append(NONE if effect is None else f"{measure.text(effect.mean)}{spread}")
        planned = max(f.planned for f in numbers.factor_effects if f.factor == factor)
        counts = dict.fromkeys(str(effect.runs) for effect in found if effect is not None)
        rows.append((factor, level, f"{' or '.join(counts)} of {planned}", *cells))
    caption = (
        "Main effects: mean ± standard deviation over runs, only of those combinations of the other factors and a seed "
        "that every level has, and on the films that all of these were tested on."
    )
    return Table(caption, ("factor", "level", "runs", *(m.label for m in numbers.primary)), tuple(rows))


def levels_table(numbers: Numbers) -> Table:
    """Every pair of each factor's levels, over runs."""
    rows = []
    for pair in numbers.level_pairs:
        measure, test = numbers.measure(pair.measure), pair.test
        spread = "" if pair.std is None else f" ± {measure.scale * pair.std:.{measure.digits + 1}f}"
        rows.append(
            (
                measure.label,
                pair.factor,
                pair.first,
                pair.second,
                f"{measure.scale * test.difference:+.{measure.digits + 1}f}{spread}",
                f"{test.above} of {test.items}",
                f"{test.effect:+.2f}",
                p_text(test.p),
                p_text(pair.corrected),
            )
        )
    few = _too_few(numbers.level_pairs)
    said = f"There are too few runs for any corrected p below {ALPHA} in {', '.join(few)}. " if few else ""
    headings = ("measure", "factor", "level A", "level B", "A − B", "A higher", "effect", "p", "p (Holm)")
    return Table(LEVELS_SAID.format(few=said), headings, tuple(rows))


def _too_few(pairs: Sequence[LevelPair]) -> list[str]:
    """The factors none of whose pairs can be significant, whatever the runs' scores are."""
    tests: dict[tuple[str, str], list[int]] = {}
    for pair in pairs:
        tests.setdefault((pair.factor, pair.measure), []).append(pair.test.items)
    return list(dict.fromkeys(f for (f, _), items in tests.items() if smallest_p(max(items)) * len(items) >= ALPHA))


def p_text(p: float) -> str:
    """`0.034`, `<0.001`."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


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
