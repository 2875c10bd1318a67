"""A critic trains beside the network: it resumes, leaves the kept network as it is, and is reported."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import cxrkit
from cxrkit.api import check_training
from cxrkit.config import LossConfig
from cxrkit.engine.checkpoint import load_network, load_state
from cxrkit.engine.evaluate import evaluate_run
from cxrkit.engine.objective import build_loss
from cxrkit.engine.observer import Silent
from cxrkit.engine.own_training import OwnTraining
from cxrkit.engine.run import RunDirectory
from cxrkit.engine.train import train
from cxrkit.errors import ConfigError, TrainingError
from cxrkit.interfaces import Batch, Loss
from cxrkit.readings import TrainingReading, as_record, from_record
from cxrkit.registry import Registry
from cxrkit.report.write import write_report
from tests.engine.breaking import Killed, StopAt, die, same_result

NewRun = Callable[..., RunDirectory]

CRITIC = {"name": "critic", "base_channels": 2, "network_steps": 1}


def with_critic(weight: float = 0.01, **options: Any) -> list[Any]:
    return ["dice", CRITIC | {"weight": weight} | options]


def own(run: RunDirectory) -> dict[int, Any]:
    return {one.step: one.own for one in run.metrics() if isinstance(one, TrainingReading)}


@pytest.mark.parametrize(
    ("precision", "mixup", "options"),
    [
        ("32", {"name": "mixup"}, {"start": 1, "network_steps": 2, "sees": "masks-and-film"}),
        ("bf16", {"name": "mixup", "target": "losses"}, {"spectral_norm": True, "soften": 1}),
    ],
)
def test_a_killed_run_ends_bit_equal_with_the_critics_state(
    new_run: NewRun, components: Registry, precision: str, mixup: Any, options: dict[str, Any]
) -> None:
    settings = {"loss": with_critic(**options), "train__precision": precision, "augment": [mixup]}
    straight, broken = (new_run(name, **settings) for name in ("straight", "broken"))
    train(straight, components)
    with pytest.raises(Killed):
        train(broken, components, StopAt(3, die))
    train(broken, components)
    same_result(straight, broken)
    tensors = load_state(straight.state_file).tensors
    critic = {name: value for name, value in tensors.items() if name.startswith(("loss.terms.1.", "own_optimizer."))}
    assert len(critic) > 20
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in critic.values())
    assert set(own(straight)[6]) == {"critic_accuracy", "critic_term"}


def test_in_bf16_the_critics_readings_are_nearly_those_of_32_bits(new_run: NewRun, components: Registry) -> None:
    terms = []
    for precision in ("32", "bf16"):
        run = new_run(f"run-{precision}", loss=with_critic(), train__precision=precision)
        train(run, components)
        terms.append(own(run)[6]["critic_term"])
    assert terms[0] != terms[1]
    assert terms[1] == pytest.approx(terms[0], rel=0.05)


def test_the_kept_network_is_one_as_any_other(new_run: NewRun, components: Registry) -> None:
    plain, judged = new_run("plain"), new_run("judged", loss=with_critic())
    late = new_run("late", loss=with_critic(start=1000))
    for run in (plain, judged, late):
        train(run, components)
    (network, card), (other, other_card) = (load_network(run.weights(), components) for run in (plain, judged))
    assert card == other_card
    assert network.state_dict().keys() == other.state_dict().keys()
    assert late.weights().read_bytes() == plain.weights().read_bytes(), "a critic that hasn't joined changes nothing"
    assert judged.weights().read_bytes() != plain.weights().read_bytes()


def test_its_curves_and_remarks_are_in_the_report(new_run: NewRun, components: Registry) -> None:
    run, said = new_run("run", loss=with_critic(1e5), train__steps=11, train__validate_every=11), StopAt(-1, die)
    train(run, components, said)
    assert list(own(run)) == [10, 11]
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert "weight of 100000 is so large that the training diverges" in lines[1]["remark"]
    assert [message for message in said.said if "so large" in message] == [lines[1]["remark"]]
    evaluation, *_ = evaluate_run(run, components)
    write_report(run, evaluation, [])
    assert "steps 11 to 11: The critic's weight" in (run.report / "table.md").read_text()
    assert (run.report / "curves.png").is_file()


def test_readings_without_anything_of_their_own_are_written_as_before() -> None:
    plain = TrainingReading(10, 0.5, 0.7, 1e-3, 2.0)
    assert list(as_record(plain)) == ["step", "loss", "train_dsc", "lr", "seconds"]
    full = TrainingReading(10, 0.5, 0.7, 1e-3, 2.0, {"critic_accuracy": 0.6}, "It has lost.")
    assert [from_record(as_record(one)) for one in (plain, full)] == [plain, full]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"split__train_size": 1, "split__validation": 0, "train__batch_size": 1}, "a single training film"),
        ({"split__train_size": 6, "unlabelled__films": "rest"}, "masks that the network itself has drawn"),
    ],
)
def test_too_few_drawn_masks_are_refused(
    new_run: NewRun, components: Registry, settings: dict[str, Any], words: str
) -> None:
    run = new_run("run", loss=with_critic(), **settings)
    with pytest.raises(ConfigError, match=words) as caught:
        train(run, components)
    assert "leave out critic" in caught.value.remedy or "or critic" in caught.value.remedy
    with pytest.raises(ConfigError, match=words):
        check_training(run.config(), run.path.parent / "another")


def test_a_divergence_names_the_critics_weight(new_run: NewRun, components: Registry) -> None:
    run = new_run("run", loss=with_critic(1e30), train__lr=1e30, train__clip_norm=None)
    with pytest.raises(TrainingError, match=r"is nan|not finite|is inf") as caught:
        train(run, components)
    assert caught.value.remedy.startswith("Use a smaller weight than in 1e+30*critic.")


class TwoProcesses:
    """What the loop needs of two processes, whose means differ from this one's values by a constant."""

    world_size = 2

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.other_learns = True
        self.apart = 0.0

    def all_reduce(self, value: Tensor, reduce_op: str) -> Tensor:
        self.shapes.append(tuple(value.shape))
        return value + (self.other_learns if reduce_op == "sum" else self.apart)


