"""The figures of an ablation's report."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cxrkit.report.ablation.numbers import ArmNumbers, Numbers
from cxrkit.report.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _FAINT, _GRID = "#222222", "#b8b8b8", "#e6e6e6"
_TRAIN, _VALID = "#D55E00", "#0072B2"
#: Okabe and Ito's, without its yellow, which is pale on white.
_CYCLE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_DASHES = ("-", (0, (4, 1.5)), (0, (1, 1.2)))
_TOGETHER = 10  # so many arms can be told apart in one diagram


def draw_all_figures(numbers: Numbers) -> dict[str, tuple[Figure, str]]:
    """File name (without suffix) to figure and caption; those that there is nothing for are left out."""
    figures: dict[str, tuple[Figure, str]] = {}
    scored = [arm for arm in numbers.arms if arm.finished]
    curves = {arm.arm.label: _curves(arm) for arm in numbers.arms}
    if any(train or valid for train, valid, _ in curves.values()):
        on = ", ".join(dict.fromkeys(on for _, _, on in curves.values() if on)) or "validation"
        figures["curves"] = (
            _draw_curves(curves, on),
            f"Soft Dice coefficient (the paper's DSC) of the training batches and of the {on} films over updates; "
            "mean over seeds, the band from the lowest to the highest seed.",
        )
        if 1 < len(curves) <= _TOGETHER and any(valid for _, valid, _ in curves.values()):
            figures["validation"] = (
                _draw_together(curves, on),
                f"The DSC of the {on} films of all arms; mean over seeds.",
            )
    if scored:
        figures["distributions"] = (
            _draw_distributions(numbers, scored),
            "Each dot is a test film, with its mean over the seeds that tested it. Boxes from the lower to the upper "
            "quartile, the line is the median, whiskers reach to the last film within 1.5 box lengths.",
        )
    if any(len(factor.levels) > 1 for factor in numbers.results.plan.factors) and numbers.effects:
        figures["effects"] = (
            _draw_effects(numbers),
            "Main effects: each dot is a run (its mean over films), the bar the mean over all runs with that level.",
        )
    return figures


Series = dict[int, list[float]]


def _curves(arm: ArmNumbers) -> tuple[Series, Series, str]:
    """Update to the seeds' train DSC and validation DSC, and what the validation was on."""
    train: Series = defaultdict(list)
    valid: Series = defaultdict(list)
    on = ""
    for run in arm.runs:
        for record in run.run.metrics():
            if isinstance(record.get("train_dsc"), float):
                train[record["step"]].append(record["train_dsc"])
            if isinstance(record.get("validation"), Mapping):
                valid[record["step"]].append(float(record["validation"]["dsc"]))
                on = str(record.get("on", "validation"))
    return dict(train), dict(valid), on


