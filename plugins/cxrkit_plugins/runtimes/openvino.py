"""OpenVINO: the fastest on CPUs; it reads its own format and ONNX."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cxrkit import ConfigError, DataError, Runtime


class OpenVinoRuntime(Runtime):
    """Computes in 32 bits if the network was trained so, else with the precision that OpenVINO finds best here."""

    suffixes = (".xml", ".onnx")
    rank = 2

    def __init__(self) -> None:
        try:
            import openvino
        except ImportError as error:
            raise ConfigError("OpenVINO isn't installed.", "Run: pip install 'cxrkit[openvino]'") from error
        self._openvino = openvino

    def load(self, file: Path) -> tuple[str, Callable[[np.ndarray], np.ndarray]]:
        """The description and the network."""
        core = self._openvino.Core()
        try:
            model = core.read_model(file)
            description = _description(model)
            compiled = core.compile_model(model, "CPU", {"PERFORMANCE_HINT": "LATENCY", **_precision(description)})
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise DataError(f"{file}: OpenVINO can't read it: {reason}", "Export the network again.") from error

        def compute(images: np.ndarray) -> np.ndarray:
            return np.array(compiled(images)[0])

        return description, compute


def _description(model: Any) -> str:
    """What the file says of the network, or nothing."""
    where = ["cxrkit"] if model.has_rt_info(["cxrkit"]) else ["framework", "cxrkit"]  # the second: ONNX
    return str(model.get_rt_info(where).value) if model.has_rt_info(where) else ""


def _precision(description: str) -> dict[str, str]:
    """The setting for a network that was trained and judged in 32 bits; 8-bit layers stay as they are."""
    try:
        trained_with = json.loads(description)["card"]["precision"]
    except (ValueError, KeyError, TypeError):  # not cxrkit's: whoever reads the description refuses it
        return {}
    return {"INFERENCE_PRECISION_HINT": "f32"} if trained_with == "32" else {}
