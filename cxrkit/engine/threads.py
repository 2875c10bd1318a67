"""How many threads torch computes with."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def computing_threads(count: int | None) -> Iterator[None]:
    """Compute with so many threads for a while; None: with as many as before.

    Nothing happens where torch isn't loaded, because exported networks don't need it: ONNX Runtime and OpenVINO have
    threads of their own, which this doesn't change.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
