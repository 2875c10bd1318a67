"""Networks that left cxrkit, computed by another runtime."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from cxrkit.config import PreprocessConfig
from cxrkit.engine.card import NetworkCard
from cxrkit.engine.weights import weights_source
from cxrkit.errors import ConfigError, DataError, PluginError, nearest
from cxrkit.registry import Component, Registry
from cxrkit.segmentation import WeightsSource
from cxrkit.services import Runtime

_INPUT = "images: float32 (B, 1, S, S), S = card.preprocess.size, preprocessed as card.preprocess says"
_OUTPUT = "probabilities: float32 (B, C, S, S) in [0, 1], one channel for each of card.channels, in that order"
_SPACING = "millimetres a pixel of the film play no part; areas and widths follow from the film's own spacing"


class Description(BaseModel):
    """What travels inside an exported file, as JSON.

    Attributes:
        card: the network's, as in its weights file.
        network: `cxrkit.engine.checkpoint.network_checksum` of the weights it was made from; None in earlier files.
        input, output, spacing: for people who use the file without cxrkit.
    """

    model_config = ConfigDict(extra="forbid")

    format: Literal[1] = 1
    card: NetworkCard
    network: str | None = None
    input: str
    output: str
    spacing: str

    @classmethod
    def of(cls, card: NetworkCard, network: str) -> Description:
        """The description of a network with its checksum."""
        return cls(card=card, network=network, input=_INPUT, output=_OUTPUT, spacing=_SPACING)


class ExportedPredictor:
    """A network in a file of another format, see `cxrkit.engine.predictor.Predictor`."""

    def __init__(
        self,
        card: NetworkCard,
        compute: Callable[[np.ndarray], np.ndarray],
        weights: WeightsSource | None = None,
        network: str | None = None,
    ) -> None:
        self.network = network
        self.channels: tuple[str, ...] = card.channels
        self.preprocess: PreprocessConfig = card.preprocess
        self.postprocess = card.postprocess
        self.weights = weights
        self.card = card
        self.compute = compute

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Images, float32 `(B, 1, H, W)`, to probabilities, float32 `(B, C, H, W)` in [0, 1]."""
        return np.asarray(self.compute(np.ascontiguousarray(images, dtype=np.float32)), dtype=np.float32)


def find_runtime(file: Path, name: str, registry: Registry) -> tuple[str, Runtime]:
    """The runtime for a file, by its suffix, and its name: the one asked for, or with `auto` the fastest installed one.

    Raises:
        ConfigError: no such runtime, one that doesn't read the format, or whose package is missing.
    """
    if name != "auto":
        chosen: Runtime = registry.get("runtime", name).build()
        if file.suffix not in chosen.suffixes:
            raise ConfigError(
                f"--runtime {name}: doesn't compute {file.suffix} files, only {', '.join(chosen.suffixes)}.",
                f"Leave it out, or export the network: cxrkit export RUN FILE{chosen.suffixes[0]}.",
            )
        return name, chosen
    runtimes = declared(registry, "runtime", "suffixes")
    able = [component for component, suffixes in runtimes if file.suffix in suffixes]
    if not able:
        known = sorted({suffix for _, suffixes in runtimes for suffix in suffixes})
        raise ConfigError(
            f"{file}: is no weights file of a kind that is known here.",
            f"{nearest(file.suffix, known)}Weights end in .safetensors, or in {', '.join(known)}.",
        )
    missing: list[ConfigError] = []
    for component in sorted(able, key=lambda component: -getattr(component.target, "rank", 0)):
        try:
            runtime: Runtime = component.build()
            return component.name, runtime
        except ConfigError as error:  # its package isn't installed
            missing.append(error)
    raise ConfigError(f"{file}: {missing[0].what}", missing[0].remedy)


def declared(registry: Registry, kind: str, attribute: str) -> list[tuple[Component, Any]]:
    """The components of a kind with what their class says of itself; those that can't be imported are left out."""
    found = []
    for component in registry.components(kind):
        with suppress(PluginError):
            if (value := getattr(component.target, attribute, None)) is not None:
                found.append((component, value))
    return found


def is_exported(file: Path, registry: Registry) -> bool:
    """Whether a file is of a format that networks are exported to, by its suffix, installed or not."""
    return any(file.suffix in suffixes for _, suffixes in declared(registry, "runtime", "suffixes"))


def load_exported(file: Path, runtime: Runtime) -> ExportedPredictor:
    """The network of an exported file.

    Raises:
        DataError: it can't be read, or holds no description of cxrkit's.
    """
    text, compute = runtime.load(file)
    if not text:
        raise DataError(
            f"{file}: was not exported by cxrkit: it doesn't say how films must be preprocessed.",
            "Export the network again: cxrkit export RUN FILE.",
        )
    try:
        description = Description.model_validate_json(text)
    except ValidationError as error:
        raise DataError(
            f"{file}: its description was not written by this version of cxrkit.",
            "Update cxrkit, or export the network again.",
        ) from error
    return ExportedPredictor(description.card, compute, network=description.network)


def open_exported(file: Path, registry: Registry, runtime: str) -> ExportedPredictor:
    """The network of an exported file with its identity.

    Raises:
        ConfigError, DataError: see `find_runtime` and `load_exported`.
    """
    if not file.is_file():
        raise DataError(f"{file}: there is no such file.", "Check the path.")
    predictor = load_exported(file, find_runtime(file, runtime, registry)[1])
    predictor.weights = weights_source(file, predictor.card.step, registry, None)
    return predictor
