"""Scores at the films' own size: of any weights, and of masks that another tool or a person drew, side by side.

What is scored of a network are the masks that `predict` writes. All candidates are scored on the same films: one that
can't be read, or that a candidate has no masks of, is left out of all scores and reported.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cxrkit.config import RunConfig
from cxrkit.data.joined import SEPARATOR
from cxrkit.data.mask_files import MaskFolder
from cxrkit.data.samples import list_entries, read_sample
from cxrkit.engine.comparable import common_structures, comparable, name_of, structures_by_place, to_read
from cxrkit.engine.films import build_datasets
from cxrkit.engine.measures import TOLERANCE, mask_pair, with_lungs
from cxrkit.engine.observer import Observer
from cxrkit.engine.outcomes import Failure
from cxrkit.engine.postprocessing import Choice, find_postprocess
from cxrkit.engine.predict import Segmenter
from cxrkit.engine.scores import Evaluation, FilmScores, film_scores
from cxrkit.errors import CxrkitError, DataError
from cxrkit.interfaces import Entry
from cxrkit.registry import Registry
from cxrkit.segmentation import Film

Masks = Mapping[str, np.ndarray]


class Candidate(ABC):
    """What is scored.

    Attributes:
        name: of it in tables.
        structures: what it has masks of.
        step, selected_on, postprocess: as an `Evaluation` has them.
    """

    name: str
    structures: tuple[str, ...]
    step: int
    selected_on: Literal["validation", "test", "nothing", "unknown", "masks"]
    postprocess: str | None

    @abstractmethod
    def __call__(self, name: str, film: Film, structures: Sequence[str]) -> tuple[Masks, Masks | None]:
        """Masks of a film, bool `(H, W)` of its own size: as they are, and after a post-processing if there is one.

        Args:
            name: the film's id; `film`: its pixels.
            structures: which it needs to have, of its own.

        Raises:
            CxrkitError: it has none.
        """


class NetworkCandidate(Candidate):
    """A network, as `predict` applies it.

    Args:
        name: of the weights.
        segmenter: the network, which does a post-processing.
        postprocess: which, by name; None: the weights' own or the default.
        registry: where the post-processing comes from.
        selected_on: what the weights were chosen on, if that is known.
    """

    def __init__(
        self,
        name: str,
        segmenter: Segmenter,
        postprocess: Choice,
        registry: Registry,
        selected_on: Literal["validation", "test", "nothing", "unknown"] = "unknown",
    ) -> None:
        self.name, self.segmenter, self.selected_on = name, segmenter, selected_on
        self.structures = segmenter.structures
        self.step = 0 if segmenter.weights is None else segmenter.weights.step
        self.postprocess = find_postprocess(postprocess, segmenter.predictor, registry)[0]

    def __call__(self, name: str, film: Film, structures: Sequence[str]) -> tuple[Masks, Masks]:
        """The masks as thresholded, and as `predict` writes them."""
        found = self.segmenter(film)
        return {name: maps > self.segmenter.threshold for name, maps in found.probabilities.items()}, found.masks


class MasksCandidate(Candidate):
    """Masks in a folder."""

    def __init__(self, folder: MaskFolder) -> None:
        self.name, self.folder, self.structures = str(folder.root), folder, folder.structures
        self.step, self.selected_on, self.postprocess = 0, "masks", None

    def __call__(self, name: str, film: Film, structures: Sequence[str]) -> tuple[Masks, None]:
        """The masks, of the film's own size."""
        masks = self.folder.read(name, structures)
        for structure, mask in masks.items():
            if mask.shape != film.pixels.shape:
                (rows, columns), (height, width) = mask.shape, film.pixels.shape
                raise DataError(
                    f"{self.name}: the mask of '{structure}' of the film '{name}' is {columns} × {rows} pixels, but "
                    f"the film is {width} × {height}.",
                    "Export the masks at the films' own size.",
                )
        return masks, None


@dataclass(frozen=True)
class Comparison:
    """The scores of several candidates on the same films, and the films that were left out, each with its reason."""

    evaluations: tuple[Evaluation, ...]
    failures: tuple[Failure, ...] = ()


