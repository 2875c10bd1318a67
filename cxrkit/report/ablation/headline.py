"""What an ablation shows, in sentences that say no more than its tests do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cxrkit.metrics.statistics import ALPHA, PairedTest, smallest_p
from cxrkit.report.ablation.cells import ArmNumbers
from cxrkit.report.ablation.comparability import Ground
from cxrkit.report.ablation.measures import Measure
from cxrkit.report.ablation.numbers import Numbers

TESTS_HOLD = (
    "The tests are over films: they hold for these trained networks. How much other seeds would change, the spread "
    "over seeds tells."
)


@dataclass(frozen=True)
class _Verdict:
    """One rival of the best arm: the test with the best as the first, its corrected p, and each seed's difference."""

    rival: ArmNumbers
    test: PairedTest
    corrected: float
    by_seed: tuple[float, ...]

    def says(self, measure: Measure) -> Literal["better", "not with every seed", "contrary", "nothing"]:
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
    return [*said, TESTS_HOLD] if any("Holm" in sentence for sentence in said) else said


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
    """What the tests of the best arm, or of the first of several, against all others say."""
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
        parts.append(f"a higher mean, but {_contrary(contrary, measure)} {tested}")
    if mixed:
        word = "higher" if measure.higher_is_better else "lower"
        parts.append(f"{word} than {_named(mixed)}, but not with every seed {tested}")
    if not parts:
        return _no_difference(numbers, measure, verdicts)
    if rest := len(verdicts) - len(beaten) - len(contrary) - len(mixed):
        parts.append(f"no significant difference from the other {'one' if rest == 1 else rest}")
    return "; ".join(parts)


def _verdicts(numbers: Numbers, ground: Ground) -> list[_Verdict]:
    best = ground.best
    rivals = {arm.arm.slug: arm for arm, _ in ground.ranked if arm not in best}
    found = []
    for c in numbers.comparisons:
        if c.measure != ground.measure.key or c.test is None or c.corrected is None:
            continue
        if c.first == best[0].arm and c.second.slug in rivals:
            found.append(_Verdict(rivals[c.second.slug], c.test, c.corrected, tuple(c.by_seed.values())))
        elif c.second == best[0].arm and c.first.slug in rivals:
            turned = tuple(-difference for difference in c.by_seed.values())
            found.append(_Verdict(rivals[c.first.slug], c.test.turned(), c.corrected, turned))
    return found


def _contrary(verdicts: list[_Verdict], measure: Measure) -> str:
    """`lower on most films than B (35 of 38)`."""
    worse = "lower" if measure.higher_is_better else "higher"
    said = []
    for verdict in verdicts:
        test = verdict.test
        below = test.differing - test.above if measure.higher_is_better else test.above
        most = "most films" if 2 * below > test.items else "films whose differences are large"
        said.append(f"{worse} on {most} than {verdict.rival.label} ({below} of {test.items})")
    return ", ".join(said)


def _named(verdicts: list[_Verdict]) -> str:
    return verdicts[0].rival.label if len(verdicts) == 1 else f"{len(verdicts)} others"


def _no_difference(numbers: Numbers, measure: Measure, verdicts: list[_Verdict]) -> str:
    tests = [c for c in numbers.comparisons if c.measure == measure.key and c.corrected is not None]
    films = max((c.test.items for c in tests if c.test is not None), default=0)
    if smallest_p(films) * len(tests) >= ALPHA:
        several = "" if films == 1 else "s"
        return f"but {films} film{several} {'is' if films == 1 else 'are'} too few for any difference to be significant"
    if all((c.corrected or 0.0) >= ALPHA for c in tests):
        return f"but no difference is significant (all p ≥ {ALPHA}, Holm-corrected)"
    return f"but none of its differences from the others is significant (p ≥ {ALPHA}, Holm-corrected)"


def _left_out(ground: Ground) -> str:
    if not ground.left_out:
        return ""
    named = "; ".join(f"{entry.arm.label} ({entry.why})" for entry in ground.left_out[:4])
    more = len(ground.left_out) - 4
    return f" Not ranked: {named}{f'; and {more} more' if more > 0 else ''}."
