"""PyTorch programs, of which only what is plain data is read.

`torch.export.load` unpickles parts of an archive and evaluates formulas in it, so that a file made for the purpose
could run any code. `_check` refuses archives with such parts before they reach it.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cxrkit import DataError, Runtime

_SYMBOL = re.compile(r"(Symbol\('\w+'(, \w+=True)*\)|\w+)")
_OPERATION = re.compile(r"(torch\.ops\.aten\.|_operator\.)[\w.]+")
_PLAIN = re.compile(
    r"(data/weights/(weight_\d+|model_weights_config\.json)|data/constants/(tensor_\d+|model_constants_config\.json)"
    r"|data/sample_inputs/model\.pt|models/model\.json|extra/cxrkit\.json|archive_format|archive_version|byteorder"
    r"|\.data/\w+)"
)


class TorchRuntime(Runtime):
    """Computes `.pt2` files with PyTorch, on the CPU."""

    suffixes = (".pt2",)

    def load(self, file: Path) -> tuple[str, Callable[[np.ndarray], np.ndarray]]:
        """The description and the network."""
        import torch

        extra = {"cxrkit.json": ""}
        try:
            _check(file)
            network = torch.export.load(file, extra_files=extra).module()
        except DataError:
            raise
        except Exception as error:  # a damaged archive makes it raise anything
            reason = " ".join(str(error).split())[:200]
            raise DataError(f"{file}: can't be read as a torch.export program: {reason}", "Export it again.") from error

        @torch.no_grad()
        def compute(images: np.ndarray) -> np.ndarray:
            return np.asarray(network(torch.from_numpy(images)).numpy())

        return extra["cxrkit.json"], compute


def _check(file: Path) -> None:
    """Refuse whatever isn't tensors, operations of ATen and plain symbols."""

    import torch

    def refuse(what: str) -> DataError:
        return DataError(f"{file}: holds {what}, which could run code.", "Use only files that cxrkit exported.")

    with zipfile.ZipFile(file) as archive:
        for name in archive.namelist():
            inside = name.partition("/")[2]
            if not _PLAIN.fullmatch(inside):
                raise refuse(f"the part {inside}")
            if inside == "data/sample_inputs/model.pt":
                try:
                    torch.load(io.BytesIO(archive.read(name)), weights_only=True)
                except Exception as error:
                    raise refuse("pickled objects") from error
            elif inside.endswith(".json") and not inside.startswith("extra/"):
                for key, value in _pairs(json.loads(archive.read(name))):
                    if key == "use_pickle" and value:
                        raise refuse("pickled tensors")
                    if key == "expr_str" and not _SYMBOL.fullmatch(str(value)):
                        raise refuse("formulas")
                    if key == "target" and isinstance(value, str) and not _OPERATION.fullmatch(value):
                        raise refuse(f"the operation {value[:80]}")


def _pairs(content: Any) -> Iterator[tuple[str, Any]]:
    """All keys of nested JSON with their values."""
    if isinstance(content, dict):
        yield from content.items()
    for value in content.values() if isinstance(content, dict) else content if isinstance(content, list) else ():
        yield from _pairs(value)
