"""Prediction, scores and the counters of `bench` on a CUDA device are those of the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from cxrkit.config import RunConfig

pytestmark = pytest.mark.cuda
Tiny = Callable[..., "RunConfig"]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Synthetic films as files."""
    import numpy as np
    from PIL import Image

    folder = tmp_path_factory.mktemp("films")
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:300, :260] / 300
    for number in range(3):
        film = 90 + 60 * np.sin(7 * columns + number) * np.cos(5 * rows) + random.normal(0, 6, rows.shape)
        Image.fromarray(film.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
    return sorted(folder.iterdir())


def test_the_shipped_weights_say_the_same_on_both(films: list[Path]) -> None:
    import numpy as np

    from cxrkit import inference

    there, here = (inference.load(device=device) for device in ("cuda", "cpu"))
    for film in films:
        a, b = there(film), here(film)
        for name in b.masks:
            assert float(np.abs(a.probabilities[name] - b.probabilities[name]).mean()) < 5e-3, name
            assert float((a.masks[name] != b.masks[name]).mean()) < 5e-3, name


def test_scores_are_the_same_on_both(tmp_path: Path, tiny: Tiny) -> None:
    import numpy as np

    from cxrkit import api

    run = api.train(tiny(train__steps=40, train__lr=3e-3), out=tmp_path / "run", score=False).path
    there, here = (api.evaluate(run, device=device) for device in ("cuda", "cpu"))
    assert there.structures == here.structures
    for name in here.structures:
        assert np.abs(there.values(name, "dice") - here.values(name, "dice")).max() < 0.01
    assert np.abs(there.paper("dsc") - here.paper("dsc")).max() < 5e-3


def test_bench_counts_memory_and_operations(tiny: Tiny) -> None:
    from cxrkit.engine.rehearsal import Rehearsal
    from cxrkit.plugins import registry

    small = Rehearsal(tiny(), registry())
    few = small.warm_up()
    many = Rehearsal(tiny(train__batch_size=8), registry()).warm_up()
    on_cpu = Rehearsal(tiny(train__device="cpu"), registry())
    assert few is not None
    assert many is not None
    assert few > 4 * 4 * small.parameters, "weights, gradients and Adam's two moments"
    assert many > few
    assert small.multiply_adds() == on_cpu.multiply_adds()
    assert small.parameters == on_cpu.parameters


def test_bench_measures_a_plan(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from cxrkit.cli.app import app

    file = tmp_path / "costs.csv"
    line = "bench --model unet,attn-bcdu --set model.base_channels=8 --size 64 --batch-size 2 --device cuda --rounds 1"
    result = CliRunner().invoke(app, [*line.split(), "--quiet", "--out", str(file)])
    assert result.exit_code == 0, result.output
    assert len(file.read_text().splitlines()) == 3
