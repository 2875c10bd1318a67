"""Differences of pairs of runs that differ in one factor alone: mean ± standard deviation, Wilcoxon's signed-rank test.

    python examples/ablations/pairs.py RUNS.csv FACTOR=A,B [FACTOR=C,D...] [OTHER=LEVEL...]

RUNS.csv is the runs.csv of an ablation's report. A line is a measure, B minus A, over the runs whose other levels are
the same, and among those given, if any are. Several pairs of levels are pooled:

    python examples/ablations/pairs.py docs/experiments/critic/runs.csv critic=off,on train_size=10
    python examples/ablations/pairs.py docs/experiments/losses/runs.csv \\
      "loss=Dice,Dice, l1" "loss=Focal Tversky,Focal Tversky, l1" mixup=0.2 mixup=0.4
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.stats import wilcoxon

MEASURES = [
    *(f"{name}_{what}" for name in ("lungs", "heart") for what in ("dice", "dice_after", "hd95", "parts", "holes")),
    "ctr_error",
    "paper_dsc",
]
Run = Mapping[str, str]


def read(file: Path) -> list[Run]:
    """Its runs, each with its factors, seed and measures alone."""
    with file.open(encoding="utf-8", newline="") as lines:
        runs = list(csv.DictReader(lines))
    factors = list(runs[0])[1 : list(runs[0]).index("seed") + 1] if runs else []
    return [{key: run[key] for key in (*factors, *MEASURES)} for run in runs]


def levels_of(text: str, known: set[str]) -> tuple[str, str]:
    """`A,B` as the two levels that exist: either may contain commas.

    Raises:
        SystemExit: there are no two such levels.
    """
    parts = text.split(",")
    for place in range(1, len(parts)):
        a, b = ",".join(parts[:place]), ",".join(parts[place:])
        if {a, b} <= known:
            return a, b
    raise SystemExit(f"'{text}' isn't two of the levels, which are: {'; '.join(sorted(known))}.")


def paired(runs: Sequence[Run], factor: str, a: str, b: str) -> Iterator[tuple[Run, Run]]:
    """Runs with level a and level b that are alike in all other factors and the seed."""
    alike: dict[tuple[tuple[str, str], ...], dict[str, Run]] = defaultdict(dict)
    for run in runs:
        others = tuple((key, value) for key, value in run.items() if key != factor and key not in MEASURES)
        alike[others][run[factor]] = run
    yield from ((both[a], both[b]) for both in alike.values() if a in both and b in both)


def main(arguments: Sequence[str]) -> None:
    """Print a line for each measure."""
    file, *chosen = arguments or [""]
    given: dict[str, list[str]] = defaultdict(list)
    for name, _, level in (argument.partition("=") for argument in chosen):
        given[name].append(level)
    if not given:
        raise SystemExit(__doc__)
    factor = next(iter(given))
    asked = given.pop(factor)
    known = read(Path(file))
    for name in (factor, *given):
        if not known or name not in known[0]:
            raise SystemExit(f"{file} has no factor '{name}'.")
        if unknown := set(given.get(name, ())) - {run[name] for run in known}:
            raise SystemExit(f"{file}: {name} has no level {', '.join(sorted(unknown))}.")
    levels = {run[factor] for run in known}
    runs = [run for run in known if all(run[key] in some for key, some in given.items())]
    pairs = [pair for text in asked for pair in paired(runs, factor, *levels_of(text, levels))]
    for measure in MEASURES if pairs else ():
        changes = np.array([float(y[measure]) - float(x[measure]) for x, y in pairs if x[measure] and y[measure]])
        if len(changes) > 1:
            p = float(wilcoxon(changes).pvalue) if changes.any() else 1.0
            larger = f"larger in {(changes > 0).sum()} of {len(changes)}"
            print(f"{measure}: {changes.mean():+.4f} ± {changes.std(ddof=1):.4f}, {larger}, p = {p:.3f}")
    if not pairs:
        print(f"{file}: no runs differ in {factor} alone with these levels.")


if __name__ == "__main__":
    main(sys.argv[1:])
