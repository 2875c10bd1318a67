"""Working around other packages' installations."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch

_LOCK = threading.RLock()  # one thread at a time changes what others import

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
    with compiler_put_off():
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


@contextmanager
def compiler_put_off() -> Iterator[None]:
    """While packages are imported: what they need of `torch._dynamo`, which takes as long to import as torch, is lazy.

    torchvision takes a function from it that it calls when it compiles, and timm keeps some of its own from being
    compiled, which torch does for its functions in a lazy way. Nothing is put off where it is imported already. One
    thread at a time may do this, within it also repeatedly.
    """
    name, lazily = "torch._dynamo.utils", getattr(torch, "_disable_dynamo", None)
    with _LOCK:
        if lazily is None or "torch._dynamo" in sys.modules or name in sys.modules:
            yield
            return

        def real(attribute: str) -> Any:
            if attribute.startswith("__"):
                raise AttributeError(attribute)
            if sys.modules.get(name) is stand_in:
                del sys.modules[name]
            return getattr(importlib.import_module(name), attribute)

        stand_in = ModuleType(name)
        stand_in.__dict__["is_compile_supported"] = lambda device: real("is_compile_supported")(device)
        stand_in.__dict__["__getattr__"] = real
        disable = torch.compiler.disable
        try:
            sys.modules[name] = stand_in
            torch.compiler.disable = lambda fn=None, recursive=True, **_: lazily(fn, recursive)
            yield
        finally:
            torch.compiler.disable = disable
            if sys.modules.get(name) is stand_in:
                del sys.modules[name]


def _declare_operators() -> torch.library.Library:
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name, schema in _OPERATORS.items():
        if not hasattr(torch.ops.torchvision, name):
            library.define(schema)
    return library