class AnnotatedFilms:
    """The films of some data and their masks, at their own size.

    Args:
        config: whose data they are.
        registry: where the datasets come from.

    Raises:
        DataError, ContractError: see `list_entries`.
    """

    def __init__(self, config: RunConfig, registry: Registry) -> None:
        self.name = name_of(config)
        self.places = structures_by_place(config, registry)
        self._datasets = build_datasets(config, registry)
        self._entries = {
            f"{alias}{SEPARATOR}{entry.id}" if alias else entry.id: (alias, entry)
            for item in config.datasets
            for alias in (item.alias or "",)
            for entry in list_entries(self._datasets[alias], faulty=True, missing=item.missing)
        }

    @property
    def ids(self) -> tuple[str, ...]:
        """Of all films, in the order of the data."""
        return tuple(self._entries)

    def about(self, film: str) -> tuple[str | None, str | None]:
        """A film's patient, where that isn't the film alone, and its dataset, where there are several."""
        alias, entry = self._entries[film]
        group = f"{alias}{SEPARATOR}{entry.group}" if alias else entry.group
        return (None if group == film else group), alias or None

    def has_masks(self, film: str, structures: Sequence[str]) -> bool:
        """Whether a film has a mask of any of these structures, or a fault that is to be reported."""
        alias, entry = self._entries[film]
        return bool(entry.fault or self._known(alias, entry, structures))

    def _known(self, alias: str, entry: Entry, structures: Sequence[str]) -> tuple[str, ...]:
        own = self._datasets[alias].structures
        return tuple(entry.known([name for name in structures if name in own]))

    def read(self, film: str, structures: Sequence[str]) -> tuple[Film, dict[str, np.ndarray]]:
        """A film, and its true masks, bool `(H, W)`, of those structures that it has masks of.

        Raises:
            CxrkitError: it can't be read, or a mask is missing.
        """
        alias, entry = self._entries[film]
        if entry.fault:
            raise DataError(entry.fault, "Add what is missing, or let films lack masks: --set data.missing=unknown.")
        wanted = self._known(alias, entry, structures)
        sample = read_sample(self._datasets[alias], entry, wanted)
        read = Film(sample.image, sample.spacing, sample.remarks, None, sample.aspect)
        return read, {name: sample.masks[name] for name in wanted}


def score_candidates(
    candidates: Sequence[Candidate],
    films: AnnotatedFilms,
    ids: Sequence[str],
    *,
    structures: Sequence[str] | None,
    tolerance: float = TOLERANCE,
    observer: Observer,
) -> Comparison:
    """Score each candidate in the structures that it has in common with the data.

    Args:
        ids: which of the films.
        structures: only these.
        tolerance: of NSD, in millimetres.

    Raises:
        DataError: a candidate has no structure in common with the data, or not those asked for; or no film can be used.
    """
    chosen = [common_structures(one.name, one.structures, films.places, structures, observer) for one in candidates]
    annotated = {name for names in films.places.values() for name in names}
    needed = to_read([name for names in chosen for name in names], tuple(annotated))
    usable = [film for film in ids if films.has_masks(film, needed)]
    if len(usable) < len(ids):
        without = len(ids) - len(usable)
        observer.say(f"{without} of the {len(ids)} films have no mask of these structures: they are left out.")
    scores: list[list[FilmScores]] = [[] for _ in candidates]
    failures: list[Failure] = []
    observer.stage("Evaluating", len(usable))
    for done, film in enumerate(usable):
        try:
            read, truth = films.read(film, needed)
            found = []
            for one, names in zip(candidates, chosen, strict=True):
                wanted = [name for name in names if name in with_lungs(truth)]
                masks, after = one(film, read, to_read(wanted, one.structures))
                pair = mask_pair(masks, truth, read.spacing, after, tolerance=tolerance)
                found.append(film_scores(pair, film, read.spacing, *films.about(film)).only(comparable(names)))
        except CxrkitError as error:
            failures.append(Failure(film, error.what, error.remedy))
        else:
            for own, score in zip(scores, found, strict=True):
                own.append(score)
        observer.advance(done + 1, film)
    if len(failures) == len(usable):
        first = failures[0] if failures else Failure("", "", "Score other data, or other films of it.")
        raise DataError(f"None of the {len(ids)} films can be scored. {first.what}".rstrip(), first.remedy)
    evaluations = tuple(
        Evaluation(
            part=films.name,
            weights=one.name,
            step=one.step,
            selected_on=one.selected_on,
            films=tuple(own),
            postprocess=one.postprocess,
            full_size=True,
            tolerance=tolerance,
        )
        for one, own in zip(candidates, scores, strict=True)
    )
    return Comparison(evaluations, tuple(failures))
