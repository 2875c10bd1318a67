"""OpenVINO: the fastest on CPUs; it reads its own format and ONNX."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from cxrkit import ConfigError, DataError, Runtime


class OpenVinoRuntime(Runtime):
    """Computes with the precision that OpenVINO finds best on this machine."""

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
            compiled = core.compile_model(model, "CPU", {"PERFORMANCE_HINT": "LATENCY"})
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise DataError(f"{file}: OpenVINO can't read it: {reason}", "Export the network again.") from error
        where = ["cxrkit"] if model.has_rt_info(["cxrkit"]) else ["framework", "cxrkit"]  # the second: ONNX
        description = str(model.get_rt_info(where).value) if model.has_rt_info(where) else ""

        def compute(images: np.ndarray) -> np.ndarray:
            return np.array(compiled(images)[0])

        return description, compute
