"""Post-processing: what the built-in ones do, where they are chosen, and scores before and after."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

import cxrkit
from cxrkit.engine.checkpoint import load_network
from cxrkit.engine.evaluate import evaluate_run
from cxrkit.engine.postprocessing import postprocessed
from cxrkit.engine.predictor import finite_probabilities
from cxrkit.engine.run import RunDirectory
from cxrkit.engine.train import train
from cxrkit.errors import ContractError, DataError
from cxrkit.metrics.masks import without_holes, without_spots
from cxrkit.plugins import registry
from cxrkit.registry import Registry
from cxrkit.report.summary import summarise
from cxrkit.report.tables import rich_tables
from tests.engine.breaking import StopAt, die

NewRun = Callable[..., RunDirectory]


def build(name: str, **options: Any) -> cxrkit.Postprocess:
    made: cxrkit.Postprocess = registry().get("postprocess", name).build(**options)
    return made


def spotted() -> dict[str, np.ndarray]:
    mask = np.zeros((12, 12), bool)
    mask[1:8, 1:8] = True
    mask[3, 3] = False
    mask[10, 10] = mask[10, 8] = True
    return {"heart": mask, "clavicles": mask.copy()}


def test_what_the_built_in_ones_do() -> None:
    masks = spotted()
    one, filled, same = (postprocessed(build(name), masks) for name in ("one-piece", "fill-holes", "none"))
    assert np.array_equal(one["heart"], without_holes(without_spots(masks["heart"], 1.0)))
    assert one["heart"].sum() == 49
    assert one["clavicles"].sum() == 48, "small parts are removed, holes are kept"
    assert filled["heart"].sum() == 51
    ring = np.ones((30, 30), bool)
    ring[1:-1, 1:-1] = False
    assert build("fill-holes")({"heart": ring})["heart"].all(), "also one that is larger than the mask"
    assert np.array_equal(same["heart"], masks["heart"])
    assert postprocessed(build("one-piece", structures=["clavicles"]), masks)["clavicles"].sum() == 49


class Wrong(cxrkit.Postprocess):
    def __init__(self, made: Mapping[str, np.ndarray]) -> None:
        self.made = made

    def __call__(self, masks: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        return self.made


@pytest.mark.parametrize(
    "made",
    [{}, {"heart": np.ones((12, 12))}, {"heart": np.ones((2, 2), bool)}, dict.fromkeys("ab", np.ones((12, 12), bool))],
)
def test_a_post_processing_that_breaks_its_contract_is_named(made: dict[str, np.ndarray]) -> None:
    with pytest.raises(ContractError, match="Wrong: expected"):
        postprocessed(Wrong(made), {"heart": np.ones((12, 12), bool)})


def test_a_post_processing_that_fails_is_named() -> None:
    for made in (None, 3):
        with pytest.raises(ContractError, match="Wrong fails: TypeError"):
            postprocessed(Wrong(made), {"heart": np.ones((12, 12), bool)})  # type: ignore[arg-type]


class Emptying(cxrkit.Postprocess):
    """Removes everything."""

    def __call__(self, masks: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        return {name: np.zeros_like(mask) for name, mask in masks.items()}


class Asking(Emptying):
    """Can't be built without a parameter."""

    def __init__(self, *, size: int) -> None:
        super().__init__()


class Forgetful(cxrkit.Postprocess):
    """Returns no masks."""

    def __call__(self, masks: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        return {}


def test_scores_come_before_and_after_it_and_the_best_on_validation_is_kept(
    new_run: NewRun,
    components: Registry,
    add: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add("postprocess", "empties", Emptying)
    add("postprocess", "asks", Asking)
    add("postprocess", "wrong", Forgetful)
    run = new_run("run", train__steps=6)
    train(run, components)
    plain, *_ = evaluate_run(run, components)
    assert plain.postprocess == "one-piece"
    for film in plain.films:
        for scores in film.structures.values():
            assert scores.measures["parts_after"] <= max(1, scores.measures["parts"])
    assert len(rich_tables(summarise(plain))) == 2
    emptied, *_ = evaluate_run(run, components, postprocess="empties")
    assert [film.structures["heart"].dice_after for film in emptied.films] == [0.0] * len(emptied.films)
    assert [film.structures["heart"].dice for film in emptied.films] == [
        film.structures["heart"].dice for film in plain.films
    ]

    before, said, predicted = run.weights().read_bytes(), StopAt(-1, die), list[int]()

    def counting(predictor: cxrkit.Predictor, images: np.ndarray) -> np.ndarray:
        predicted.append(len(images))
        return finite_probabilities(predictor, images)

    monkeypatch.setattr("cxrkit.engine.evaluate.finite_probabilities", counting)
    chosen, *_ = evaluate_run(run, components, postprocess="auto", observer=said)
    assert sum(predicted) == 2 + 3, "validation and test films, each once for all post-processings"
    assert chosen.postprocess != "empties"
    assert any("empties 0.00" in text and f"{chosen.postprocess} is stored" in text for text in said.said)
    assert any("asks is left out" in text and "size" in text for text in said.said)
    assert sum("wrong is left out: Forgetful: expected masks" in text for text in said.said) == 1
    card = load_network(run.weights(), components)[1]
    assert card.postprocess is not None
    assert card.postprocess.name == chosen.postprocess
    assert run.weights().read_bytes() != before
    assert evaluate_run(run, components)[0].postprocess == chosen.postprocess


def test_predict_uses_what_is_stored_and_what_is_asked_for(new_run: NewRun, components: Registry) -> None:
    from cxrkit.config import ComponentConfig
    from cxrkit.engine.checkpoint import amend_card

    run = new_run("run", train__steps=2)
    train(run, components)
    usual = cxrkit.load(run.path)
    assert type(usual.postprocess).__name__ == "OnePiece"
    assert "postprocess" not in usual.settings, "earlier results are taken for the same ones"
    amend_card(run.weights(), postprocess=ComponentConfig(name="fill-holes", largest_hole=0.5))
    stored = cxrkit.load(run.path)
    assert vars(stored.postprocess) == {"largest_hole": 0.5}
    assert stored.settings != usual.settings
    assert type(cxrkit.load(run.path, postprocess="none").postprocess).__name__ == "Unchanged"
    assert type(cxrkit.load(run.path, postprocess={"name": "one-piece"}).postprocess).__name__ == "OnePiece"
    with pytest.raises(cxrkit.CxrkitError, match="no postprocess called 'one-peice'"):
        cxrkit.load(run.path, postprocess="one-peice")


def test_without_validation_films_none_can_be_chosen(new_run: NewRun, components: Registry) -> None:
    run = new_run("run", split__validation=0, train__steps=2)
    train(run, components)
    with pytest.raises(DataError, match="validation part has no films"):
        evaluate_run(run, components, postprocess="auto")
