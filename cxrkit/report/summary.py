"""An evaluation in a few numbers: means and standard deviations over films, each with how many films it is of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cxrkit.engine.scores import Evaluation

#: Measures of a structure in the order of the tables, with their headings; the first two are percentages.
OVERLAPS = {"dice": "Dice %", "iou": "IoU %"}
DISTANCES = {"hd95": "HD95", "assd": "ASSD"}


@dataclass(frozen=True, slots=True)
class Spread:
    """A mean over films with its sample standard deviation (None for a single film) and their number."""

    mean: float
    std: float | None
    films: int

    def text(self, scale: float = 1.0, digits: int = 1) -> str:
        """`96.3 ± 1.2`, with the values times `scale`."""
        mean = f"{scale * self.mean:.{digits}f}"
        return mean if self.std is None else f"{mean} ± {scale * self.std:.{digits}f}"


@dataclass(frozen=True, slots=True)
class StructureRow:
    """Honest scores of one structure.

    Attributes:
        overlaps: in [0, 1], by measure.
        distances: by measure and unit, since films may differ in it.
        missed: films on which the mask has no pixel in common with the true one.
    """

    structure: str
    overlaps: dict[str, Spread]
    distances: dict[tuple[str, str], Spread]
    missed: int


@dataclass(frozen=True, slots=True)
class Ratio:
    """Cardiothoracic ratio: absolute error over the films where both masks give one, and how many there are.

    Attributes:
        error: None if there is no such film.
        missing: films where the prediction gives none though the true masks do.
    """

    error: Spread | None
    missing: int


@dataclass(frozen=True, slots=True)
class Summary:
    """What the tables show.

    Attributes:
        dsc, iou: the paper's protocol, in [0, 1].
        units: of the distances, `mm` before `px`, where both occur.
    """

    part: str
    weights: str
    step: int
    selected_on: str
    films: int
    dsc: Spread
    iou: Spread
    rows: tuple[StructureRow, ...]
    units: tuple[str, ...]
    ratio: Ratio | None

    @property
    def selection(self) -> str:
        """How the weights were chosen, in words; says so where that flatters the scores."""
        chosen = f"{self.weights} weights (step {self.step})"
        if self.selected_on == "test":
            return (
                f"{chosen}, chosen by their score on the test films themselves, as the paper's released code did: "
                "these scores are optimistic"
            )
        return f"{chosen}, " + {
            "validation": "chosen on the validation films",
            "nothing": "the last of the training: nothing was chosen",
        }.get(self.selected_on, f"chosen on {self.selected_on}")


def summarise(evaluation: Evaluation) -> Summary:
    """The means over films of an evaluation."""
    units = tuple(unit for unit in ("mm", "px") if any(film.unit == unit for film in evaluation.films))
    of_unit = {unit: np.array([film.unit == unit for film in evaluation.films]) for unit in units}
    rows = tuple(
        StructureRow(
            structure=name,
            overlaps={measure: spread(evaluation.values(name, measure)) for measure in OVERLAPS},
            distances={
                (measure, unit): spread(evaluation.values(name, measure)[of_unit[unit]])
                for measure in DISTANCES
                for unit in units
            },
            missed=evaluation.missed(name),
        )
        for name in evaluation.structures
    )
    return Summary(
        part=evaluation.part,
        weights=evaluation.weights,
        step=evaluation.step,
        selected_on=evaluation.selected_on,
        films=len(evaluation.films),
        dsc=spread(evaluation.paper("dsc")),
        iou=spread(evaluation.paper("iou")),
        rows=rows,
        units=units,
        ratio=_ratio(evaluation),
    )


def spread(values: Sequence[float] | np.ndarray) -> Spread:
    """Mean and sample standard deviation (n - 1) of at least one value."""
    array = np.asarray(values, dtype=np.float64)
    return Spread(float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else None, len(array))


def _ratio(evaluation: Evaluation) -> Ratio | None:
    """None where no film has a true ratio to compare with."""
    errors, missing = evaluation.ctr_errors(), evaluation.ctr_missing()
    if len(errors) == 0 and missing == 0:
        return None
    return Ratio(spread(errors) if len(errors) else None, missing)