def _draw_curves(curves: Mapping[str, tuple[Series, Series, str]], on: str) -> Figure:
    columns = min(3, len(curves))
    rows = math.ceil(len(curves) / columns)
    figure = new_figure(3.3 * columns + 0.4, 2.5 * rows + 0.4)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes, (label, (train, valid, _)) in zip(grid.flat, curves.items(), strict=False):
        _band(axes, train, _TRAIN, "training")
        _band(axes, valid, _VALID, on)
        _style(axes)
        axes.set_title(_wrapped(label), loc="left", fontsize=8, color=_INK)
        axes.set_ylim(0, 1)
    for axes in grid.flat[len(curves) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel("DSC", fontsize=8, color=_INK)
    for axes in grid[-1]:
        axes.set_xlabel("update", fontsize=8, color=_INK)
    grid.flat[0].legend(fontsize=7, frameon=False, loc="lower right")
    return figure


def _draw_together(curves: Mapping[str, tuple[Series, Series, str]], on: str) -> Figure:
    figure = new_figure(7.6, 4.2)
    axes = figure.subplots()
    for index, (label, (_, valid, _)) in enumerate(curves.items()):
        if valid:
            steps = sorted(valid)
            axes.plot(
                steps,
                [np.mean(valid[step]) for step in steps],
                color=_CYCLE[index % len(_CYCLE)],
                linestyle=_DASHES[index // len(_CYCLE) % len(_DASHES)],
                linewidth=1.6,
                label=label,
            )
    _style(axes)
    axes.set_xlabel("update", fontsize=9, color=_INK)
    axes.set_ylabel(f"DSC of the {on} films", fontsize=9, color=_INK)
    axes.legend(fontsize=8, frameon=False)
    return figure


def _band(axes: Axes, series: Series, colour: str, label: str) -> None:
    if not series:
        return
    steps = sorted(series)
    axes.plot(steps, [np.mean(series[step]) for step in steps], color=colour, linewidth=1.3, label=label)
    low, high = [min(series[step]) for step in steps], [max(series[step]) for step in steps]
    axes.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)


def _draw_distributions(numbers: Numbers, arms: Sequence[ArmNumbers]) -> Figure:
    measures = numbers.primary
    figure = new_figure(3.2 * len(measures) + 1.8, 0.34 * len(arms) + 1.3)
    grid = figure.subplots(1, len(measures), sharey=True, squeeze=False)[0]
    random = np.random.default_rng(0)
    for axes, measure in zip(grid, measures, strict=True):
        values = [[measure.scale * v for v in arm.cells[measure.key].films.values()] for arm in arms]
        axes.boxplot(
            values,
            orientation="horizontal",
            widths=0.55,
            showfliers=False,
            medianprops={"color": _TRAIN, "linewidth": 1.4},
            boxprops={"color": _INK, "linewidth": 0.8},
            whiskerprops={"color": _INK, "linewidth": 0.8},
            capprops={"color": _INK, "linewidth": 0.8},
        )
        for place, dots in enumerate(values, start=1):
            jitter = place + random.uniform(-0.18, 0.18, len(dots))
            axes.plot(dots, jitter, ".", color=_VALID, markersize=2.5, alpha=0.5)
        axes.set_title(measure.label, loc="left", fontsize=9, color=_INK)
        _style(axes, grid="x")
    grid[0].set_yticks(range(1, len(arms) + 1), [_wrapped(arm.arm.label, 44) for arm in arms], fontsize=7)
    grid[0].invert_yaxis()
    return figure


def _draw_effects(numbers: Numbers) -> Figure:
    factors = [factor for factor in numbers.results.plan.factors if len(factor.levels) > 1]
    measures = numbers.primary
    figure = new_figure(2.9 * len(factors) + 0.6, 2.4 * len(measures) + 0.3)
    grid = figure.subplots(len(measures), len(factors), sharey="row", squeeze=False)
    for row, measure in enumerate(measures):
        for column, factor in enumerate(factors):
            axes: Axes = grid[row][column]
            for place, level in enumerate(factor.levels):
                means = [
                    measure.scale * mean
                    for arm in numbers.arms
                    if arm.arm.levels[factor.name] == level.label
                    for mean in arm.cells[measure.key].seeds.values()
                ]
                axes.plot([place] * len(means), means, ".", color=_VALID, markersize=5, alpha=0.6)
                if means:
                    axes.plot([place - 0.25, place + 0.25], [np.mean(means)] * 2, color=_TRAIN, linewidth=2)
            axes.set_xticks(range(len(factor.levels)), [_wrapped(level.label, 12) for level in factor.levels])
            axes.set_xlim(-0.6, len(factor.levels) - 0.4)
            _style(axes)
            if row == 0:
                axes.set_title(factor.name, loc="left", fontsize=9, color=_INK)
            if column == 0:
                axes.set_ylabel(measure.label, fontsize=8, color=_INK)
    return figure


def _style(axes: Axes, grid: Any = "y") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_FAINT)
    axes.tick_params(colors=_INK, labelsize=7, color=_FAINT)
    axes.grid(axis=grid, color=_GRID, linewidth=0.7)
    axes.set_axisbelow(True)


def _wrapped(text: str, width: int = 40) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, width)) or text
