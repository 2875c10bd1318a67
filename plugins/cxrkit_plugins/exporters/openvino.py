"""OpenVINO's format, the fastest on CPUs."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch.export import Dim

from cxrkit import ConfigError, Deployable, Exporter


class OpenVinoExporter(Exporter):
    """`.xml` with 16-bit weights in `.bin`, or 8-bit integers; the description is the runtime information `cxrkit`."""

    suffix = ".xml"
    can_int8 = True

    def __init__(self) -> None:
        try:
            import openvino
        except ImportError as error:
            raise ConfigError("OpenVINO isn't installed.", "Run: pip install 'cxrkit[openvino]'") from error
        self._openvino = openvino

    def files(self, network: Deployable) -> Mapping[str, bytes]:
        """The graph and its weights."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the tracer, about what it traces
            example = (torch.from_numpy(network.images[:2]),)
            program = torch.export.export(network.network, example, dynamic_shapes=({0: Dim("batch")},))
            model = self._openvino.convert_model(program)
        side = network.images.shape[-1]
        model.reshape({model.input(0): self._openvino.PartialShape([-1, 1, side, side])})
        if network.int8:
            model = self._quantised(model, network)
        model.set_rt_info(network.description, ["cxrkit"])
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.xml"
            self._openvino.save_model(model, path, compress_to_fp16=not network.int8)
            return {".xml": path.read_bytes(), ".bin": path.with_suffix(".bin").read_bytes()}

    @staticmethod
    def _quantised(model: object, network: Deployable) -> object:
        try:
            import nncf
        except ImportError as error:
            raise ConfigError("--int8 needs NNCF, which isn't installed.", "Run: pip install 'cxrkit[int8]'") from error
        films = nncf.Dataset([film[None] for film in network.images])
        return nncf.quantize(model, films, preset=nncf.QuantizationPreset.MIXED, subset_size=len(network.images))
