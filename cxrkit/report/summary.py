"""An evaluation in a few numbers: means and standard deviations over films, each with how many films it is of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from cxrkit.engine.measures import FILM_MEASURES, STRUCTURE_MEASURES, Measure
from cxrkit.engine.scores import Evaluation
from cxrkit.metrics.statistics import sample_std
from cxrkit.report.text_table import NONE


@dataclass(frozen=True, slots=True)
class Spread:
    """A mean over films with its sample standard deviation.

    Attributes:
        mean: None where no film has a value.
        std: None for fewer than two films.
        films: that have a value, and the number of those that `lost` theirs.
    """

    mean: float | None
    std: float | None
    films: int
    lost: int = 0

    def text(self, measure: Measure[Any]) -> str:
        """`96.3 ± 1.2`, in the unit and digits of a measure."""
        return NONE if self.mean is None else measure.text(self.mean, self.std)


@dataclass(frozen=True, slots=True)
class Summary:
    """What the tables show.

    Attributes:
        evaluation: which it is of.
        units: of the distances, `mm` before `px`, where both occur.
        structures: structure to key to spread over the films that have the structure; keys of distances end with their
            unit, since films may differ in it: `hd95_mm`.
        whole: the same of measures of whole films, by protocol and key.
        missed: structure to the number of films on which the mask has no pixel in common with the true one.
        datasets: where the films are of several datasets, the same of each, by alias.
    """

    evaluation: Evaluation
    units: tuple[str, ...]
    structures: Mapping[str, Mapping[str, Spread]]
    whole: Mapping[tuple[str, str], Spread]
    missed: Mapping[str, int]
    datasets: Mapping[str, Summary] = field(default_factory=dict)

    @property
    def films(self) -> str:
        """`38 test films`."""
        return counted(len(self.evaluation.films), f"{self.evaluation.part} film")

    def content(self) -> dict[str, Any]:
        """The numbers as JSON has them."""
        error = self.whole.get(("honest", "ctr_error"))
        return {
            "part": self.evaluation.part,
            "films": len(self.evaluation.films),
            "selected_on": self.evaluation.selected_on,
            "honest": {
                name: {key: _content(spread) for key, spread in spreads.items()}
                for name, spreads in self.structures.items()
            },
            **{
                name: {key: _content(spread) for (of, key), spread in self.whole.items() if of == protocol}
                for name, protocol in (("paper", "paper"), ("whole_films", "honest"))
            },
            "cardiothoracic_ratio": None if error is None else self._ratio(error),
            **({"datasets": {name: one.content() for name, one in self.datasets.items()}} if self.datasets else {}),
        }

    def _ratio(self, error: Spread) -> dict[str, Any]:
        found = self.evaluation.agreement
        return {"error": _content(error), "missing": error.lost, **({} if found is None else asdict(found))}

    def rows(self) -> list[tuple[tuple[str, ...], Summary]]:
        """The summaries that tables show, and the cell that names each: all films, and each dataset's; none for one."""
        if not self.datasets:
            return [((), self)]
        named = [("all", self), *self.datasets.items()]
        return [((f"{name} ({len(one.evaluation.films)})",), one) for name, one in named]


def columns(units: tuple[str, ...]) -> list[tuple[str, str, Measure[Any]]]:
    """Key, unit and measure of each column of a table of structures, with the units of distances."""
    return [
        (f"{measure.key}_{unit}".strip("_"), unit, measure)
        for measure in STRUCTURE_MEASURES
        for unit in measure.units(units)
    ]


def summarise(evaluation: Evaluation) -> Summary:
    """The means over films of an evaluation."""
    units = tuple(unit for unit in ("mm", "px") if any(film.unit == unit for film in evaluation.films))
    structures: dict[str, dict[str, Spread]] = {}
    for name in evaluation.structures:
        found = {key: spread(evaluation.by_film(m.key, name, unit)) for key, unit, m in columns(units)}
        structures[name] = {key: one for key, one in found.items() if one.films or one.lost}
    whole = {(m.protocol, m.key): spread(evaluation.by_film(m.key)) for m in FILM_MEASURES}
    datasets = evaluation.datasets
    several = {name: summarise(evaluation.of(name)) for name in datasets} if len(datasets) > 1 else {}
    return Summary(
        evaluation,
        units,
        structures,
        {key: one for key, one in whole.items() if one.films or one.lost},
        {name: evaluation.missed(name) for name in structures},
        several,
    )


def spread(values: Mapping[str, float | None]) -> Spread:
    """Mean and sample standard deviation (n - 1) of the films that have a value."""
    kept = [value for value in values.values() if value is not None]
    mean = float(np.mean(kept)) if kept else None
    return Spread(mean, sample_std(kept), len(kept), len(values) - len(kept))


def counted(number: int, what: str) -> str:
    """`1 film`, `2 films`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def listed(names: Iterable[str], between: str = ", ", most: int = 6) -> str:
    """The first few names, and how many more there are."""
    names = list(names)
    more = [f"and {len(names) - most} more"] if len(names) > most else []
    return between.join([*names[:most], *more])


def _content(spread: Spread) -> dict[str, Any] | None:
    """None where no film has a value."""
    return None if spread.mean is None else {"mean": spread.mean, "std": spread.std, "films": spread.films}
