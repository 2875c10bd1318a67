"""Scores of films under both protocols (reference: docs/explanation/protocols).

`paper`: soft probabilities, per film, mean over films. DSC flattens all channels together, background
included; IoU is the mean of the channels' soft IoU.

`honest`: probabilities thresholded at 0.5, per film and structure, mean over films.

Distances are measured at the network's resolution, in millimetres where the film's pixel spacing is known
(scaled along with the resize), else in pixels of the network's input; or at the films' own size, see `full_size`, which
has no soft probabilities. What is measured is listed in `measures`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from cxrkit.engine.measures import FILM_MEASURES, STRUCTURE_MEASURES, TOLERANCE, FilmPair, film_pair, measured
from cxrkit.files import csv_text
from cxrkit.metrics.agreement import Agreement, ratio_agreement
from cxrkit.services import Postprocess


class _Measured(BaseModel):
    """Scores by their measures' keys, as attributes too: open, so that files of other versions can be read.

    A measure that doesn't apply is absent; one without a value, though there should be one, is None.
    """

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, float | None] = Field(init=False)

    if TYPE_CHECKING:

        def __getattr__(self, key: str) -> float | None: ...

    @property
    def measures(self) -> dict[str, float | None]:
        """Key to value."""
        return self.__pydantic_extra__


class StructureScores(_Measured):
    """Honest scores of one structure on one film; distances in the film's `unit`."""


