"""Evaluation and reports take whatever predicts, and a loaded network says which weights it has."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from cxrkit import api
from cxrkit.config import PreprocessConfig, make_config
from cxrkit.data.store import Store
from cxrkit.engine.evaluate import score_films
from cxrkit.engine.predictor import load_predictor
from cxrkit.engine.scores import Evaluation
from cxrkit.plugins import registry
from cxrkit.report.panels import choose_panels, of_store


class Drawn:
    """Knows the masks of a store's films."""

    channels = ("left_lung", "right_lung", "heart")
    preprocess = PreprocessConfig(size=32)
    weights = None

    def __init__(self, store: Store) -> None:
        films = store.batch(range(len(store)), background=False, standardise=True)
        self.known = list(zip(films.images.numpy(), films.targets.numpy(), strict=True))

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return np.stack([next(mask for image, mask in self.known if np.array_equal(image, one)) for one in images])


def test_films_are_scored_and_shown_by_whatever_predicts() -> None:
    store = api.prepare(make_config({"data": {"name": "phantom", "count": 3, "size": 64}, "preprocess": {"size": 32}}))
    films = score_films(Drawn(store), store, [2, 0, 1], batch_size=2)
    assert [film.id for film in films] == [store.ids[index] for index in (2, 0, 1)]
    assert {scores.dice for film in films for scores in film.structures.values()} == {1.0}
    evaluation = Evaluation(part="test", weights="best", step=1, selected_on="nothing", films=films)
    for panel in choose_panels(evaluation, of_store(store, Drawn(store))):
        for name, mask in panel.truth.items():
            np.testing.assert_array_equal(panel.predicted[name], mask)


def test_a_loaded_network_knows_its_weights() -> None:
    weights = registry().get("weights", "lungs-heart").build()
    predictor = load_predictor(weights.file, registry(), device="cpu", name="lungs-heart")
    source = predictor.weights
    assert source is not None
    assert source.sha256 == hashlib.sha256(weights.file.read_bytes()).hexdigest()
    assert (source.name, source.file) == ("lungs-heart", str(weights.file))
    side = predictor.preprocess.size
    images = np.random.default_rng(0).normal(size=(2, 1, side, side)).astype(np.float32)
    found = predictor(images)
    assert found.shape == (2, len(predictor.channels), side, side)
    assert found.dtype == np.float32
    assert 0 <= found.min() <= found.max() <= 1
    assert np.abs(found[1:] - predictor(images[1:])).max() == pytest.approx(0, abs=2e-2)
