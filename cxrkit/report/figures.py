"""The figures of a report: curves of the training, and films with their true and predicted masks."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

from cxrkit.engine.scores import Evaluation
from cxrkit.metrics.agreement import ENLARGED
from cxrkit.readings import Reading, TrainingReading, ValidationReading
from cxrkit.report.colours import RGB, structure_colours, structure_label
from cxrkit.report.drawing import FAINT, INK, TRAIN, VALID, new_figure, style
from cxrkit.report.overlay import draw_overlay, to_grey
from cxrkit.report.panels import DRAWN_SIDE, Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_VALID_DSC = "#56B4E9"


def draw_curves(readings: Sequence[Reading], *, title: str = "", best: int | None = None) -> Figure:
    """Loss, scores in training and validation, and what losses report of their own training, over steps.

    Args:
        readings: of the training, in their order.
        title: of the figure, such as the run's name.
        best: the step of the weights that were chosen, marked.
    """
    training = [r for r in readings if isinstance(r, TrainingReading)]
    validation = [r for r in readings if isinstance(r, ValidationReading)]
    own = list(dict.fromkeys(name for reading in training for name in reading.own))
    rows = 1 + (len(own) + 1) // 2
    figure = new_figure(9.6, 0.3 + 3.6 * rows)
    loss, scores, *others = figure.subplots(rows, 2, squeeze=False).flat
    _draw_loss(loss, training)
    _draw_scores(scores, training, validation)
    for axes, name in zip(others, own, strict=False):
        _draw_curve(axes, name.replace("_", " "), [(r.step, r.own[name]) for r in training if name in r.own])
    for axes in others[len(own) :]:
        axes.set_axis_off()
    for axes in (loss, scores, *others[: len(own)]):
        style(axes)
        _make_steps(axes)
        if best is not None:
            axes.axvline(best, color=INK, linewidth=0.8, linestyle=(0, (2, 2)))
    if best is not None:
        label = f"chosen, step {best}"
        late = bool(readings) and best > 0.5 * max(r.step for r in readings)
        scores.annotate(
            label,
            (best, 0.02),
            xycoords=("data", "axes fraction"),
            xytext=(-4 if late else 4, 0),
            textcoords="offset points",
            ha="right" if late else "left",
            fontsize=8,
            color=INK,
        )
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold", color=INK)
    return figure


def draw_agreement(evaluations: Mapping[str, Evaluation]) -> Figure:
    """Bland and Altman's plot of the cardiothoracic ratio: difference over mean of measured and true, film by film.

    Args:
        evaluations: by the name above each; of films with ratios.
    """
    figure = new_figure(4.8 * len(evaluations), 3.9)
    for axes, (name, evaluation) in zip(
        figure.subplots(1, len(evaluations), squeeze=False, sharex=True, sharey=True)[0],
        evaluations.items(),
        strict=True,
    ):
        pairs = [(film.ctr, film.true_ctr) for film in evaluation.films if film.ctr and film.true_ctr]
        measured, true = np.array(pairs, dtype=float).reshape(-1, 2).T
        axes.scatter((measured + true) / 2, measured - true, s=16, color=VALID, alpha=0.7, linewidth=0)
        found = evaluation.agreement
        if found is not None:
            _draw_level(axes, found.bias, f"bias {found.bias:+.3f}", "-")
            for limit in found.limits or ():
                _draw_level(axes, limit, f"{limit:+.3f}", "--")
        axes.axvline(ENLARGED, color=FAINT, linewidth=0.8, linestyle=":")
        axes.set_title(textwrap.shorten(name, 48, placeholder="…"), loc="left", fontsize=10, color=INK)
        axes.set_xlabel("mean of measured and true ratio", fontsize=9, color=INK)
        style(axes)
    figure.axes[0].set_ylabel("measured − true", fontsize=9, color=INK)
    return figure


def _draw_level(axes: Axes, level: float, text: str, line: str) -> None:
    """A horizontal line, with its value at the right."""
    axes.axhline(level, color=INK, linewidth=1, linestyle=line)
    axes.annotate(
        text.replace("-", "−"),
        (1, level),
        xycoords=("axes fraction", "data"),
        xytext=(0, 2),
        textcoords="offset points",
        ha="right",
        fontsize=8,
        color=INK,
    )


def draw_panels(panels: Sequence[Panel], *, title: str = "") -> Figure:
    """A row per film: the film, the true structures, the prediction with the true outlines dashed."""
    names = list(dict.fromkeys(name for panel in panels for name in (*panel.truth, *panel.predicted)))
    colours = structure_colours(names)
    rows = max(1, len(panels))
    figure = new_figure(9.6, 3.5 * rows + 0.7)
    grid = figure.subplots(rows, 3, squeeze=False)
    for axes, panel in zip(grid, panels, strict=False):
        _draw_panel(axes, panel)
    for axes, heading in zip(grid[0], ("film", "truth", "prediction (truth dashed)"), strict=True):
        axes.set_title(heading, fontsize=10, color=INK, pad=6)
    for axes in grid.flat:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_frame_on(False)
    _draw_legend(figure, colours)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold", color=INK)
    return figure


def _make_steps(axes: Axes) -> None:
    """A horizontal axis of whole steps."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("step", fontsize=9, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _draw_loss(axes: Axes, training: Sequence[TrainingReading]) -> None:
    values = [r.loss for r in training]
    _draw_curve(axes, "training loss", [(r.step, r.loss) for r in training])
    if len(values) > 1 and min(values) > 0 and max(values) > 10 * min(values):
        _make_logarithmic(axes)