class FilmScores(_Measured):
    """All scores of one film.

    Attributes:
        id: the film; `patient`, if several films can be of one; `dataset`, if the data are several.
        structures: honest scores by structure; `lungs` is the union of both. Only structures that the film has.
        unit: of the distances, `mm` or `px`.
        ctr, true_ctr: cardiothoracic ratio from the predicted and the true masks; None where one is empty.
    """

    id: str
    patient: str | None = None
    dataset: str | None = None
    structures: dict[str, StructureScores]
    unit: Literal["mm", "px"]
    ctr: float | None = None
    true_ctr: float | None = None

    @model_validator(mode="before")
    @classmethod
    def _add_ratio_error(cls, content: Any) -> Any:
        """Files of earlier versions have the two ratios without their difference."""
        if isinstance(content, dict) and "ctr_error" not in content and content.get("true_ctr") is not None:
            ratio = content.get("ctr")
            return content | {"ctr_error": None if ratio is None else abs(ratio - content["true_ctr"])}
        return content

    @model_serializer(mode="wrap")
    def _without_dataset(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Scores of one dataset alone are saved as they always were."""
        return {key: value for key, value in handler(self).items() if key != "dataset" or value is not None}

    def only(self, structures: Sequence[str]) -> FilmScores:
        """The scores of some structures, and of the whole film."""
        kept = {name: scores for name, scores in self.structures.items() if name in structures}
        return self.model_copy(update={"structures": kept})


class Evaluation(BaseModel):
    """Scores of every film of one part of a split.

    Attributes:
        part: `test`, `validation` or `train`, or the name of other data.
        data: of other data, the beginning of its fingerprint: two folders can have one name.
        weights: which weights were evaluated, and the step they are from; or the folder of masks, with step 0.
        selected_on: what the weights were chosen on: `validation`, `test` (as in the paper: optimistic), `nothing`
            (the last step), or `unknown` where a file of weights doesn't say it. Of masks it is `masks`.
        films: per film; at least one.
        postprocess: the post-processing of the scores that are of masks after one; None in files of earlier versions.
        full_size: whether the films' own size is the resolution, not the network's.
        tolerance: of NSD, in millimetres.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    part: str
    data: str | None = None
    weights: str
    step: int
    selected_on: Literal["validation", "test", "nothing", "unknown", "masks"]
    films: Annotated[tuple[FilmScores, ...], Field(min_length=1)]
    postprocess: str | None = None
    full_size: bool = False
    tolerance: float = TOLERANCE

    @property
    def stem(self) -> str:
        """What its files' names begin with."""
        return self.part if self.data is None else f"{self.part}-{self.data}"

    @property
    def selection(self) -> str:
        """How its weights were chosen, in words."""
        return {
            "validation": "chosen on the validation films",
            "test": "chosen on the test films",
            "nothing": "the last ones",
            "unknown": "how they were chosen isn't stored with them",
            "masks": "masks that exist",
        }[self.selected_on]

    @property
    def datasets(self) -> tuple[str, ...]:
        """The aliases of the datasets that the films are of; none where there is one alone."""
        return tuple(dict.fromkeys(film.dataset for film in self.films if film.dataset is not None))

    def of(self, dataset: str) -> Evaluation:
        """The scores of one dataset's films."""
        return self.model_copy(update={"films": tuple(film for film in self.films if film.dataset == dataset)})

    @property
    def structures(self) -> tuple[str, ...]:
        """Names of all films' structures, in the order of the tables."""
        return tuple(dict.fromkeys(name for film in self.films for name in film.structures))

    def by_film(self, measure: str, structure: str | None = None, unit: str = "") -> dict[str, float | None]:
        """Film to its value of a measure of a structure, or of the whole film; None where it is lost.

        Films that the measure doesn't apply to are absent, and so are those of another `unit`, if one is given.
        """
        values: dict[str, float | None] = {}
        for film in self.films:
            scores = film if structure is None else film.structures.get(structure)
            if scores is not None and measure in scores.measures and unit in ("", film.unit):
                value = scores.measures[measure]
                values[film.id] = value if value is not None and math.isfinite(value) else None
        return values

    def values(self, structure: str | None, measure: str) -> np.ndarray:
        """One measure of a structure, or of whole films, float64 `(films,)`: of the films that have a value."""
        return np.array([value for value in self.by_film(measure, structure).values() if value is not None])

    @property
    def agreement(self) -> Agreement | None:
        """That of the films' cardiothoracic ratios with the true ones; None where no film has both."""
        both = [(film.ctr, film.true_ctr) for film in self.films if film.ctr is not None and film.true_ctr is not None]
        return ratio_agreement([ratio for ratio, _ in both], [true for _, true in both])

    def missed(self, structure: str) -> int:
        """Films on which predicted and true mask have no pixel in common, though they aren't both empty."""
        return int((self.values(structure, "dice") == 0).sum())

    def to_csv(self) -> str:
        """A line for each film and structure; the paper's scores are those of `all`, with the DSC as `dice`."""
        keys = [measure.key for measure in STRUCTURE_MEASURES]
        whole = [measure.key for measure in FILM_MEASURES if measure.protocol == "honest"]
        rows: list[Sequence[object]] = []
        for film in self.films:
            own = film.measures
            soft = {"dice": own.get("dsc"), "iou": own.get("iou")}
            rows.append([film.id, "paper", "all", *(soft.get(key) for key in keys), *[None] * (3 + len(whole))])
            ratios = [film.unit, film.ctr, film.true_ctr, *(own.get(key) for key in whole)]
            for name, scores in film.structures.items():
                rows.append([film.id, "honest", name, *(scores.measures.get(key) for key in keys), *ratios])
        headings = ["id", "protocol", "structure", *keys, "unit", "ctr", "true_ctr", *whole]
        if self.datasets:
            places = {film.id: film.dataset for film in self.films}
            headings, rows = [*headings, "dataset"], [[*row, places[str(row[0])]] for row in rows]
        return csv_text(headings, [["" if cell is None else cell for cell in row] for row in rows])


def score_film(
    film: str,
    channels: Sequence[str],
    predicted: np.ndarray,
    truth: np.ndarray,
    spacing: tuple[float, float] | None,
    patient: str | None = None,
    known: Sequence[int] | None = None,
    postprocess: Postprocess | None = None,
    dataset: str | None = None,
    true_channels: Sequence[str] | None = None,
) -> FilmScores:
    """All scores of one film: probabilities and targets `(C, H, W)`, spacing (row, column) in mm if known.

    Only the `known` true channels are scored; by default all. With a `postprocess`, masks are scored after it too.
    """
    pair = film_pair(predicted, truth, channels, spacing, known, postprocess, true_channels)
    return film_scores(pair, film, spacing, patient, dataset)


def film_scores(
    pair: FilmPair, film: str, spacing: tuple[float, float] | None, patient: str | None, dataset: str | None
) -> FilmScores:
    """What is measured on a film, whose masks were paired."""
    return FilmScores.model_validate(
        {
            **measured(FILM_MEASURES, pair),
            "id": film,
            "patient": patient,
            "dataset": dataset,
            "structures": {name: measured(STRUCTURE_MEASURES, one) for name, one in pair.structures.items()},
            "unit": "px" if spacing is None else "mm",
            "ctr": pair.ratio,
            "true_ctr": pair.true_ratio,
        }
    )
