"""A pass that is recorded as a CUDA graph, on a stand-in for CUDA whose graphs run their operations again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor

from cxrkit.engine.capture import CapturedPass
from cxrkit.errors import ConfigError
from cxrkit.interfaces import Batch, Partner

CPU = torch.device("cpu")


class Graph:
    """Replays by running the recorded pass on the recorded inputs, into the recorded outputs."""

    owner: CapturedPass

    def replay(self) -> None:
        for place, value in zip(self.owner.outputs, compute(self.owner.inputs), strict=True):
            place.copy_(value)


class Stream:
    def __init__(self, *_: object) -> None: ...

    def wait_stream(self, other: Stream) -> None: ...


def compute(batch: Batch) -> tuple[Tensor, Tensor]:
    weight = 1 if batch.partner is None else batch.partner.weight.sum()
    return torch.stack([batch.images.sum() * weight, batch.targets.sum()]), batch.images * 2


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[CapturedPass, list[str], list[Batch]]]:
    """A captured pass, why it was refused, and the batches of which it ran the operations one by one."""
    refusals: list[str] = []
    ran: list[Batch] = []

    @contextmanager
    def record(graph: Graph, **_: object) -> Iterator[None]:
        yield

    for name, value in {"Stream": Stream, "CUDAGraph": Graph, "graph": record, "stream": nullcontext}.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)

    def make(
        run: Callable[[Batch], Any] = compute, *, required: bool = False
    ) -> tuple[CapturedPass, list[str], list[Batch]]:
        def noted(batch: Batch) -> Any:
            ran.append(batch)
            return run(batch)

        made = CapturedPass(noted, CPU, required=required, say=refusals.append)
        monkeypatch.setattr(Graph, "owner", made, raising=False)
        return made, refusals, ran

    return make


def batch(seed: int, *, mixed: bool = True) -> Batch:
    random = torch.Generator().manual_seed(seed)
    images, targets, others = (torch.rand(2, 1, 4, 4, generator=random) for _ in range(3))
    return Batch(images, targets, partner=Partner(others, torch.rand(2, generator=random)) if mixed else None)


@pytest.mark.parametrize("mixed", [True, False])
def test_a_replay_computes_the_batch_that_it_is_given(captured: Any, mixed: bool) -> None:
    step, refusals, ran = captured()
    for seed in range(8):
        given = batch(seed, mixed=mixed)
        before = given.images.clone()
        readings, logits = step(given)
        expected = compute(given)
        assert torch.equal(readings, expected[0])
        assert torch.equal(logits, expected[1])
        assert torch.equal(given.images, before)
    assert len(ran) == CapturedPass.WARM_UP + 1, "some ordinary passes, and the one that was recorded"
    assert refusals == []


def test_a_batch_with_unknown_masks_is_computed_in_the_ordinary_way(captured: Any) -> None:
    step, _, ran = captured()
    for seed in range(6):
        step(batch(seed))
    partly_known = batch(9).with_(known=torch.tensor([[True], [False]]))
    assert torch.equal(step(partly_known)[0], compute(partly_known)[0])
    assert ran[-1] is partly_known


@pytest.mark.parametrize("odd", [batch(9, mixed=False), batch(9).map(lambda values: values[:1])])
def test_a_batch_of_another_form_ends_the_replays(captured: Any, odd: Batch) -> None:
    step, _, ran = captured()
    for given in (*map(batch, range(6)), odd, batch(6)):
        assert torch.equal(step(given)[0], compute(given)[0])
    assert step.graph is None, "the gradients of an ordinary pass are others than the recorded ones"
    assert len(ran) == CapturedPass.WARM_UP + 3


def test_what_cannot_be_recorded_stays_ordinary(captured: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    step, refusals, ran = captured()

    @contextmanager
    def refuse(*_: object, **__: object) -> Iterator[None]:
        yield
        raise RuntimeError("operation not permitted\nwhen stream is capturing")

    monkeypatch.setattr(torch.cuda, "graph", refuse)
    for seed in range(6):
        assert torch.equal(step(batch(seed))[0], compute(batch(seed))[0])
    (reason,) = refusals
    assert reason.endswith("operation not permitted when stream is capturing")
    assert len(ran) == 7, "six passes, and the one that was tried"
    required, _, _ = captured(required=True)
    for seed in range(CapturedPass.WARM_UP):
        required(batch(seed))
    with pytest.raises(ConfigError, match="--compile on"):
        required(batch(6))
