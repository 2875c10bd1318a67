"""What an ablation shows, in sentences that say no more than its tests do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cxrkit.ablation.plan import Arm
from cxrkit.metrics.statistics import ALPHA, PairedTest, smallest_p
from cxrkit.report.ablation.comparability import Ground
from cxrkit.report.ablation.measures import Measure
from cxrkit.report.ablation.numbers import Numbers

TESTS_HOLD = (
    "The tests are over {items}: they hold for these trained networks. How much other seeds would change, the spread "
    "over seeds tells."
)


Says = Literal["better", "not with every seed", "nothing", "contrary"]
#: The first says least for the best arm.
_LEAST_FIRST: tuple[Says, ...] = ("contrary", "nothing", "not with every seed", "better")


@dataclass(frozen=True)
class _Verdict:
    """A best arm and a rival: the test with the best as the first, its corrected p, and each seed's difference."""

    best: Arm
    rival: Arm
    test: PairedTest
    corrected: float
    by_seed: tuple[float, ...]

    def says(self, measure: Measure) -> Says:
        """`better` where mean, ranks and every seed are for the best arm, `contrary` where the ranks aren't."""
        sign = 1 if measure.higher_is_better else -1
        if self.corrected >= ALPHA:
            return "nothing"
        if sign * self.test.effect < 0:
            return "contrary"
        if sign * self.test.difference <= 0:
            return "nothing"
        return "better" if all(sign * difference > 0 for difference in self.by_seed) else "not with every seed"


def headline(numbers: Numbers) -> list[str]:
    """A sentence for each primary measure that several arms have."""
    said = [sentence for measure in numbers.primary if (sentence := _sentence(numbers, measure))]
    return [*said, TESTS_HOLD.format(items=numbers.items)] if any("Holm" in sentence for sentence in said) else said


def _sentence(numbers: Numbers, measure: Measure) -> str | None:
    ground = numbers.grounds[measure.key]
    if sum(bool(arm.cells[measure.key].values) for arm in numbers.arms) < 2:
        return None
    if ground.best_mean is None:
        return f"{measure.label}: the arms can't be compared, {ground.problem}."
    best, mean = ground.best, measure.text(ground.best_mean)
    names = " and ".join(arm.label for arm in best)
    said = f"{'Highest' if measure.higher_is_better else 'Lowest'} {measure.label}: {names} ({mean}"
    seeds = ", ".join(str(seed) for seed in ground.seeds)
    said += f" on the films of seed {seeds} that all ranked arms share)" if ground.shared else ")"
    if len(ground.ranked) == 1:
        said += ", the only arm that can be ranked"
    elif len(best) == len(ground.ranked):
        said += ": a tie"
    else:
        said += (", a tie" if len(best) > 1 else "") + ", " + _proof(numbers, ground)
    return f"{said}.{_left_out(ground)}"


def _proof(numbers: Numbers, ground: Ground) -> str:
    """What the tests of the best arm against all others say; of several, what all of their tests say."""
    measure = ground.measure
    verdicts = _verdicts(numbers, ground)
    beaten = [v for v in verdicts if v.says(measure) == "better"]
    contrary = [v for v in verdicts if v.says(measure) == "contrary"]
    mixed = [v for v in verdicts if v.says(measure) == "not with every seed"]
    tested = f"(p < {ALPHA}, Holm-corrected)"
    parts = []
    if len(beaten) == len(verdicts):
        ranked = " that could be ranked" if ground.left_out else ""
        return f"better than every other arm{ranked} {tested}"
    if beaten:
        parts.append(f"better than {len(beaten)} of the {len(verdicts)} other arms {tested}")
    if contrary:
        said = _contrary(contrary, measure, numbers.items, tie=len(ground.best) > 1)
        parts.append(f"a higher mean, but {said} {tested}")
    if mixed:
        word = "higher" if measure.higher_is_better else "lower"
        parts.append(f"{word} than {_named(mixed)}, but not with every seed {tested}")
    if not parts:
        return _no_difference(numbers, ground)
    if rest := len(verdicts) - len(beaten) - len(contrary) - len(mixed):
        of_all = " that holds for each of them" if len(ground.best) > 1 else ""
        parts.append(f"no significant difference{of_all} from the other {'one' if rest == 1 else rest}")
    return "; ".join(parts)


def _verdicts(numbers: Numbers, ground: Ground) -> list[_Verdict]:
    """One for each rival of the best arm; where several are best, of the one that has least to say against it."""
    best = {arm.arm.slug for arm in ground.best}
    rivals = {arm.arm.slug for arm, _ in ground.ranked} - best
    found: dict[str, list[_Verdict]] = {}
    for c in numbers.comparisons:
        if c.measure != ground.measure.key or c.test is None or c.corrected is None:
            continue
        differences = tuple(c.by_seed.values())
        if c.first.slug in best and c.second.slug in rivals:
            verdict = _Verdict(c.first, c.second, c.test, c.corrected, differences)
        elif c.second.slug in best and c.first.slug in rivals:
            verdict = _Verdict(c.second, c.first, c.test.turned(), c.corrected, tuple(-d for d in differences))
        else:
            continue
        found.setdefault(verdict.rival.slug, []).append(verdict)
    return [min(several, key=lambda v: _LEAST_FIRST.index(v.says(ground.measure))) for several in found.values()]


def _contrary(verdicts: list[_Verdict], measure: Measure, items: str, *, tie: bool) -> str:
    """`lower on most films than B (35 of 38)`; of a tie, which of its arms is."""
    worse = "lower" if measure.higher_is_better else "higher"
    said = []
    for verdict in verdicts:
        test = verdict.test
        below = test.differing - test.above if measure.higher_is_better else test.above
        most = f"most {items}" if 2 * below > test.items else f"{items} whose differences are large"
        who = f"{verdict.best.label} is " if tie else ""
        said.append(f"{who}{worse} on {most} than {verdict.rival.label} ({below} of {test.items})")
    return ", ".join(said)


def _named(verdicts: list[_Verdict]) -> str:
    return verdicts[0].rival.label if len(verdicts) == 1 else f"{len(verdicts)} others"


def _no_difference(numbers: Numbers, ground: Ground) -> str:
    tests = [c for c in numbers.comparisons if c.measure == ground.measure.key and c.corrected is not None]
    count = max((c.test.items for c in tests if c.test is not None), default=0)
    if smallest_p(count) * len(tests) >= ALPHA:
        said = f"1 {numbers.items.removesuffix('s')} is" if count == 1 else f"{count} {numbers.items} are"
        return f"but {said} too few for any difference to be significant"
    if all((c.corrected or 0.0) >= ALPHA for c in tests):
        return f"but no difference is significant (all p ≥ {ALPHA}, Holm-corrected)"
    if len(ground.best) > 1:
        return f"but no other arm differs significantly from each of them (p ≥ {ALPHA}, Holm-corrected)"
    return f"but none of its differences from the others is significant (p ≥ {ALPHA}, Holm-corrected)"


def _left_out(ground: Ground) -> str:
    if not ground.left_out:
        return ""
    named = "; ".join(f"{entry.arm.label} ({entry.why})" for entry in ground.left_out[:4])
    more = len(ground.left_out) - 4
    return f" Not ranked: {named}{f'; and {more} more' if more > 0 else ''}."
