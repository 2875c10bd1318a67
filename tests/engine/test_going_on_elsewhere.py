"""A run that goes on with other versions, hardware or precision than it began with."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cxrkit.engine import hardware
from cxrkit.engine.run import RunDirectory
from cxrkit.engine.train import train
from cxrkit.registry import Registry
from tests.engine.test_recomputed_statistics import StopAt

NewRun = Callable[..., RunDirectory]


class Hearing:
    def __init__(self) -> None:
        self.said: list[str] = []

    def stage(self, name: str, total: int) -> None: ...

    def advance(self, done: int, note: str = "") -> None: ...

    def say(self, message: str) -> None:
        self.said.append(message)


def test_a_different_environment_is_reported_and_recorded_and_the_precision_stays(
    new_run: NewRun, components: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run("run", train__precision="auto", train__checkpoint_every=2)
    monkeypatch.setattr(hardware.torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    with pytest.raises(StopAt.Reached):
        train(run, components, StopAt(3))
    begun = run.provenance()
    assert begun.precision == "32"
    run.save_provenance(begun.model_copy(update={"packages": begun.packages | {"torch": "2.6.0"}}))
    monkeypatch.setattr(hardware.torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    heard = Hearing()
    train(run, components, heard)
    assert sum("a different environment" in said and "was 2.6.0" in said for said in heard.said) == 1
    record = run.provenance()
    assert record.precision == "32", "not what auto means on the machine that it goes on with"
    assert [change.split()[0] for change in record.continued] == ["torch"]
    train(run, components)
    assert run.provenance() == record, "told once"


def test_a_run_that_goes_on_where_it_began_says_nothing(new_run: NewRun, components: Registry) -> None:
    run = new_run("run", train__checkpoint_every=2)
    with pytest.raises(StopAt.Reached):
        train(run, components, StopAt(3))
    heard = Hearing()
    train(run, components, heard)
    assert not any("circumstances" in said for said in heard.said)
    assert run.provenance().continued == ()
