"""The figures of an ablation's report."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cxrkit.report.ablation.cells import ArmNumbers
from cxrkit.report.ablation.columns import Column
from cxrkit.report.ablation.curves import draw_curves, draw_together, read_curves
from cxrkit.report.ablation.differences import FactorEffects
from cxrkit.report.ablation.numbers import Numbers
from cxrkit.report.drawing import INK, TRAIN, VALID, new_figure, style, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: The names of all files that `draw_all_figures` may make.
STEMS = ("curves", "validation", "distributions", "distances", "effects")
_TOGETHER = 10  # so many arms are distinguishable in one diagram
_COLUMNS = 3


@dataclass(frozen=True)
class Drawn:
    """A figure: its file's name without suffix, its title and caption."""

    stem: str
    title: str
    figure: Figure
    caption: str


def draw_all_figures(numbers: Numbers) -> Iterator[Drawn]:
    """All figures for which there is data."""
    yield from _training(numbers)
    dots = (
        "Each dot is a test film, with its mean over the seeds that tested it. Boxes reach from the lower to the upper "
        "quartile, with a line at the median; whiskers reach to the last film within 1.5 box lengths."
    )
    overlaps = [column for column in numbers.columns if column.measure.primary]
    errors = [c for c in numbers.columns if c.measure.main and not c.measure.primary and c.measure.protocol == "honest"]
    if overlaps:
        yield Drawn("distributions", "Films by structure", _draw_distributions(numbers, overlaps), dots)
    if errors:
        caption = f"{dots} {_directions(errors)}; films without a value are counted in the tables."
        yield Drawn("distances", "Films: distances and ratio", _draw_distributions(numbers, errors), caption)
    if any(effects.levels for effects in numbers.effects):
        caption = (
            "Each dot is a run (its mean over films), each bar the mean over runs; thin lines join runs that differ in "
            "this factor alone. As in the table, only combinations of the other factors and a seed that every level "
            "has are shown."
        )
        yield Drawn("effects", "Main effects", _draw_effects(numbers), caption)


def _training(numbers: Numbers) -> Iterator[Drawn]:
    curves = [read_curves(arm) for arm in numbers.arms]
    if all(one.empty for one in curves):
        return
    on = ", ".join(dict.fromkeys(one.on for one in curves if one.on)) or "validation"
    yield Drawn(
        "curves",
        "Curves",
        draw_curves(curves, on),
        f"Soft Dice coefficient (the paper's DSC) of the training batches and of the {on} films over updates; "
        "lines are means over seeds, bands reach from the lowest to the highest seed.",
    )
    if 1 < len(curves) <= _TOGETHER and any(one.valid for one in curves):
        caption = f"The DSC of the {on} films of all arms, as means over seeds."
        yield Drawn("validation", "Validation", draw_together(curves, on), caption)


def _directions(columns: Sequence[Column]) -> str:
    """Which way is better, of columns that may differ in it."""
    higher = dict.fromkeys(column.measure.label for column in columns if column.measure.higher_is_better)
    return f"Smaller is better, except for {', '.join(higher)}" if higher else "Smaller is better"


def _draw_distributions(numbers: Numbers, columns: Sequence[Column]) -> Figure:
    """A diagram for each column, a line for each arm."""
    arms = [arm for arm in numbers.arms if arm.finished]
    width = min(_COLUMNS, len(columns))
    rows = math.ceil(len(columns) / width)
    figure = new_figure(3.1 * width + 2.2, rows * (0.27 * len(arms) + 0.75) + 0.2)
    grid = figure.subplots(rows, width, sharey=True, squeeze=False)
    for axes, column in zip(grid.flat, columns, strict=False):
        _draw_boxes(axes, arms, column)
    for axes in grid.flat[len(columns) :]:
        axes.set_visible(False)
    grid[0][0].set_yticks(range(1, len(arms) + 1), [wrapped(arm.label, 44) for arm in arms], fontsize=7)
    grid[0][0].set_ylim(len(arms) + 0.6, 0.4)
    return figure


def _draw_boxes(axes: Axes, arms: Sequence[ArmNumbers], column: Column) -> None:
    random = np.random.default_rng(0)
    values = [[column.measure.scale * v for v in arm.cells[column.key].films.values()] for arm in arms]
    line = {"color": INK, "linewidth": 0.8}
    axes.boxplot(
        values,
        orientation="horizontal",
        widths=0.55,
        showfliers=False,
        medianprops={"color": TRAIN, "linewidth": 1.4},
        boxprops=line,
        whiskerprops=line,
        capprops=line,
    )
    for place, dots in enumerate(values, start=1):
        jitter = place + random.uniform(-0.18, 0.18, len(dots))
        axes.plot(dots, jitter, ".", color=VALID, markersize=2.5, alpha=0.5)
    axes.set_title(column.label, loc="left", fontsize=9, color=INK)
    style(axes, grid="x")


def _draw_effects(numbers: Numbers) -> Figure:
    """A column for each factor, a row for each measure; of factors and measures whose effect can be determined."""
    effects = {(one.factor, one.column.key): one for one in numbers.effects if one.levels}
    factors, keys = (list(dict.fromkeys(place)) for place in zip(*effects, strict=True))
    most = {factor: max(len(effects[one].levels) for one in effects if one[0] == factor) for factor in factors}
    widths = [max(2.9, 0.6 * most[factor]) for factor in factors]  # so that the levels' names don't touch
    figure = new_figure(max(3.6, sum(widths)) + 0.6, 2.4 * len(keys) + 0.3)
    grid = figure.subplots(len(keys), len(factors), sharey="row", squeeze=False, width_ratios=widths)
    for row, key in enumerate(keys):
        column = next(column for column in numbers.primary if column.key == key)
        for place, factor in enumerate(factors):
            axes: Axes = grid[row][place]
            style(axes)
            if (factor, key) in effects:
                _draw_levels(axes, effects[factor, key], column.measure.scale)
            else:
                axes.set_xticks([])
                axes.text(0.5, 0.5, "unknown", ha="center", fontsize=8, color=INK, transform=axes.transAxes)
            if row == 0:
                axes.set_title(factor, loc="left", fontsize=9, color=INK)
            if place == 0:
                axes.set_ylabel(column.label, fontsize=8, color=INK)
    return figure


def _draw_levels(axes: Axes, effects: FactorEffects, scale: float) -> None:
    for block in zip(*effects.levels.values(), strict=True):
        axes.plot([scale * value for value in block], color=INK, linewidth=0.6, alpha=0.3)
    for place, values in enumerate(effects.levels.values()):
        axes.plot([place] * len(values), [scale * value for value in values], ".", color=VALID, markersize=5, alpha=0.6)
        axes.plot([place - 0.25, place + 0.25], [scale * float(np.mean(values))] * 2, color=TRAIN, linewidth=2)
    axes.set_xticks(
        range(len(effects.levels)), [wrapped(level, 14 if len(effects.levels) < 5 else 9) for level in effects.levels]
    )
    axes.set_xlim(-0.6, len(effects.levels) - 0.4)
