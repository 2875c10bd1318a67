"""Which differences between networks outlast seeds and numbers of films: from the tests of an ablation's report.

    python examples/ablations/outlasting.py docs/experiments/zoo/comparisons.csv train_size [MEASURE...]

COMPARISONS.csv is the comparisons.csv of an ablation's report, over two factors. A difference between two levels of
one factor counts if, at every level of the other (here `train_size`), its Holm-corrected p is below 0.05 and its sign
is the same in every seed. A line is a level, and those that have significantly larger values of the measure.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

SIGNIFICANT = 0.05
Comparison = Mapping[str, str]


def without(arm: str, factor: str) -> tuple[str, str]:
    """The name of an arm without its level of this factor, and that level."""
    parts = arm.split(" · ")
    level = next((part for part in parts if part.startswith(f"{factor} ")), "")
    return " · ".join(part for part in parts if part != level), level


def sign(comparison: Comparison) -> int:
    """1 if a is significantly larger than b and larger in every seed, -1 if smaller, else 0."""
    if not comparison["p_holm"] or float(comparison["p_holm"]) >= SIGNIFICANT:
        return 0
    larger, seeds = int(comparison["a_larger_seeds"]), int(comparison["seeds"])
    direction = 1 if float(comparison["difference"]) > 0 else -1
    return direction if larger == (seeds if direction > 0 else 0) else 0


def outlasting(comparisons: Sequence[Comparison], factor: str) -> Iterator[tuple[str, str, str]]:
    """Each measure and two levels, the first with significantly smaller values at every level of `factor`."""
    signs: dict[tuple[str, str, str], dict[str, int]] = defaultdict(dict)
    for comparison in comparisons:
        (a, here), (b, there) = (without(comparison[arm], factor) for arm in "ab")
        if here and here == there:
            signs[comparison["measure"], a, b][here] = sign(comparison)
    levels = {level for found in signs.values() for level in found}
    for (measure, a, b), found in signs.items():
        if set(found) == levels and set(found.values()) in ({1}, {-1}):
            yield (measure, b, a) if found[next(iter(levels))] > 0 else (measure, a, b)


def main(arguments: Sequence[str]) -> None:
    """Print a block for each measure."""
    if len(arguments) < 2:
        raise SystemExit(__doc__)
    file, factor, *asked = arguments
    with Path(file).open(encoding="utf-8", newline="") as lines:
        comparisons = list(csv.DictReader(lines))
    measures = list(dict.fromkeys(comparison["measure"] for comparison in comparisons))
    if unknown := set(asked) - set(measures):
        raise SystemExit(f"{file} has no {', '.join(sorted(unknown))}; its measures: {', '.join(measures)}.")
    if not any(without(comparison["a"], factor)[1] for comparison in comparisons):
        raise SystemExit(f"{file} has no arm with a level of '{factor}'.")
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for measure, lower, higher in outlasting(comparisons, factor):
        found[measure, lower].append(higher)
    for measure in asked or measures:
        print(f"{measure}:")
        rows = {lower: higher for (of, lower), higher in found.items() if of == measure}
        for lower, higher in sorted(rows.items(), key=lambda row: -len(row[1])):
            print(f"  {lower} < {'; '.join(higher)}")
        if not rows:
            print("  no difference")


if __name__ == "__main__":
    main(sys.argv[1:])