def with_two_processes() -> tuple[Loss, OwnTraining, TwoProcesses, Batch]:
    terms = [LossConfig(name="dice"), LossConfig(name="critic", **{"base_channels": 2})]
    loss, processes = build_loss(terms, cxrkit.plugins.registry(), ("heart",)), TwoProcesses()
    training = OwnTraining(loss, terms, processes, Silent())  # type: ignore[arg-type]
    return loss, training, processes, Batch(torch.zeros(2, 1, 16, 16), torch.ones(2, 1, 16, 16))


def test_a_process_without_films_for_the_critic_takes_part_all_the_same() -> None:
    calls = []
    for known in (True, False):
        loss, training, processes, batch = with_two_processes()
        for step in range(7):
            training.begin(step)
            training.update(torch.randn(2, 1, 16, 16), batch.with_(known=torch.full((2, 1), known)))
        calls.append(processes.shapes)
    assert calls[0] == calls[1]
    assert len(calls[0]) == 2 * (1 + len([*loss.parameters(), *loss.buffers()]))


def test_processes_count_the_critics_answers_together() -> None:
    """So that the state that one of them saves is that of all."""
    loss, training, processes, batch = with_two_processes()
    processes.apart = 0.25
    training.begin(0)
    training.update(torch.randn(2, 1, 16, 16), batch)
    (tally,) = loss.buffers()
    assert tally[1] == 1.25
    processes.other_learns = False
    training.begin(5)
    training.update(torch.randn(2, 1, 16, 16), batch.with_(known=torch.full((2, 1), False)))
    assert tally[1] == 1.25


@pytest.mark.parametrize("other_learns", [True, False])
def test_where_no_process_has_films_the_critic_stays_as_it_is(other_learns: bool) -> None:
    loss, training, processes, batch = with_two_processes()
    training.begin(0)
    training.update(torch.randn(2, 1, 16, 16), batch)
    before = [parameter.clone() for parameter in loss.parameters()]
    processes.other_learns = other_learns
    training.begin(5)
    training.update(torch.randn(2, 1, 16, 16), batch.with_(known=torch.full((2, 1), False)))
    assert all(map(torch.equal, before, loss.parameters())) == (not other_learns), "momentum alone moved it"


def test_on_cuda_its_steps_stay_ordinary_ones_by_name(
    tmp_path: Path, new_run: NewRun, components: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cxrkit.engine import loop as loops

    said = StopAt(-1, die)
    monkeypatch.setattr(loops, "CapturedPass", lambda *_, **__: pytest.fail("nothing is to be recorded"))
    monkeypatch.setattr(loops, "_on_one_gpu", lambda fabric: True)
    train(new_run("run", loss=with_critic(), train__compile="auto", train__steps=1), components, said)
    assert any("critic learns beside the network" in message for message in said.said)
