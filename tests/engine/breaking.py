"""Stopping a training at a step, and whether two of them ended alike."""

from __future__ import annotations

from collections.abc import Callable

import torch

from cxrkit.engine.checkpoint import load_state
from cxrkit.engine.run import RunDirectory
from cxrkit.readings import as_record


class StopAt:
    """An observer that does something at a step."""

    def __init__(self, step: int, action: Callable[[], None]) -> None:
        self.at, self.action, self.stage_name, self.said = step, action, "", list[str]()

    def stage(self, name: str, total: int) -> None:
        self.stage_name = name

    def advance(self, done: int, note: str = "") -> None:
        if self.stage_name == "Training" and done == self.at:
            self.at = -1
            self.action()

    def say(self, message: str) -> None:
        self.said.append(message)


class Killed(BaseException):
    """Ends training as abruptly as a test can without ending itself."""


def die() -> None:
    raise Killed


def same_result(one: RunDirectory, other: RunDirectory) -> None:
    a, b = load_state(one.state_file), load_state(other.state_file)
    assert (a.step, a.best) == (b.step, b.best)
    assert a.tensors.keys() == b.tensors.keys()
    different = [name for name, value in a.tensors.items() if not torch.equal(value, b.tensors[name])]
    assert different == []
    for name in ("best", "last"):
        assert one.weights(name).read_bytes() == other.weights(name).read_bytes()
    logs = [[as_record(reading) | {"seconds": 0} for reading in run.metrics()] for run in (one, other)]
    assert logs[0] == logs[1]
