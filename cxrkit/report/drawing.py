"""Shared by all figures: colours, axes, wrapped names.

matplotlib is imported when a figure is drawn; its global state (pyplot, rcParams) is left alone.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 150
INK, FAINT, GRID = "#222222", "#b8b8b8", "#e6e6e6"
TRAIN, VALID = "#D55E00", "#0072B2"
#: Okabe and Ito's, without its yellow, which is pale on white.
DISTINCT = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")


def new_figure(width: float, height: float) -> Figure:
    """An empty figure; width and height in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06)
    figure = Figure(figsize=(width, height), dpi=DPI, layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def style(axes: Axes, grid: Literal["x", "y"] = "y") -> None:
    """Two thin axes, and grid lines along one of them."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=7, color=FAINT)
    axes.grid(axis=grid, color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)


def wrapped(text: str, width: int = 40) -> str:
    """A name, wrapped at so many letters."""
    return "\n".join(textwrap.wrap(text, width)) or text
