"""A chest of ellipses, and evaluations with known numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import pytest

from cxrkit.engine.scores import Evaluation, FilmScores, StructureScores


def ellipse(size: int, row: float, column: float, height: float, width: float) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size] / size
    return ((rows - row) / height) ** 2 + ((columns - column) / width) ** 2 < 1


def chest_masks(size: int) -> dict[str, np.ndarray]:
    """Left and right are the patient's."""
    return {
        "left_lung": ellipse(size, 0.45, 0.7, 0.3, 0.15),
        "right_lung": ellipse(size, 0.45, 0.3, 0.3, 0.15),
        "heart": ellipse(size, 0.6, 0.53, 0.14, 0.16),
    }


@pytest.fixture
def chest() -> Callable[[int], dict[str, np.ndarray]]:
    return chest_masks


@pytest.fixture
def evaluation() -> Callable[..., Evaluation]:
    def make(
        dice: Sequence[float] = (0.9, 0.8, 0.7),
        *,
        units: Sequence[Literal["mm", "px"]] = (),
        ctr: Sequence[tuple[float | None, float | None]] = (),
        part: str = "test",
        selected_on: Literal["validation", "test", "nothing"] = "validation",
    ) -> Evaluation:
        films = tuple(
            FilmScores(
                id=f"film-{number}",
                dsc=value + 0.05,
                iou=value - 0.05,
                structures={
                    "heart": StructureScores(dice=value, iou=value / 2, hd95=10 * value, assd=2 * value),
                    "lungs": StructureScores(dice=1.0, iou=1.0, hd95=0.0, assd=0.0),
                },
                unit=units[number] if units else "mm",
                ctr=ctr[number][0] if ctr else None,
                true_ctr=ctr[number][1] if ctr else None,
            )
            for number, value in enumerate(dice)
        )
        return Evaluation(part=part, weights="best", step=150, selected_on=selected_on, films=films)

    return make
