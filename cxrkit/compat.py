"""Working around other packages' installations."""

from __future__ import annotations

import importlib
import sys
import threading
from types import ModuleType

import torch

_LOCK = threading.Lock()

#: The operators that torchvision expects its compiled library to have declared, and their schemas.
_OPERATORS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_MISSING_OPERATOR = "operator torchvision::nms does not exist"

# A torch library takes its declarations along when it is collected.
_declarations: list[torch.library.Library] = []


def import_torchvision() -> ModuleType:
    """Import torchvision, even one whose compiled operators don't fit the installed torch.

    timm, and with it segmentation-models-pytorch, imports torchvision. Package indexes build torchvision for
    the CUDA torch; with a CPU torch its compiled library doesn't load, and the import fails because
    `torchvision::nms` isn't declared. In that case the two operators are declared here, without an
    implementation: cxrkit calls neither, and torch says so to anyone who does.

    Call it before importing timm or segmentation-models-pytorch. A torchvision that works is left as it is.

    Raises:
        ImportError, RuntimeError, ...: whatever else stops torchvision from being imported.
    """
    with _LOCK:
        try:
            return importlib.import_module("torchvision")
        except RuntimeError as error:
            if _MISSING_OPERATOR not in str(error):
                raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        if not _declarations:
            _declarations.append(_declare_operators())
        return importlib.import_module("torchvision")


def _declare_operators() -> torch.library.Library:
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name, schema in _OPERATORS.items():
        if not hasattr(torch.ops.torchvision, name):
            library.define(schema)
    return library
