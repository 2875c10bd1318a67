"""Calibrating weights: how good masks are, by how well a network's results for several views of a film agree."""

from __future__ import annotations

import copy
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cxrkit.config import DataConfig, make_config, resolve
from cxrkit.data.sources import parse_data
from cxrkit.data.splits import Split
from cxrkit.engine.changes import CHANGES, Annotated
from cxrkit.engine.checkpoint import amend_card
from cxrkit.engine.films import check_places
from cxrkit.engine.full_size import AnnotatedFilms
from cxrkit.engine.observer import Observer, Silent
from cxrkit.engine.predict import Segmenter
from cxrkit.engine.predictor import load_predictor
from cxrkit.engine.run import RunDirectory
from cxrkit.engine.runtimes import is_exported
from cxrkit.engine.torch_predictor import TorchPredictor
from cxrkit.engine.weights import find_weights
from cxrkit.errors import ConfigError, CxrkitError, DataError, located
from cxrkit.interfaces import BACKGROUND
from cxrkit.metrics.overlap import dice
from cxrkit.metrics.quality import Calibration, fit
from cxrkit.plugins import registry as installed

#: Below, a fit says nothing.
FEWEST_FILMS = 5
#: Changed versions of each film, beside the film as it is.
VERSIONS = 4

_AS_IT_IS = Calibration(agreement=(0.0, 1.0), dice=(0.0, 1.0), films=1)


@dataclass(frozen=True)
class Calibrated:
    """What a calibration rests on, for one structure.

    Attributes:
        calibration: what was stored.
        agreement, dice: of each mask, in [0, 1].
    """

    calibration: Calibration
    agreement: tuple[float, ...]
    dice: tuple[float, ...]


def calibrate(
    weights: Path | str,
    *,
    data: DataConfig | Path | str | Sequence[DataConfig | Path | str] | None = None,
    split: Path | str | None = None,
    device: str = "auto",
    observer: Observer | None = None,
) -> dict[str, Calibrated]:
    """Let weights say how good their masks are: fit an estimate of the Dice coefficient, and store it with them.

    It is fitted to films that trained nothing, each as it is and changed for the worse in four ways, from how well the
    network's results for several views of a film agree. `load` and `predict` then give each mask an estimate.

    Args:
        weights: a run's folder, or a weights file of cxrkit's; its card is changed.
        data: the films, as in `train`; by default the run's validation films.
        split: a split.json, of whose validation films alone the data is used.
        device: as in training.
        observer: is informed of the progress.

    Returns:
        Structure to what was fitted, and to what.

    Raises:
        ConfigError: weights that a package has or that were exported, or no data for a file.
        DataError: no such weights or films, no validation films, or too few.
    """
    components, listener = installed(), observer or Silent()
    file, name = find_weights(weights, components)
    if name is not None:
        raise ConfigError(
            f"{weights}: these weights belong to a package.",
            f"Calibrate a copy: cxrkit export {weights} FILE.safetensors",
        )
    if is_exported(file, components):
        raise ConfigError(f"{file}: an exported network's description can't be changed.", "Calibrate before exporting.")
    config, part = make_config({}), None if split is None else Path(split)
    if file.is_dir():
        run = RunDirectory.open(file)
        file, config = run.weights(), run.config()
        if data is None:
            check_places(config, run.config_file)
            part = part or run.split_file
    elif data is None and file.exists():
        raise ConfigError("There are no films to calibrate on.", "Name some that trained nothing: --data PLACE.")
    predictor = load_predictor(file, components, device=device)
    assert isinstance(predictor, TorchPredictor)
    if data is not None:
        config = config.model_copy(update={"data": parse_data(data, components.components("dataset"))})
    ids = None if part is None else validation_ids(part)
    films = AnnotatedFilms(resolve(config, components), components)
    among = {*(films.ids if ids is None else ids)}
    usable = [film for film in films.ids if film in among and films.has_masks(film, predictor.channels)]
    if ids and not usable:
        raise DataError(
            f"{part}: its validation films, such as '{ids[0]}', aren't in the data, or have no mask of "
            f"{', '.join(name for name in predictor.channels if name != BACKGROUND)}.",
            "Give the split of this data.",
        )
    with located(file):
        result = fit_quality(predictor, _each(films, usable, predictor.channels, listener), len(usable), listener)
    amend_card(file, quality={structure: one.calibration for structure, one in result.items()})
    return result


def fit_quality(
    predictor: TorchPredictor, films: Iterator[tuple[str, Annotated]], count: int, observer: Observer
) -> dict[str, Calibrated]:
    """Structure to the calibration that fits films best.

    Each film is taken as it is and changed for the worse in several ways (`cxrkit.engine.changes`), the same ones in
    every call.

    Args:
        predictor: the network.
        films: id and film with its masks, `count` of them.

    Raises:
        DataError: fewer than five films have a mask of any structure of the network.
    """
    trial = copy.copy(predictor)
    trial.card = predictor.card.model_copy(update={"quality": dict.fromkeys(predictor.channels, _AS_IT_IS)})
    segmenter = Segmenter(trial)
    pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in segmenter.structures}
    seen: dict[str, int] = dict.fromkeys(pairs, 0)
    observer.stage("Calibrating", count)
    for done, (name, film) in enumerate(films, start=1):
        for structure in seen.keys() & film.masks.keys():
            seen[structure] += 1
        for version in _versions(name, film):
            found = segmenter(version.levels)
            for structure in found.quality.keys() & version.masks.keys():
                overlap = dice(found.masks[structure], version.masks[structure])
                pairs[structure].append((found.quality[structure], overlap))
        observer.advance(done, name)
    enough = {name: made for name, made in pairs.items() if seen[name] >= FEWEST_FILMS}
    if not enough:
        raise DataError(
            f"Fewer than {FEWEST_FILMS} of these films have masks of {', '.join(pairs)}.", "Calibrate on more films."
        )
    result = {}
    for structure, made in enough.items():
        agreed, dices = zip(*made, strict=True)
        result[structure] = Calibrated(fit(agreed, dices, seen[structure]), agreed, dices)
    return result


def _versions(name: str, film: Annotated) -> Iterator[Annotated]:
    yield film
    random = np.random.default_rng(zlib.crc32(name.encode()))
    for place in random.permutation(len(CHANGES))[:VERSIONS]:
        changed = CHANGES[place](film, random)
        if changed.levels.max() > changed.levels.min():
            yield changed


def _each(
    films: AnnotatedFilms, ids: Sequence[str], structures: Sequence[str], observer: Observer
) -> Iterator[tuple[str, Annotated]]:
    """Each film's id, and the film; one that can't be read is reported and left out."""
    for name in ids:
        try:
            film, masks = films.read(name, structures)
        except CxrkitError as error:
            observer.say(f"Left out: {error.what}")
            continue
        yield name, Annotated.of(film.pixels, masks)


def validation_ids(split: Path) -> tuple[str, ...]:
    """The validation films of a split.

    Raises:
        DataError: it can't be read, or has none.
    """
    ids = Split.load(split).validation
    if not ids:
        raise DataError(f"{split}: this split has no validation films.", "Name films with --data that trained nothing.")
    return tuple(ids)
