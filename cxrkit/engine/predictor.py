"""Whatever turns preprocessed images into probabilities: all that prediction, evaluation and reports know of a network.

A test-time transform or a mean of networks with the same preprocessing wraps predictors and is one itself; another
runtime implements the protocol. Networks that preprocess differently must be averaged
after `Placement.restore`, at the film's size.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from cxrkit.config import PreprocessConfig
from cxrkit.engine.checkpoint import NetworkCard, load_network
from cxrkit.engine.forward import probabilities
from cxrkit.engine.hardware import autocast, choose_device, choose_precision
from cxrkit.engine.runtimes import open_exported
from cxrkit.engine.weights import weights_source
from cxrkit.errors import ConfigError, NotFiniteError
from cxrkit.interfaces import Model
from cxrkit.registry import Registry
from cxrkit.segmentation import WeightsSource


class Predictor(Protocol):
    """Turns preprocessed images into probabilities; device, precision and memory are its own responsibility."""

    @property
    def channels(self) -> tuple[str, ...]:
        """The names of the output channels: structures, and perhaps `background` last."""

    @property
    def preprocess(self) -> PreprocessConfig:
        """The preprocessing that images must have had."""

    @property
    def weights(self) -> WeightsSource | None:
        """Which weights it uses, if known."""

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Images, float32 `(B, 1, H, W)`, to probabilities, float32 `(B, C, H, W)` in [0, 1].

        NaN where it has no probability, because its weights diverged: such films are refused.
        """


class TorchPredictor:
    """A network of cxrkit's.

    Args:
        model: the network.
        card: what its weights file says of it; it computes with the precision it was trained and judged with.
        device: `auto`, `cpu`, `cuda` or `mps`.
        weights: where the weights come from, where known.
    """

    def __init__(
        self, model: Model, card: NetworkCard, *, device: str = "auto", weights: WeightsSource | None = None
    ) -> None:
        self.device = choose_device(device)
        self.model: Model = model.eval().to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.precision = choose_precision(card.precision, self.device)
        self.card = card
        self.channels = card.channels
        self.preprocess = card.preprocess
        self.postprocess = card.postprocess
        self.weights = weights

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Images, float32 `(B, 1, H, W)`, to probabilities, float32 `(B, C, H, W)` in [0, 1]."""
        with autocast(self.device, self.precision):
            found = probabilities(self.model, torch.from_numpy(images).to(self.device), len(images))
        return np.asarray(found.numpy())


def finite_probabilities(predictor: Predictor, images: np.ndarray) -> np.ndarray:
    """What a predictor makes of images.

    Raises:
        NotFiniteError: NaN or infinities, which would become masks and scores that look like any others.
    """
    found = predictor(images)
    if not np.isfinite(found).all():
        raise NotFiniteError(
            "The weights give values that are not finite.",
            "They may come from a training that diverged: use others, such as last or best.safetensors of its run.",
        )
    return found


def load_predictor(
    file: Path, registry: Registry, *, device: str = "auto", name: str | None = None, runtime: str = "auto"
) -> Predictor:
    """The network of a weights file, cxrkit's own or an exported one.

    Args:
        file: the weights.
        registry: where the network's model or its runtime comes from.
        device: of cxrkit's own networks; others choose theirs.
        name: that of weights that a package provides.
        runtime: what computes an exported network; `auto` is the fastest that is installed.

    Raises:
        ConfigError: no installed runtime computes the file. DataError: the file isn't usable.
        PluginError: the network's package isn't installed.
    """
    if file.suffix != ".safetensors" and file.suffix:
        return open_exported(file, registry, runtime)
    if runtime != "auto":
        raise ConfigError(
            f"--runtime {runtime}: {file} is computed by cxrkit's own network.",
            "Leave it out, or export the network first: cxrkit export WEIGHTS FILE.onnx (or .xml, .pt2).",
        )
    model, card = load_network(file, registry)
    return TorchPredictor(model, card, device=device, weights=weights_source(file, card.step, registry, name))
