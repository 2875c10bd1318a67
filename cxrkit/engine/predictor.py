"""Whatever turns preprocessed images into probabilities: all that prediction, evaluation and reports know of a network.

A test-time transform or a mean of networks with the same preprocessing wraps predictors and is one itself; another
runtime implements the protocol. Networks that preprocess differently must be averaged
after `Placement.restore`, at the film's size.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from cxrkit.config import PreprocessConfig
from cxrkit.engine.runtimes import open_exported
from cxrkit.errors import ConfigError, NotFiniteError
from cxrkit.registry import Registry
from cxrkit.segmentation import WeightsSource


class Predictor(Protocol):
    """Turns preprocessed images into probabilities; device, precision and memory are its own responsibility.

    It may also say that it can be used for several films at a time. Without these attributes it isn't:

    - `shared_by_threads`: whether several threads may call it at a time; False: they take turns.
    - `shared_by_forks`: whether processes that are forked after it was made may call it; False: there are none.
    """

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
    from cxrkit.engine.torch_predictor import load_torch  # exported networks need no torch

    return load_torch(file, registry, device=device, name=name)
