"""A diverged network has no score: wherever it shows that its values aren't finite, that is an error."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import cxrkit
from cxrkit.engine import checkpoint as ckpt
from cxrkit.engine.evaluate import evaluate_run
from cxrkit.engine.forward import probabilities
from cxrkit.engine.run import RunDirectory
from cxrkit.engine.train import train
from cxrkit.errors import NotFiniteError, TrainingError
from cxrkit.interfaces import Model
from cxrkit.registry import Registry
from tests.engine.conftest import TINY

NewRun = Callable[..., RunDirectory]
Add = Callable[..., None]


class BrokenWhenJudged(Model):
    """Learns like any other; in evaluation mode one logit isn't finite."""

    value = math.nan

    def __init__(self, channels: tuple[str, ...]) -> None:
        super().__init__(channels)
        self.conv = nn.Conv2d(1, len(channels), 1)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.conv(images)
        if not self.training:
            logits = logits.clone()
            logits[0, 0, 0, 0] = self.value
        return logits


class InfiniteWhenJudged(BrokenWhenJudged):
    value = math.inf


@pytest.mark.parametrize("network", [BrokenWhenJudged, InfiniteWhenJudged])
@pytest.mark.parametrize("protocol", ["honest", "paper"])
def test_a_validation_that_is_not_finite_ends_the_training(
    new_run: NewRun, components: Registry, add: Add, network: type[Model], protocol: str
) -> None:
    add("model", "broken", network)
    run = new_run("run", model="broken", train__protocol=protocol)
    with pytest.raises(
        TrainingError, match=r"^Step 2 of 6: the network's values on the films are not finite"
    ) as caught:
        train(run, components)
    assert "--lr" in caught.value.remedy
    assert not (run.path / "checkpoints").exists(), "nothing that could be taken for the best"


def test_a_learning_rate_far_too_high_ends_as_divergence(new_run: NewRun, components: Registry) -> None:
    run = new_run("run", train__lr=1e9, train__warmup=0)
    with pytest.raises(TrainingError, match="finite"):
        train(run, components)


def test_infinite_logits_do_not_become_certain_masks() -> None:
    model = InfiniteWhenJudged(("heart",)).eval()
    found = probabilities(model, torch.zeros(1, 1, 4, 4), 1)
    assert torch.isnan(found[0, 0, 0, 0])
    assert torch.isfinite(found).sum() == 15


def test_weights_that_give_what_is_not_finite_are_not_scored(new_run: NewRun, components: Registry) -> None:
    run = new_run("run", train__steps=2)
    train(run, components)
    file = run.weights("last")
    _, card = ckpt.load_network(file, components)
    tensors = {name: value * (math.inf if name.endswith("bias") else 1) for name, value in load_file(file).items()}
    ckpt.save_network(file, tensors, card)
    with pytest.raises(NotFiniteError, match=r"last\.safetensors: The weights give values that are not finite"):
        evaluate_run(run, components, checkpoint="last")
    assert evaluate_run(run, components, checkpoint="best")[0].films


def test_what_only_the_test_films_show_is_divergence_too(
    tmp_path: Any, components: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def judge(*_: object, **__: object) -> None:
        raise NotFiniteError("last.safetensors: The weights give values that are not finite.")

    monkeypatch.setattr("cxrkit.engine.evaluate.evaluate_run", judge)
    settings = TINY | {"split": {"test_size": 3, "validation": 0}}
    with pytest.raises(TrainingError, match=r"^The training diverged: last\.safetensors") as caught:
        cxrkit.train(settings, out=tmp_path / "run")
    assert "--lr" in caught.value.remedy


def test_a_score_that_is_not_finite_can_be_surpassed(tmp_path: Any) -> None:
    ckpt.save_state(tmp_path / "s.safetensors", ckpt.TrainingState({}, 4, None))
    text = '{"step": 4, "best": [NaN, 2]}'
    ckpt._save(tmp_path / "s.safetensors", {"network.w": torch.zeros(1)}, text)
    assert ckpt.load_state(tmp_path / "s.safetensors").best is None


def test_a_predictor_of_another_runtime_is_held_to_it_too() -> None:
    from cxrkit.engine.predictor import finite_probabilities

    class Elsewhere:
        def __call__(self, images: np.ndarray) -> np.ndarray:
            return np.full((1, 1, 2, 2), np.inf, np.float32)

    with pytest.raises(NotFiniteError):
        finite_probabilities(Elsewhere(), np.zeros((1, 1, 2, 2), np.float32))  # type: ignore[arg-type]
