"""ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from cxrkit import ConfigError, DataError, Runtime


class OnnxRuntime(Runtime):
    """Computes ONNX files on the CPU."""

    suffixes = (".onnx",)
    rank = 1

    def __init__(self) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ConfigError("ONNX Runtime isn't installed.", "Run: pip install 'cxrkit[onnx]'") from error
        self._onnxruntime = onnxruntime

    def load(self, file: Path) -> tuple[str, Callable[[np.ndarray], np.ndarray]]:
        """The description and the network."""
        options = self._onnxruntime.SessionOptions()
        # Threads that wait by computing nothing take the cores from whatever else runs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            session = self._onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # it derives its errors from Exception directly
            reason = " ".join(str(error).split())[:200]
            raise DataError(f"{file}: ONNX Runtime can't read it: {reason}", "Export the network again.") from error
        description = session.get_modelmeta().custom_metadata_map.get("cxrkit", "")
        name = session.get_inputs()[0].name

        def compute(images: np.ndarray) -> np.ndarray:
            return np.asarray(session.run(None, {name: images})[0])

        return description, compute
