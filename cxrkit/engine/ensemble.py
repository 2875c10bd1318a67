"""Several predictors as one: their mean, and test-time augmentation."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from cxrkit.engine.observer import Observer
from cxrkit.engine.predictor import Predictor, load_predictor
from cxrkit.engine.run import RunDirectory
from cxrkit.engine.runtimes import ExportedPredictor
from cxrkit.engine.views import view_probabilities
from cxrkit.engine.weights import about_weights, find_all_weights
from cxrkit.errors import ConfigError
from cxrkit.files import checksum
from cxrkit.registry import Registry
from cxrkit.segmentation import BACKGROUND, WeightsSource

#: Weights by path or name, one or several; None: the default ones.
Weights = Path | str | Sequence[Path | str] | None


class TestTime:
    """A predictor's mean over the views of a film (`cxrkit.engine.views`), which costs as many passes as there are."""

    __test__ = False  # pytest would take it for tests

    def __init__(self, plain: Predictor) -> None:
        self.plain = plain
        self.channels, self.preprocess, self.weights = plain.channels, plain.preprocess, plain.weights
        self.postprocess = getattr(plain, "postprocess", None)
        self.card = getattr(plain, "card", None)

    def each(self, function: Callable[[Predictor], Predictor]) -> TestTime:
        """The same of what a function makes of the predictor."""
        return TestTime(with_each(self.plain, function))

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Images, float32 `(B, 1, H, W)`, to probabilities, float32 `(B, C, H, W)` in [0, 1]."""
        return np.asarray(view_probabilities(self.plain, images).mean(axis=0))


class Ensemble:
    """The mean of several predictors, in the structures that all have.

    Those that preprocess alike compute one batch of images. `Segmenter` averages also others, at the film's size.

    Raises:
        ConfigError: they have no structure in common.
    """

    def __init__(self, members: Sequence[Predictor]) -> None:
        self.members = tuple(members)
        first = self.members[0]
        sets = [{name for name in one.channels if name != BACKGROUND} for one in self.members]
        common = set.intersection(*sets)
        if not common:
            listed = "; ".join(f"{_name(one)}: {', '.join(one.channels)}" for one in self.members)
            raise ConfigError(f"These weights have no structure in common ({listed}).", "Use them one at a time.")
        #: The structures that some of them have and others don't.
        self.left_out = tuple(sorted(set.union(*sets) - common))
        # What is left when structures are taken away is another background.
        background = not self.left_out and all(BACKGROUND in one.channels for one in self.members)
        self.channels = tuple(n for n in first.channels if n in common or (n == BACKGROUND and background))
        self.preprocess = first.preprocess
        own = [getattr(one, "postprocess", None) for one in self.members]
        self.postprocess = own[0] if all(one == own[0] for one in own) else None
        sources = [one.weights for one in self.members]
        known = [source for source in sources if source is not None]
        self.weights = joined_source(known) if len(known) == len(sources) else None

    def each(self, function: Callable[[Predictor], Predictor]) -> Ensemble:
        """The same of what a function makes of each member."""
        return Ensemble([with_each(one, function) for one in self.members])

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Images, float32 `(B, 1, H, W)`, to probabilities, float32 `(B, C, H, W)` in [0, 1].

        Raises:
            ConfigError: the members preprocess films differently.
        """
        if any(one.preprocess != self.preprocess for one in self.members):
            raise ConfigError(
                "These networks preprocess films differently, so that they can only be averaged at the films' size.",
                "Score them with --data, or use them one at a time.",
            )
        found = [one(images)[:, places_of(one, self.channels)] for one in self.members]
        return np.asarray(np.mean(found, axis=0, dtype=np.float32))


def members_of(predictor: Predictor) -> tuple[Predictor, ...]:
    """What a predictor is the mean of: itself, unless it is an ensemble."""
    return predictor.members if isinstance(predictor, Ensemble) else (predictor,)


def with_each(predictor: Predictor, function: Callable[[Predictor], Predictor]) -> Predictor:
    """A predictor whose networks are what a function makes of them."""
    return predictor.each(function) if isinstance(predictor, Ensemble | TestTime) else function(predictor)


def networks_of(predictor: Predictor) -> list[Predictor]:
    """The predictors that others are made of."""
    found: list[Predictor] = []

    def note(one: Predictor) -> Predictor:
        found.append(one)
        return one

    with_each(predictor, note)
    return found


def places_of(predictor: Predictor, channels: Sequence[str]) -> list[int]:
    """Where a predictor has these channels."""
    return [predictor.channels.index(name) for name in channels]


def joined_source(sources: Sequence[WeightsSource]) -> WeightsSource:
    """What is recorded of several weights: their names and files joined, and each in `members`."""
    names = [source.name or source.file for source in sources]
    named = " + ".join(dict.fromkeys(names)) if any(source.name for source in sources) else None
    packages = {source.package for source in sources}
    return WeightsSource(
        named,
        packages.pop() if len(packages) == 1 else None,
        " + ".join(source.file for source in sources),
        hashlib.sha256("".join(source.sha256 for source in sources).encode()).hexdigest(),
        max(source.step for source in sources),
        sources[0].cxrkit,
        tuple(sources),
    )


def load_weights(
    weights: Weights, registry: Registry, *, device: str = "auto", runtime: str = "auto", tta: bool = False
) -> Predictor:
    """One network, or the mean of several.

    Args:
        weights: runs, files or names; of a name that stands for several networks, all.
        registry: where models, runtimes and names come from.
        device, runtime: see `load_predictor`.
        tta: whether each network's result is the mean over the views of a film.

    Raises:
        ConfigError: there are no such weights, the same twice, or they have no structure in common.
        DataError, PluginError: see `load_predictor`.
    """
    members: list[Predictor] = []
    files: list[Path] = []
    for file, name in find_all_weights(weights, registry):
        files.append(RunDirectory.open(file).weights() if file.is_dir() else file)
        members.append(load_predictor(files[-1], registry, device=device, name=name, runtime=runtime))
    if len(members) > 1 and len(set(map(_network, files, members))) < len(members):
        raise ConfigError(
            "--weights: the same weights are given twice.", "Give each once, by name, as a file, or as exported."
        )
    if tta:
        members = [TestTime(one) for one in members]
    return members[0] if len(members) == 1 else Ensemble(members)


def _network(file: Path, predictor: Predictor) -> str:
    """What files of the same weights have in common, also in other formats and with 16-bit floats, if they say it."""
    if isinstance(predictor, ExportedPredictor):
        return predictor.network or checksum(file)
    from cxrkit.engine.checkpoint import network_checksum  # exported networks need no torch

    return network_checksum(file)


def report_weights(predictor: Predictor, registry: Registry, observer: Observer) -> None:
    """Report which weights of packages are used, and what of an ensemble is left out."""
    sources = [one.weights for one in networks_of(predictor)]
    for name in dict.fromkeys(source.name for source in sources if source is not None and source.name is not None):
        observer.say(about_weights(name, registry))
    if isinstance(predictor, Ensemble) and predictor.left_out:
        observer.say(
            f"Not all of these weights have {', '.join(predictor.left_out)}: the mean is of "
            f"{', '.join(name for name in predictor.channels if name != BACKGROUND)}."
        )


def _name(predictor: Predictor) -> str:
    source = predictor.weights
    return "a network" if source is None else source.name or source.file
