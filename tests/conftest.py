"""Fixtures that many tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Tests run side by side; networks that each take all cores would collapse.
os.environ.setdefault("OMP_NUM_THREADS", "1")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def wingspan() -> Path:
    """The folder of 200 real radiographs that lies beside a development checkout."""
    folder = REPOSITORY.parent / "shared" / "data" / "wingspan"
    if not (folder / "images").is_dir():
        pytest.skip("the wingspan radiographs are not beside this checkout (../shared/data/wingspan)")
    return folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the store of preprocessed films away from the user's."""
    monkeypatch.setenv("CXRKIT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
