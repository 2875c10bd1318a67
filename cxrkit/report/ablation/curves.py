"""The training of an ablation's arms over updates."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from cxrkit.ablation.results import STATES
from cxrkit.readings import TrainingReading
from cxrkit.report.ablation.cells import ArmNumbers
from cxrkit.report.drawing import DISTINCT, INK, TRAIN, VALID, new_figure, style, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DASHES = ("-", (0, (4, 1.5)), (0, (1, 1.2)))
Series = dict[int, list[float]]


@dataclass(frozen=True)
class Curves:
    """The readings of an arm's runs.

    Attributes:
        arm: the arm.
        train, valid: update to the seeds' DSC of training batches and of validation films.
        on: what the validation was on.
    """

    arm: ArmNumbers
    train: Series = field(default_factory=dict)
    valid: Series = field(default_factory=dict)
    on: str = ""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not self.train and not self.valid

    @property
    def remark(self) -> str:
        """Which runs aren't finished, and why."""
        seeds: dict[str, list[str]] = defaultdict(list)
        for run in self.arm.unfinished:
            seeds[STATES[run.state]].append(str(run.seed))
        return "; ".join(f"seed{'s' if len(of) > 1 else ''} {', '.join(of)} {state}" for state, of in seeds.items())


def read_curves(arm: ArmNumbers) -> Curves:
    """An arm's readings, from its runs' metrics.jsonl."""
    train: Series = defaultdict(list)
    valid: Series = defaultdict(list)
    on = ""
    for run in arm.runs:
        for reading in run.run.metrics():
            if isinstance(reading, TrainingReading):
                train[reading.step].append(reading.train_dsc)
            elif "dsc" in reading.validation:
                valid[reading.step].append(reading.validation["dsc"])
                on = reading.on
    return Curves(arm, dict(train), dict(valid), on)


def draw_curves(curves: Sequence[Curves], on: str) -> Figure:
    """A diagram for each arm, with a remark on runs that failed."""
    columns = min(3, len(curves))
    rows = math.ceil(len(curves) / columns)
    figure = new_figure(3.3 * columns + 0.4, 2.5 * rows + 0.4)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes, one in zip(grid.flat, curves, strict=False):
        _band(axes, one.train, TRAIN, "training")
        _band(axes, one.valid, VALID, on)
        style(axes)
        axes.set_title(wrapped(one.arm.label), loc="left", fontsize=8, color=INK)
        axes.set_ylim(0, 1)
        if one.remark:
            _write_remark(axes, one)
    for axes in grid.flat[len(curves) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel("DSC", fontsize=8, color=INK)
    for axes in grid.flat[max(0, len(curves) - columns) : len(curves)]:  # the lowest of each column
        axes.set_xlabel("update", fontsize=8, color=INK)
        axes.tick_params(labelbottom=True)
    first = next(axes for axes, one in zip(grid.flat, curves, strict=False) if not one.empty)
    first.legend(fontsize=7, frameon=False, loc="lower right")
    return figure


def _write_remark(axes: Axes, one: Curves) -> None:
    height = 0.5 if one.empty else 0.08
    text = axes.text(0.5, height, wrapped(one.remark, 36), fontsize=7.5, color="#b3261e", transform=axes.transAxes)
    text.set_horizontalalignment("center")
    text.set_verticalalignment("center")


def draw_together(curves: Sequence[Curves], on: str) -> Figure:
    """The validation of all arms in one diagram."""
    figure = new_figure(7.6, 4.2)
    axes = figure.subplots()
    for index, one in enumerate(curves):
        if one.valid:
            steps = sorted(one.valid)
            axes.plot(
                steps,
                [np.mean(one.valid[step]) for step in steps],
                color=DISTINCT[index % len(DISTINCT)],
                linestyle=_DASHES[index // len(DISTINCT) % len(_DASHES)],
                linewidth=1.6,
                label=one.arm.label,
            )
    style(axes)
    axes.set_xlabel("update", fontsize=9, color=INK)
    axes.set_ylabel(f"DSC of the {on} films", fontsize=9, color=INK)
    axes.legend(fontsize=8, frameon=False)
    return figure


def _band(axes: Axes, series: Series, colour: str, label: str) -> None:
    if not series:
        return
    steps = sorted(series)
    axes.plot(steps, [np.mean(series[step]) for step in steps], color=colour, linewidth=1.3, label=label)
    low, high = [min(series[step]) for step in steps], [max(series[step]) for step in steps]
    axes.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)
