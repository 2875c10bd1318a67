"""The figures of an ablation's report."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cxrkit.report.ablation.cells import ArmNumbers
from cxrkit.report.ablation.curves import draw_curves, draw_together, read_curves
from cxrkit.report.ablation.effects import FactorEffects
from cxrkit.report.ablation.measures import Measure
from cxrkit.report.ablation.numbers import Numbers
from cxrkit.report.drawing import INK, TRAIN, VALID, new_figure, style, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: The names of all files that `draw_all_figures` may make.
STEMS = ("curves", "validation", "distributions", "distances", "effects")
_TOGETHER = 10  # so many arms can be told apart in one diagram
_COLUMNS = 3


@dataclass(frozen=True)
class Drawn:
    """A figure: its file's name without suffix, its title, and what stands below it."""

    stem: str
    title: str
    figure: Figure
    caption: str


def draw_all_figures(numbers: Numbers) -> Iterator[Drawn]:
    """The figures that there is something for."""
    yield from _training(numbers)
    dots = (
        "Each dot is a test film, with its mean over the seeds that tested it. Boxes from the lower to the upper "
        "quartile, the line is the median, whiskers reach to the last film within 1.5 box lengths."
    )
    overlaps = [m for m in numbers.measures if m.key.endswith("_dice") or m.key.startswith("paper_dsc")]
    errors = [m for m in numbers.measures if "_hd95" in m.key or m.key == "ctr_error"]
    if overlaps:
        yield Drawn("distributions", "Films by structure", _draw_distributions(numbers, overlaps), dots)
    if errors:
        said = f"{dots} Smaller is better; films without a value are counted in the tables."
        yield Drawn("distances", "Films: distances and ratio", _draw_distributions(numbers, errors), said)
    if numbers.effects:
        said = (
            "Each dot is a run (its mean over films), the bar the mean over runs; a thin line joins runs that differ "
            "in this factor alone. As in the table, only those combinations of the other factors and a seed that every "
            "level has."
        )
        yield Drawn("effects", "Main effects", _draw_effects(numbers), said)


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
        "mean over seeds, the band from the lowest to the highest seed.",
    )
    if 1 < len(curves) <= _TOGETHER and any(one.valid for one in curves):
        told = f"The DSC of the {on} films of all arms; mean over seeds."
        yield Drawn("validation", "Validation", draw_together(curves, on), told)


def _draw_distributions(numbers: Numbers, measures: Sequence[Measure]) -> Figure:
    """A diagram a measure, a line an arm."""
    arms = [arm for arm in numbers.arms if arm.finished]
    columns = min(_COLUMNS, len(measures))
    rows = math.ceil(len(measures) / columns)
    figure = new_figure(3.1 * columns + 2.2, rows * (0.27 * len(arms) + 0.75) + 0.2)
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axes, measure in zip(grid.flat, measures, strict=False):
        _draw_boxes(axes, arms, measure)
    for axes in grid.flat[len(measures) :]:
        axes.set_visible(False)
    grid[0][0].set_yticks(range(1, len(arms) + 1), [wrapped(arm.label, 44) for arm in arms], fontsize=7)
    grid[0][0].set_ylim(len(arms) + 0.6, 0.4)
    return figure


def _draw_boxes(axes: Axes, arms: Sequence[ArmNumbers], measure: Measure) -> None:
    random = np.random.default_rng(0)
    values = [[measure.scale * v for v in arm.cells[measure.key].films.values()] for arm in arms]
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
    axes.set_title(measure.label, loc="left", fontsize=9, color=INK)
    style(axes, grid="x")


def _draw_effects(numbers: Numbers) -> Figure:
    """A column a factor, a row a measure; of factors and measures with an effect that can be told."""
    told = [found for found in numbers.factor_effects if found.levels]
    factors = list(dict.fromkeys(found.factor for found in told))
    keys = list(dict.fromkeys(found.measure for found in told))
    figure = new_figure(max(3.6, 2.9 * len(factors)) + 0.6, 2.4 * len(keys) + 0.3)
    grid = figure.subplots(len(keys), len(factors), sharey="row", squeeze=False)
    for row, key in enumerate(keys):
        for column, factor in enumerate(factors):
            axes: Axes = grid[row][column]
            style(axes)
            found = next((f for f in told if f.factor == factor and f.measure == key), None)
            if found is None:
                axes.set_xticks([])
                axes.text(0.5, 0.5, "can't be told", ha="center", fontsize=8, color=INK, transform=axes.transAxes)
            else:
                _draw_levels(axes, found, numbers.measure(key))
            if row == 0:
                axes.set_title(factor, loc="left", fontsize=9, color=INK)
            if column == 0:
                axes.set_ylabel(numbers.measure(key).label, fontsize=8, color=INK)
    return figure


def _draw_levels(axes: Axes, found: FactorEffects, measure: Measure) -> None:
    for block in zip(*(effect.values for effect in found.levels), strict=True):
        axes.plot([measure.scale * value for value in block], color=INK, linewidth=0.6, alpha=0.3)
    for place, effect in enumerate(found.levels):
        means = [measure.scale * value for value in effect.values]
        axes.plot([place] * len(means), means, ".", color=VALID, markersize=5, alpha=0.6)
        axes.plot([place - 0.25, place + 0.25], [measure.scale * effect.mean] * 2, color=TRAIN, linewidth=2)
    axes.set_xticks(range(len(found.levels)), [wrapped(effect.level, 14) for effect in found.levels])
    axes.set_xlim(-0.6, len(found.levels) - 0.4)
