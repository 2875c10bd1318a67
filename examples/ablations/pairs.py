"""Differences of pairs of runs that differ in one factor alone: mean ± standard deviation, Wilcoxon's signed-rank test.

    python examples/ablations/pairs.py RUNS.csv FACTOR=A,B [FACTOR=LEVEL...]

RUNS.csv is the runs.csv of an ablation's report. A line is a measure, B minus A, over the runs with the other levels:

    python examples/ablations/pairs.py docs/experiments/critic/runs.csv critic=off,on train_size=10
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy.stats import wilcoxon

MEASURES = [
    *(f"{name}_{what}" for name in ("lungs", "heart") for what in ("dice", "dice_after", "hd95", "parts", "holes")),
    "ctr_error",
    "paper_dsc",
]


def main(file: Path, factor: str, levels: str, others: Mapping[str, str]) -> None:
    """Print a line for each measure."""
    a, b = levels.split(",")
    with file.open(encoding="utf-8", newline="") as lines:
        runs = [run for run in csv.DictReader(lines) if all(run[key] == value for key, value in others.items())]
    columns = list(runs[0]) if runs else []
    names = [name for name in columns[1 : columns.index("seed") + 1] if name != factor] if runs else []
    paired: dict[tuple[str, ...], dict[str, dict[str, str]]] = {}
    for run in runs:
        paired.setdefault(tuple(run[name] for name in names), {})[run[factor]] = run
    pairs = [(both[a], both[b]) for both in paired.values() if a in both and b in both]
    for measure in MEASURES if pairs else ():
        changes = np.array([float(y[measure]) - float(x[measure]) for x, y in pairs if x[measure] and y[measure]])
        if len(changes) > 1:
            p = float(wilcoxon(changes).pvalue) if changes.any() else 1.0
            larger = f"larger in {(changes > 0).sum()} of {len(changes)}"
            print(f"{measure}: {changes.mean():+.4f} ± {changes.std(ddof=1):.4f}, {larger}, p = {p:.3f}")
    if not pairs:
        print(f"{file}: no runs differ in {factor} alone, {a} against {b}, with these levels.")


if __name__ == "__main__":
    given = dict(argument.split("=", 1) for argument in sys.argv[2:])
    chosen = next(iter(given))
    main(Path(sys.argv[1]), chosen, given.pop(chosen), given)
