"""What an ablation shows, in sentences that claim no more than its tests do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cxrkit.ablation.plan import Arm
from cxrkit.metrics.statistics import ALPHA, PairedTest, smallest_p
from cxrkit.report.ablation.columns import Column
from cxrkit.report.ablation.numbers import Numbers
from cxrkit.report.ablation.ranking import Ranking
from cxrkit.report.summary import counted, listed

TESTS_HOLD = (
    "The tests are over {items}: they hold for these trained networks. How much other seeds would change is shown by "
    "the spread over seeds."
)

Verdict = Literal["contrary", "nothing", "not with every seed", "better"]
#: The first says least for the best arm.
_LEAST_FIRST: tuple[Verdict, ...] = ("contrary", "nothing", "not with every seed", "better")
_TESTED = f"(p < {ALPHA}, Holm-corrected)"


@dataclass(frozen=True)
class _Duel:
    """A best arm and a rival: the test with the best as the first, its corrected p, and each seed's difference."""

    best: Arm
    rival: Arm
    test: PairedTest
    corrected: float
    by_seed: tuple[float, ...]

    def verdict(self, column: Column) -> Verdict:
        """`better` where mean, ranks and every seed are for the best arm, `contrary` where the ranks aren't."""
        sign = 1 if column.measure.higher_is_better else -1
        if self.corrected >= ALPHA:
            return "nothing"
        if sign * self.test.effect < 0:
            return "contrary"
        if sign * self.test.difference <= 0:
            return "nothing"
        return "better" if all(sign * difference > 0 for difference in self.by_seed) else "not with every seed"


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
        return f"{column.label}: the arms can't be compared, {ranking.problem}."
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
    left_out = listed([f"{entry.arm.label} ({entry.why})" for entry in ranking.left_out], "; ", most=4)
    return f"{text}.{f' Not ranked: {left_out}.' if left_out else ''}"


def _evidence(numbers: Numbers, ranking: Ranking) -> str:
    """What the tests of the best arm against all others show; of several, what all of their tests show."""
    column, tie = ranking.column, len(ranking.best) > 1
    duels: dict[Verdict, list[_Duel]] = {verdict: [] for verdict in _LEAST_FIRST}
    for duel in _duels(numbers, ranking):
        duels[duel.verdict(column)].append(duel)
    better, contrary, mixed, undecided = (duels[v] for v in ("better", "contrary", "not with every seed", "nothing"))
    count = sum(map(len, duels.values()))
    if len(better) == count:
        return f"better than every other arm{' that could be ranked' if ranking.left_out else ''} {_TESTED}"
    parts = []
    if better:
        parts.append(f"better than {len(better)} of the {count} other arms {_TESTED}")
    if contrary:
        parts.append(f"a higher mean, but {_contrary(contrary, column, numbers.items, tie=tie)} {_TESTED}")
    if mixed:
        others = mixed[0].rival.label if len(mixed) == 1 else f"{len(mixed)} others"
        word = "higher" if column.measure.higher_is_better else "lower"
        parts.append(f"{word} than {others}, but not with every seed {_TESTED}")
    if not parts:
        return _no_difference(numbers, ranking)
    if undecided:
        of_all = " that holds for each of them" if tie else ""
        rest = "one" if len(undecided) == 1 else len(undecided)
        parts.append(f"no significant difference{of_all} from the other {rest}")
    return "; ".join(parts)


def _duels(numbers: Numbers, ranking: Ranking) -> list[_Duel]:
    """One for each rival of the best arm; where several are best, of the one that the rival says most against."""
    best = {arm.arm.slug for arm in ranking.best}
    rivals = {arm.arm.slug for arm, _ in ranking.ranked} - best
    found: dict[str, list[_Duel]] = {}
    for c in numbers.comparisons:
        if c.column != ranking.column.key or c.test is None or c.corrected is None:
            continue
        differences = tuple(c.by_seed.values())
        if c.first.slug in best and c.second.slug in rivals:
            duel = _Duel(c.first, c.second, c.test, c.corrected, differences)
        elif c.second.slug in best and c.first.slug in rivals:
            duel = _Duel(c.second, c.first, c.test.turned(), c.corrected, tuple(-d for d in differences))
        else:
            continue
        found.setdefault(duel.rival.slug, []).append(duel)
    return [min(several, key=lambda d: _LEAST_FIRST.index(d.verdict(ranking.column))) for several in found.values()]


def _contrary(duels: list[_Duel], column: Column, items: str, *, tie: bool) -> str:
    """`lower on most films than B (35 of 38)`; of a tie, which of its arms is."""
    higher = column.measure.higher_is_better
    parts = []
    for duel in duels:
        test = duel.test
        below = test.differing - test.above if higher else test.above
        most = f"most {items}" if 2 * below > test.items else f"{items} whose differences are large"
        who = f"{duel.best.label} is " if tie else ""
        worse = "lower" if higher else "higher"
        parts.append(f"{who}{worse} on {most} than {duel.rival.label} ({below} of {test.items})")
    return ", ".join(parts)


def _no_difference(numbers: Numbers, ranking: Ranking) -> str:
    tests = [c for c in numbers.comparisons if c.column == ranking.column.key and c.corrected is not None]
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
