"""How much memory films may take."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cxrkit.engine import batches


def test_a_containers_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert batches._left_of_container(tmp_path) is None, "no container"
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("300\n")
    assert batches._left_of_container(tmp_path) is None, "no limit"
    (tmp_path / "memory.max").write_text("1000\n")
    assert batches._left_of_container(tmp_path) == 700
    monkeypatch.setattr(batches, "_left_of_container", lambda: 700.0)
    assert batches.fits(349, torch.device("cpu"))
    assert not batches.fits(350, torch.device("cpu"))
