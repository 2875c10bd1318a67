"""What counts as a finished run, and whose scores stand for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cxrkit.ablation.results import RunResult, log_event, read_events, read_scores
from cxrkit.engine.run import RunDirectory
from tests.ablation.faking import Fake, evaluation, film

FILMS = [film("a", 0.9), film("b", 0.8)]


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    return Fake(tmp_path / "mine", {"loss": ["dice", "bce"]})


def first(fake: Fake) -> RunResult:
    return fake.results().runs[0]


def with_best_weights(folder: Path) -> Path:
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "best.safetensors").touch()
    return folder


def test_last_weights_do_where_nothing_was_chosen(fake: Fake) -> None:
    fake.write("dice", evaluation(FILMS))
    run = first(fake)
    assert (run.state, run.error) == ("finished", None)
    assert run.honest is run.paper
    assert run.honest is not None
    assert run.honest.weights == "last"


NO_FILMS = '{"part": "test", "weights": "best", "step": 1, "selected_on": "validation", "films": []}'


@pytest.mark.parametrize("content", ["{", '{"part": "test"}', NO_FILMS, None])
def test_damaged_scores_of_chosen_weights_are_not_replaced_by_the_last_ones(fake: Fake, content: Any) -> None:
    folder = fake.write("dice", evaluation(FILMS))
    (folder / "evaluation" / "test-best.json").write_text(
        evaluation(FILMS).model_dump_json().replace('"films":[', '"films":[{},') if content is None else content
    )
    run = first(fake)
    assert run.state == "stopped"
    assert run.honest is None
    assert run.error == f"scores damaged (test-best.json); run: cxrkit evaluate {folder}"


def test_chosen_weights_without_scores_are_not_replaced_by_the_last_ones(fake: Fake) -> None:
    folder = with_best_weights(fake.write("dice", evaluation(FILMS)))
    assert read_scores(RunDirectory(folder)) == (None, None)
    assert "best weights have no scores; run: cxrkit evaluate" in (first(fake).error or "")


def test_the_papers_protocol_needs_both_scores(fake: Fake) -> None:
    folder = with_best_weights(fake.write("dice", evaluation(FILMS, "best", "test")))
    assert first(fake).error == f"its last weights have no scores; run: cxrkit evaluate {folder} --checkpoint last"
    fake.write("dice", evaluation(FILMS))
    run = first(fake)
    assert run.state == "finished"
    assert run.honest is not None
    assert run.paper is not None
    assert (run.honest.weights, run.paper.weights) == ("last", "best")


def test_a_run_that_trains_has_no_complaint(fake: Fake) -> None:
    with_best_weights(fake.begin("dice"))
    run = first(fake)
    assert (run.state, run.error) == ("stopped", None)


@pytest.mark.parametrize(("status", "error"), [(1, "disk full"), (0, None), (130, None)])
def test_a_failure_after_the_scores_is_kept(fake: Fake, status: int, error: str | None) -> None:
    folder = fake.write("dice", evaluation(FILMS))
    log_event(fake.path, {"run": f"runs/dice/{folder.name}", "status": status, "error": "disk full"})
    run = first(fake)
    assert (run.state, run.error) == ("finished", error)


def test_an_event_after_a_cut_one_is_whole(tmp_path: Path) -> None:
    log_event(tmp_path, {"run": "one"})
    with (tmp_path / "events.jsonl").open("a") as stream:
        stream.write('{"run": "tw')
    log_event(tmp_path, {"run": "three"})
    log_event(tmp_path, {"run": "four"})
    assert [event["run"] for event in read_events(tmp_path)] == ["one", "three", "four"]
    assert "\n\n" not in (tmp_path / "events.jsonl").read_text()
