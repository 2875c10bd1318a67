"""Draw docs/images/figure-6.png: the training and test DSC of every run of figure-6.yaml, and what was predicted.

    python examples/ablations/figure-6.py ablations/figure-6 figure-6.png

Keras's batch norm keeps 0.99^t of its initial statistics after t updates. The dotted line stands where 5 % of them are
left. The last diagram is how far validation with the moving average lags behind validation with statistics that are
recomputed, of networks whose weights are the same.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from cxrkit.ablation.results import RunResult, load_results
from cxrkit.report.drawing import INK, TRAIN, VALID, new_figure, style
from cxrkit.report.figures import smooth
from cxrkit.report.write import save_figure

MOMENTA = {"batch, momentum 0.99": 0.99, "batch, momentum 0.9": 0.9}  # in Keras's sense
RECOMPUTED = "batch, recomputed"
LEFT = 0.05
SEEDS = ("-", (0, (4, 1.5)), (0, (1, 1.2)))

Curve = Mapping[int, float]


def updates_until(left: float, momentum: float) -> float:
    """After how many updates this share of the initial statistics is left."""
    return math.log(left) / math.log(momentum)


def training_dsc(run: RunResult) -> Curve:
    readings = {r["step"]: 100 * r["train_dsc"] for r in run.run.metrics() if "train_dsc" in r}
    return dict(zip(readings, smooth(np.array(list(readings.values()))), strict=True))


def test_dsc(run: RunResult) -> Curve:
    return {r["step"]: 100 * r["validation"]["dsc"] for r in run.run.metrics() if "validation" in r}


def plot(axes: Axes, curve: Curve, **drawn: object) -> None:
    axes.plot(list(curve), list(curve.values()), **drawn)


def draw_arm(axes: Axes, name: str, runs: tuple[RunResult, ...]) -> None:
    for index, run in enumerate(runs):
        line = SEEDS[index % len(SEEDS)]
        plot(axes, training_dsc(run), color=TRAIN, linestyle=line, linewidth=1, label=f"training, seed {run.seed}")
        plot(axes, test_dsc(run), color=VALID, linestyle=line, linewidth=1.5, label=f"test films, seed {run.seed}")
    if name in MOMENTA:
        at = updates_until(LEFT, MOMENTA[name])
        axes.axvline(at, color=INK, linewidth=1, linestyle=":")
        axes.text(at + 10, 34, f"{MOMENTA[name]}$^t$ = {100 * LEFT:.0f} %\nat update {at:.0f}", fontsize=7, color=INK)
    axes.set_title(name, loc="left", fontsize=9, color=INK)
    axes.set_ylim(30, 101)


def draw_lag(axes: Axes, arms: Mapping[str, tuple[RunResult, ...]]) -> None:
    """How far the moving average lags behind, beside the share of the initial statistics that is left."""
    name, momentum = next(iter(MOMENTA.items()))
    for index, (averaged, recomputed) in enumerate(zip(arms[name], arms[RECOMPUTED], strict=True)):
        late, settled = test_dsc(averaged), test_dsc(recomputed)
        lag = {step: settled[step] - late[step] for step in late if step in settled}
        line = SEEDS[index % len(SEEDS)]
        plot(axes, lag, color=VALID, linestyle=line, linewidth=1.5, label=f"lag of 0.99, seed {averaged.seed}, points")
    share = {step: 100 * momentum**step for step in range(20, 701, 5)}
    plot(axes, share, color=INK, linestyle=":", linewidth=1, label="initial statistics left, %")
    axes.set_title("recomputed − momentum 0.99", loc="left", fontsize=9, color=INK)
    axes.legend(fontsize=7, frameon=False, labelcolor=INK)


def main(ablation: Path, picture: Path) -> None:
    results = load_results(ablation)
    arms = {arm.levels["normalisation"]: results.of(arm) for arm in results.arms}
    figure = new_figure(9.6, 5.6)
    grid = figure.subplots(2, 3, sharex=True)
    for axes, (name, runs) in zip(grid.flat, arms.items(), strict=False):
        draw_arm(axes, name, runs)
    draw_lag(grid[1, 2], arms)
    for axes in grid.flat:
        style(axes)
    for axes in grid[:, 0]:
        axes.set_ylabel("DSC, %", fontsize=8, color=INK)
    for axes in grid[1]:
        axes.set_xlabel("update", fontsize=8, color=INK)
    grid[0, 2].legend(fontsize=7, frameon=False, labelcolor=INK, loc="lower right")
    save_figure(figure, picture)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