def _draw_curve(axes: Axes, title: str, points: Sequence[tuple[int, float]]) -> None:
    """Values by step, and their running mean."""
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    steps, values = [step for step, _ in points], np.array([value for _, value in points], dtype=float)
    if len(values) < 2:
        axes.plot(steps, values, color=FAINT, marker="o", markersize=3)
        return
    axes.plot(steps, values, color=FAINT, linewidth=0.9)
    axes.plot(steps, smooth(values), color=INK, linewidth=1.6)


def _make_logarithmic(axes: Axes) -> None:
    """A logarithmic axis with plain numbers: 0.2, 0.5, 1, 2."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _draw_scores(axes: Axes, training: Sequence[TrainingReading], validation: Sequence[ValidationReading]) -> None:
    on = validation[-1].on if validation else "validation"
    axes.set_title("scores, %", loc="left", fontsize=10, color=INK)
    curves: list[tuple[str, str, list[int], list[float]]] = []
    if training:
        values = smooth(np.array([r.train_dsc for r in training], dtype=float))
        curves.append(("training DSC", TRAIN, [r.step for r in training], list(100 * values)))
    for measure, label, colour in (("dsc", "DSC", _VALID_DSC), ("dice", "Dice", VALID)):
        points = [(r.step, 100 * r.validation[measure]) for r in validation if measure in r.validation]
        if points:
            curves.append((f"{on} {label}", colour, [s for s, _ in points], [v for _, v in points]))
    for label, colour, steps, values_ in curves:
        few = len(steps) <= 40
        axes.plot(steps, values_, color=colour, linewidth=1.6, marker="o" if few else "", markersize=3, label=label)
    if curves:
        lowest = min(min(values_) for _, _, _, values_ in curves)
        axes.set_ylim(max(0.0, lowest - 3), 100.5)
        axes.legend(fontsize=8, labelcolor=INK, loc="best", facecolor="white", edgecolor="none", framealpha=0.85)


def smooth(values: np.ndarray) -> np.ndarray:
    """Running mean over a twentieth of the curve, centred, shorter at both ends; `(N,)` to `(N,)`."""
    half = max(1, len(values) // 40)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(len(values))
    reach = np.minimum(half, np.minimum(places, len(values) - 1 - places))
    result: np.ndarray = (sums[places + reach + 1] - sums[places - reach]) / (2 * reach + 1)
    return result


def _draw_panel(axes: Sequence[Axes], panel: Panel) -> None:
    film = to_grey(_enlarge(panel.image))
    truth = {name: _enlarge_mask(mask) for name, mask in panel.truth.items()}
    found = {name: _enlarge_mask(mask) for name, mask in panel.predicted.items()}
    axes[0].imshow(film, cmap="gray", vmin=0, vmax=255)
    axes[1].imshow(draw_overlay(film, truth, legend=False))
    axes[2].imshow(draw_overlay(film, found, truth=truth, legend=False))
    axes[0].set_ylabel(panel.label, fontsize=10, fontweight="bold", color=INK)
    axes[0].set_xlabel(textwrap.shorten(panel.scores.id, 44, placeholder="…"), fontsize=8, color=INK)
    axes[2].set_xlabel(caption(panel), fontsize=8, color=INK)


def caption(panel: Panel) -> str:
    """`Dice %: left lung 96.2, heart 91.0`, wrapped."""
    scores = panel.scores.structures
    parts = [f"{structure_label(name)} {100 * s.dice:.1f}" for name, s in scores.items() if s.dice is not None]
    # A name and its number stay on one line.
    return textwrap.fill("Dice %: " + ", ".join(part.replace(" ", "\u00a0") for part in parts), 50)


def _enlarge(image: np.ndarray) -> np.ndarray:
    factor = max(1, round(DRAWN_SIDE / max(image.shape)))
    enlarged: np.ndarray = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)
    return enlarged


def _enlarge_mask(mask: np.ndarray) -> np.ndarray:
    """A mask enlarged like its film, the steps at its edge smoothed by half a pixel of the network's input."""
    enlarged = _enlarge(mask.astype(np.float32))
    blur = 0.5 * enlarged.shape[0] / mask.shape[0]
    rounded: np.ndarray = cv2.GaussianBlur(enlarged, (0, 0), blur) > 0.5
    return rounded


def _draw_legend(figure: Figure, colours: Mapping[str, RGB]) -> None:
    from matplotlib.lines import Line2D

    if colours:
        handles = [
            Line2D([], [], color="#{:02x}{:02x}{:02x}".format(*colour), linewidth=3, label=structure_label(name))
            for name, colour in colours.items()
        ]
        figure.legend(
            handles=handles,
            loc="outside lower center",
            ncols=min(5, len(handles)),
            frameon=False,
            fontsize=9,
            labelcolor=INK,
        )
