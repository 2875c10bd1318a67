"""What the figures of an ablation's report share: colours, axes, wrapped names."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, FAINT, GRID = "#222222", "#b8b8b8", "#e6e6e6"
TRAIN, VALID = "#D55E00", "#0072B2"
#: Okabe and Ito's, without its yellow, which is pale on white.
DISTINCT = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")


def style(axes: Axes, grid: Literal["x", "y"] = "y") -> None:
    """Two thin axes, and grid lines along one of them."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=7, color=FAINT)
    axes.grid(axis=grid, color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)


def wrapped(text: str, width: int = 40) -> str:
    """A name on lines of so many letters."""
    return "\n".join(textwrap.wrap(text, width)) or text
