"""Fixtures that many tests share."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# A shell starts what it puts into the background with Ctrl-C ignored; tests send it to themselves.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Machines that run tests are busy: time says nothing of them. On CI the same examples are tried each time.
settings.register_profile(
    "cxrkit", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.load_profile("cxrkit")

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
def _coarse_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are drawn whole, in the format that was asked for, but of few pixels, which takes a third less time.

    Tests of reports and those marked `pixels` get all of them, as do fixtures of a module or session.
    """
    if request.path.is_relative_to(REPOSITORY / "tests" / "report") or request.node.get_closest_marker("pixels"):
        return
    from matplotlib.figure import Figure

    save = Figure.savefig

    def coarsely(self: Figure, *arguments: Any, **options: Any) -> None:
        save(self, *arguments, **options | {"dpi": 10})

    monkeypatch.setattr(Figure, "savefig", coarsely)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that none begins when all others are done."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def _own_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests run pytest on plugins' own tests: what was asked of this run, coverage say, isn't meant for those."""
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
