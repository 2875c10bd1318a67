"""ONNX, which most runtimes read (ONNX Runtime, OpenVINO, TensorRT, browsers)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import torch
from torch.export import Dim

from cxrkit import ConfigError, Deployable, Exporter

_MISSING = ConfigError("ONNX files need packages that aren't installed.", "Run: pip install 'cxrkit[onnx]'")


class OnnxExporter(Exporter):
    """ONNX with 32-bit floats and a dynamic batch; the description is the metadata property `cxrkit`."""

    suffix = ".onnx"

    def __init__(self) -> None:
        try:
            import onnx
            import onnxscript  # noqa: F401 - torch.onnx needs it
        except ImportError as error:
            raise _MISSING from error
        self._onnx = onnx

    def files(self, network: Deployable) -> Mapping[str, bytes]:
        """The one file."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the tracer, about what it traces
            program = torch.onnx.export(
                network.network,
                (torch.from_numpy(network.images[:2]),),
                dynamo=True,
                dynamic_shapes=({0: Dim("batch")},),
                input_names=["images"],
                output_names=["probabilities"],
                external_data=False,
                verbose=False,
            )
        assert program is not None
        model = program.model_proto
        entry = model.metadata_props.add()
        entry.key, entry.value = "cxrkit", network.description
        self._onnx.checker.check_model(model)
        return {self.suffix: model.SerializeToString()}
