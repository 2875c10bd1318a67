"""Calibrating weights on films that trained nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import cxrkit
from cxrkit.engine.changes import CHANGES, Annotated
from cxrkit.engine.checkpoint import load_tensors
from cxrkit.engine.run import RunDirectory
from cxrkit.engine.train import train
from cxrkit.errors import ConfigError, DataError
from cxrkit.registry import Registry


@pytest.fixture
def run(new_run: Callable[..., RunDirectory], components: Registry) -> RunDirectory:
    made = new_run("run", train__steps=1, split__validation=5, data__count=16)
    train(made, components)
    return made


def test_a_run_is_calibrated_on_its_validation_films(run: RunDirectory) -> None:
    tensors, before = load_tensors(run.weights())
    found = cxrkit.calibrate(run.path, device="cpu")
    again, card = load_tensors(run.weights())
    assert card.quality == {name: one.calibration for name, one in found.items()}
    assert set(found) == set(card.channels) - {"background"}
    assert card.model_copy(update={"quality": None}) == before
    assert all((again[name] == value).all() for name, value in tensors.items())
    for one in found.values():
        assert one.calibration.films == 5
        assert 5 < len(one.dice) == len(one.agreement) <= 25, "each film as it is, and changed"
    assert cxrkit.calibrate(run.path, device="cpu") == found, "the same changes in every call"
    film = np.random.default_rng(0).integers(0, 255, (80, 64), dtype=np.uint8)
    assert cxrkit.load(run.path, device="cpu")(film).quality.keys() == found.keys()


def test_what_cannot_be_calibrated_is_said(run: RunDirectory, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="belong to a package"):
        cxrkit.calibrate("lungs-heart", data="phantom")
    with pytest.raises(ConfigError, match="no films to calibrate on"):
        cxrkit.calibrate(run.weights())
    with pytest.raises(ConfigError, match="an exported network's description"):
        cxrkit.calibrate(tmp_path / "network.onnx")
    with pytest.raises(DataError, match=r"none\.safetensors: there is no such file"):
        cxrkit.calibrate(tmp_path / "none.safetensors")
    few, content = tmp_path / "few.json", json.loads(run.split_file.read_text())
    few.write_text(json.dumps(content | {"validation": content["validation"][:2]}))
    with pytest.raises(DataError, match=r"Fewer than 5 of these films have masks"):
        cxrkit.calibrate(run.path, split=few)
    few.write_text(json.dumps(content | {"validation": []}))
    with pytest.raises(DataError, match="no validation films"):
        cxrkit.calibrate(run.path, split=few)
    few.write_text(json.dumps({**content, "validation": ["elsewhere+a"]}))
    with pytest.raises(DataError, match=r"validation films, such as 'elsewhere\+a', aren't in the data"):
        cxrkit.calibrate(run.path, split=few)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_change_keeps_film_and_masks_together(change: Callable[..., Annotated]) -> None:
    rows, columns = np.mgrid[:90, :70]
    mask = np.hypot(rows - 45, columns - 35) < 20
    film = Annotated.of((mask * 100 + rows).astype(np.uint8), {"heart": mask})
    for seed in range(3):
        changed = change(film, np.random.default_rng(seed))
        assert changed.levels.dtype == np.float32
        assert 0 <= changed.levels.min() < changed.levels.max() <= 1
        assert changed.masks["heart"].shape == changed.levels.shape
        assert changed.masks["heart"].any()
        assert not np.array_equal(changed.levels, film.levels)
