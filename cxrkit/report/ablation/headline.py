"""What an ablation shows, in sentences that claim no more than its tests do."""

from __future__ import annotations

from typing import Literal

from cxrkit.metrics.statistics import ALPHA, smallest_p
from cxrkit.report.ablation.columns import Column
from cxrkit.report.ablation.differences import Comparison
from cxrkit.report.ablation.numbers import Numbers
from cxrkit.report.ablation.ranking import Ranking
from cxrkit.report.summary import counted, listed

TESTS_HOLD = (
    "The tests are over {items}: they hold for these trained networks. How much other seeds would change is shown by "
    "the spread over seeds."
)

Verdict = Literal["contrary", "nothing", "not with every seed", "better"]
#: The first is the worst for the best arm.
_LEAST_FIRST: tuple[Verdict, ...] = ("contrary", "nothing", "not with every seed", "better")
_TESTED = f"(p < {ALPHA}, Holm-corrected)"


def _verdict(duel: Comparison) -> Verdict:
    """Of a best arm against a rival: `better` where mean, ranks and every seed are for the best arm, `contrary` where
    the ranks aren't.
    """
    sign, test = (1 if duel.column.measure.higher_is_better else -1), duel.test
    if test is None or duel.corrected is None or duel.corrected >= ALPHA:
        return "nothing"
    if sign * test.effect < 0:
        return "contrary"
    if sign * test.difference <= 0:
        return "nothing"
    return "better" if all(sign * lead > 0 for lead in duel.by_seed.values()) else "not with every seed"


def headline(numbers: Numbers) -> list[str]:
    """A sentence for each primary column that several arms have."""
    sentences = [sentence for column in numbers.primary if (sentence := _sentence(numbers, column))]
    tested = any("Holm" in sentence for sentence in sentences)
    return [*sentences, *([TESTS_HOLD.format(items=numbers.items)] if tested else [])]


def _sentence(numbers: Numbers, column: Column) -> str | None:
    ranking, higher = numbers.rankings[column.key], column.measure.higher_is_better
    if sum(bool(arm.cells[column.key].values) for arm in numbers.arms) < 2:
        return None
    if ranking.best_mean is None:
        return f"{column.label}: the arms can't be compared: {ranking.problem}."
    best = ranking.best
    names = " and ".join(arm.label for arm in best)
    text = f"{'Highest' if higher else 'Lowest'} {column.label}: {names} ({column.measure.text(ranking.best_mean)}"
    seeds = ", ".join(str(seed) for seed in ranking.seeds)
    text += f" on the films of seed {seeds} that all ranked arms share)" if ranking.shared else ")"
    if len(ranking.ranked) == 1:
        text += ", the only arm that can be ranked"
    elif len(best) == len(ranking.ranked):
        text += ": a tie"
    else:
        text += (", a tie" if len(best) > 1 else "") + ", " + _evidence(numbers, ranking)
    left_out = listed([f"{label} ({why})" for label, why in ranking.left_out.items()], "; ", most=4)
    return f"{text}.{f' Not ranked: {left_out}.' if left_out else ''}"


def _evidence(numbers: Numbers, ranking: Ranking) -> str:
    """What the tests of the best arm against all others show; of several, what all of their tests show."""
    tie, higher = len(ranking.best) > 1, ranking.column.measure.higher_is_better
    duels: dict[Verdict, list[Comparison]] = {verdict: [] for verdict in _LEAST_FIRST}
    for duel in _duels(numbers, ranking):
        duels[_verdict(duel)].append(duel)
    contrary, undecided, mixed, better = duels.values()
    count = sum(map(len, duels.values()))
    if len(better) == count:
        rivals = better[0].second.label if count == 1 else "every other arm"
        return f"better than {rivals}{' that could be ranked' if count > 1 and ranking.left_out else ''} {_TESTED}"
    parts = []
    if better:
        parts.append(f"better than {len(better)} of the {count} other arms {_TESTED}")
    if contrary:
        parts.append(f"a higher mean, but {_contrary(contrary, numbers.items, tie=tie)} {_TESTED}")
    if mixed:
        others = mixed[0].second.label if len(mixed) == 1 else f"{len(mixed)} others"
        parts.append(f"{'higher' if higher else 'lower'} than {others}, but not with every seed {_TESTED}")
    if not parts:
        return _no_difference(numbers, ranking)
    if undecided:
        of_all = " that holds for each of them" if tie else ""
        rest = "one" if len(undecided) == 1 else len(undecided)
        parts.append(f"no significant difference{of_all} from the other {rest}")
    return "; ".join(parts)


def _duels(numbers: Numbers, ranking: Ranking) -> list[Comparison]:
    """One for each rival of the best arm; where several are best, of the one that the rival says most against."""
    best = {arm.arm.slug for arm in ranking.best}
    rivals = {arm.arm.slug for arm, _ in ranking.ranked} - best
    found: dict[str, list[Comparison]] = {}
    for c in numbers.comparisons:
        for duel in (c, c.turned()):
            tested = c.column == ranking.column and c.test is not None
            if tested and duel.first.slug in best and duel.second.slug in rivals:
                found.setdefault(duel.second.slug, []).append(duel)
    return [min(several, key=lambda duel: _LEAST_FIRST.index(_verdict(duel))) for several in found.values()]


def _contrary(duels: list[Comparison], items: str, *, tie: bool) -> str:
    """`lower on most films than B (35 of 38)`; of a tie, which of its arms is."""
    parts = []
    for duel in duels:
        higher, test = duel.column.measure.higher_is_better, duel.test
        if test is not None:
            below = test.differing - test.above if higher else test.above
            most = f"most {items}" if 2 * below > test.items else f"{items} whose differences are large"
            who = f"{duel.first.label} is " if tie else ""
            worse = "lower" if higher else "higher"
            parts.append(f"{who}{worse} on {most} than {duel.second.label} ({below} of {test.items})")
    return ", ".join(parts)


def _no_difference(numbers: Numbers, ranking: Ranking) -> str:
    tests = [c for c in numbers.comparisons if c.column == ranking.column and c.corrected is not None]
    count = max((c.test.items for c in tests if c.test is not None), default=0)
    if smallest_p(count) * len(tests) >= ALPHA:
        are = "is" if count == 1 else "are"
        return (
            f"but {counted(count, numbers.items.removesuffix('s'))} {are} too few for any difference to be significant"
        )
    if all((c.corrected or 0.0) >= ALPHA for c in tests):
        return f"but no difference is significant (all p ≥ {ALPHA}, Holm-corrected)"
    if len(ranking.best) > 1:
        return f"but no other arm differs significantly from each of them (p ≥ {ALPHA}, Holm-corrected)"
    return f"but none of its differences from the others is significant (p ≥ {ALPHA}, Holm-corrected)"
