"""PyTorch's own format for programs, for whoever has torch but not cxrkit."""

from __future__ import annotations

import io
from collections.abc import Mapping

import torch
from torch.export import Dim

from cxrkit import Deployable, Exporter


class TorchExporter(Exporter):
    """`torch.export` with a dynamic batch; the description is the extra file `cxrkit.json`."""

    suffix = ".pt2"

    def files(self, network: Deployable) -> Mapping[str, bytes]:
        """The one file."""
        example = (torch.from_numpy(network.images[:2]),)
        program = torch.export.export(network.network, example, dynamic_shapes=({0: Dim("batch")},))
        buffer = io.BytesIO()
        torch.export.save(program, buffer, extra_files={"cxrkit.json": network.description})
        return {self.suffix: buffer.getvalue()}
