"""The command line in this process, and one small run that all tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cxrkit.cli.app import app

#: A network and films small enough to train within a second.
TINY = [
    *("--size", "32", "--steps", "4", "--batch-size", "2", "--device", "cpu", "--precision", "32"),
    *("--set", "model.base_channels=4", "--set", "model.lstm_filters=4", "--set", "model.center_length=1"),
    *("--set", "data.count=12", "--set", "data.size=64", "--set", "split.test_size=3", "--set", "split.validation=2"),
]


class Outcome:
    """Exit code, stdout and stderr of a command line."""

    def __init__(self, code: int, out: str, err: str, exception: BaseException | None) -> None:
        self.code, self.out, self.err, self.exception = code, out, err, exception


@pytest.fixture(scope="session")
def cxrkit() -> Callable[..., Outcome]:
    def run(*arguments: object) -> Outcome:
        result = CliRunner().invoke(app, [str(item) for item in arguments])
        return Outcome(result.exit_code, result.stdout, result.stderr, result.exception)

    return run


@pytest.fixture(scope="session")
def trained(cxrkit, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """A finished run, and what the command line said while it was made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXRKIT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        run = tmp_path_factory.mktemp("runs") / "tiny"
        return run, cxrkit("train", *TINY, "--mixup", 0.2, "--out", run)


@pytest.fixture(scope="module")
def shared_forkers() -> Iterator[None]:
    """A module's ablations of one environment and folder share the process that forks their runs.

    Its imports take seconds. The two last used are kept.
    """
    from cxrkit_plugins.launchers import local

    kept: dict[Any, local.Forker] = {}

    class Kept(local.Forker):
        def close(self) -> None:
            """A launcher's; it is ended below."""

    def forker(environment: Mapping[str, str]) -> local.Forker:
        variables = sorted(item for item in environment.items() if item[0] != "PYTEST_CURRENT_TEST")
        key = (Path.cwd(), *variables)
        one = kept.pop(key, None)
        if one is None or one.process.poll() is not None:
            one = Kept(environment)
        kept[key] = one
        while len(kept) > 2:
            local.Forker.close(kept.pop(next(iter(kept))))
        return one

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "Forker", forker)
        yield
    for one in kept.values():
        local.Forker.close(one)


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A film of noise, 80 × 60."""
    path = tmp_path / "film [left] lung.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 80), dtype=np.uint8)).save(path)
    return path
