"""Augments that act on films as they were taken, before levels and CLAHE."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from cxrkit.config import ComponentConfig
from cxrkit.engine import batches
from cxrkit.engine.batches import augment_batch, build_augments
from cxrkit.engine.run import RunDirectory
from cxrkit.engine.train import train
from cxrkit.errors import ContractError, TrainingInterruptedError
from cxrkit.interfaces import Augment, Batch
from cxrkit.registry import Registry
from tests.engine.breaking import StopAt, same_result

NewRun = Callable[..., RunDirectory]
ROBUST = {"preprocess__levels": "robust", "preprocess__clahe__bits": 8}


def degraded(**parameters: Any) -> dict[str, Any]:
    return {**ROBUST, "augment": [{"name": "degradation", **parameters}]}


def test_films_without_faults_train_as_without_the_augment(new_run: NewRun, components: Registry) -> None:
    plain, faultless = new_run("plain", **ROBUST), new_run("faultless", **degraded(probability=0))
    train(plain, components)
    train(faultless, components)
    same_result(plain, faultless)
    assert plain.provenance().fingerprint == faultless.provenance().fingerprint


@pytest.mark.parametrize("more", [{}, {"unlabelled__films": "rest", "split__train_size": 5, "unlabelled__start": 0.3}])
def test_a_stopped_run_ends_bit_equal(new_run: NewRun, components: Registry, more: dict[str, Any]) -> None:
    settings = degraded(probability=0.5) | more
    straight, broken = new_run("straight", **settings), new_run("broken", **settings)
    train(straight, components)

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, TrainingInterruptedError)):
        train(broken, components, StopAt(3, stop))
    train(broken, components)
    same_result(straight, broken)


def test_films_that_do_not_fit_in_memory(
    new_run: NewRun, components: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, streamed = (new_run(name, **degraded(probability=0.5)) for name in ("held", "streamed"))
    train(held, components)
    monkeypatch.setattr(batches, "_free_memory", lambda device: 0.0)
    train(streamed, components)
    same_result(held, streamed)


def test_the_teacher_sees_films_without_faults(
    new_run: NewRun, components: Registry, add: Callable[[str, str, Any], None]
) -> None:
    class Black(Augment):
        stage = "film"

        def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
            return batch.with_(images=torch.zeros_like(batch.images))

    add("augment", "black", Black)
    rest = {"unlabelled__films": "rest", "split__train_size": 5, "unlabelled__start": 0.0, "train__steps": 2}
    seen: list[torch.Tensor] = []

    from cxrkit.engine import unlabelled

    drawn = unlabelled.pseudo_labels

    def watch(teacher: Any, images: torch.Tensor) -> torch.Tensor:
        seen.append(images)
        return drawn(teacher, images)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(unlabelled, "pseudo_labels", watch)
        train(new_run("run", augment=["black"], **rest), components)
    assert seen
    for images in seen:
        assert torch.allclose(images.mean((1, 2, 3)), torch.tensor(0.0), atol=1e-4)
        assert torch.allclose(images.std((1, 2, 3)), torch.tensor(1.0), atol=1e-2), "standardised, and not black"


def test_they_come_first_and_one_by_one(components: Registry, add: Callable[[str, str, Any], None]) -> None:
    order: list[str] = []

    class Late(Augment):
        def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
            order.append(f"late, {batch.regions is None}")
            return batch

    class Early(Late):
        stage = "film"

        def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
            order.append(f"early, {batch.regions is None}")
            return batch

    class Pairs(Early):
        draws = 2

    for name, kind in (("late", Late), ("early", Early), ("pairs", Pairs)):
        add("augment", name, kind)
    built = build_augments([ComponentConfig(name="late"), ComponentConfig(name="early")], components)
    batch = Batch(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4), regions=torch.tensor([[0, 0, 4, 4]]))
    made = augment_batch(built, batch, torch.Generator(), lambda one: one.with_(regions=None))
    assert order == ["early, False", "late, True"]
    assert made.regions is None
    with pytest.raises(ContractError, match="pairs: films as they were taken can't be mixed"):
        build_augments([ComponentConfig(name="pairs")], components)


def test_a_batch_that_no_longer_says_where_films_lie_is_refused() -> None:
    class Careless(Augment):
        stage = "film"

        def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
            return Batch(batch.images, batch.targets)

    batch = Batch(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4), regions=torch.tensor([[0, 0, 4, 4]]))
    with pytest.raises(ContractError, match="Careless: its batches no longer say where the films lie"):
        augment_batch([Careless()], batch, torch.Generator())
