"""Networks of cxrkit's own, computed by torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from cxrkit.engine.checkpoint import NetworkCard, load_network
from cxrkit.engine.forward import probabilities
from cxrkit.engine.hardware import autocast, choose_device, choose_precision
from cxrkit.engine.weights import weights_source
from cxrkit.interfaces import Model
from cxrkit.registry import Registry
from cxrkit.segmentation import WeightsSource


class TorchPredictor:
    """A network of cxrkit's, see `cxrkit.engine.predictor.Predictor`.

    Args:
        model: the network.
        card: what its weights file says of it; it computes with the precision it was trained and judged with.
        device: `auto`, `cpu`, `cuda` or `mps`.
        weights: where the weights come from, where known.
    """

    shared_by_threads = True

    def __init__(
        self, model: Model, card: NetworkCard, *, device: str = "auto", weights: WeightsSource | None = None
    ) -> None:
        self.device = choose_device(device)
        self.shared_by_forks = self.device.type == "cpu"
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


def load_torch(file: Path, registry: Registry, *, device: str, name: str | None) -> TorchPredictor:
    """The network of a weights file, see `cxrkit.engine.predictor.load_predictor`."""
    model, card = load_network(file, registry)
    return TorchPredictor(model, card, device=device, weights=weights_source(file, card.step, registry, name))
