"""What a report says of where its runs were computed and how they ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cxrkit.errors import DataError
from cxrkit.readings import TrainingReading, as_record
from cxrkit.report.ablation import all_caveats, summarise_ablation, write_ablation_report
from cxrkit.report.ablation.facts import all_facts
from tests.ablation.faking import Fake, with_provenance

DICES = [0.9, 0.8, 0.85]


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    return Fake(tmp_path / "mine", {"loss": ["dice", "bce"]})


def ended(fake: Fake, slug: str, **event: Any) -> None:
    """Note that a run's process ended."""
    with (fake.path / "events.jsonl").open("a") as stream:
        stream.write(json.dumps({"run": fake.runs[slug, 0].folder, "status": 0, "error": None, **event}) + "\n")


def time(fake: Fake) -> str:
    return all_facts(fake.results())["process time"]


def test_time_is_of_the_runs_that_have_one(fake: Fake) -> None:
    for slug in ("dice", "bce"):
        fake.score(slug, DICES)
    assert time(fake) == "unknown"
    ended(fake, "dice", seconds=1800.0)
    ended(fake, "dice", seconds=1800.0)
    assert time(fake) == "1.00 h over 1 of 2 runs"
    ended(fake, "bce", seconds=3600.0)
    assert time(fake) == "2.00 h over all runs"


def test_time_of_a_run_without_scores_counts(fake: Fake) -> None:
    fake.score("dice", DICES)
    ended(fake, "bce", seconds=3600.0, status=130)
    assert time(fake) == "1.00 h over 1 of 2 runs"


def warned(fake: Fake, words: str) -> bool:
    return any(words in warning for warning in all_caveats(summarise_ablation(fake.results())))


def test_what_a_loss_said_when_runs_ended_is_reported(fake: Fake) -> None:
    for slug, remarks in (("dice", ("The critic has won.", "")), ("bce", ("", "The critic has lost."))):
        readings = (
            TrainingReading(1000 * step, 0.5, 0.8, 1e-3, 1.0, remark=remark) for step, remark in enumerate(remarks)
        )
        lines = "".join(json.dumps(as_record(reading)) + "\n" for reading in readings)
        (fake.score(slug, DICES) / "metrics.jsonl").write_text(lines)
    assert warned(fake, "At the end of bce, seed 0: The critic has lost.")
    assert not warned(fake, "won")


def test_a_run_that_was_continued_elsewhere_is_reported(fake: Fake) -> None:
    with_provenance(fake.score("dice", DICES))
    assert not warned(fake, "were continued")
    with_provenance(fake.score("bce", DICES), continued=("torch 2.11.0, was 2.13.0", "precision bf16, was 32"))
    assert warned(fake, "little: bce, seed 0 (torch 2.11.0, was 2.13.0; precision bf16, was 32).")


def test_other_versions_of_a_plugin_are_reported(fake: Fake) -> None:
    with_provenance(fake.score("dice", DICES), plugins={"cxrkit": "1", "mine": "0.1", "other": "3"})
    with_provenance(fake.score("bce", DICES), plugins={"cxrkit": "1", "mine": "0.1"})
    assert not warned(fake, "The runs differ in"), "another component isn't another version"
    with_provenance(fake.score("bce", DICES), plugins={"cxrkit": "1", "mine": "0.2"})
    assert warned(fake, "The runs differ in mine (0.1, 0.2)")


def test_an_error_after_the_scores_is_reported(fake: Fake) -> None:
    fake.score("dice", DICES)
    fake.score("bce", DICES)
    assert not warned(fake, "ended with an error")
    ended(fake, "bce", status=1, error="the disk is full")
    assert warned(
        fake, "Scores are complete, but the last attempt ended with an error: bce, seed 0 (the disk is full)."
    )
    assert not warned(fake, "failed")


def test_energy_says_of_how_many_runs_it_is_known(fake: Fake) -> None:
    for slug in ("dice", "bce"):
        fake.score(slug, DICES)
    assert all_facts(fake.results())["energy"].startswith("unknown")
    ended(fake, "dice", machine_joules=3.6e6, counters=["package-0"])
    energy = all_facts(fake.results())["energy"]
    assert energy.startswith("1 kWh of the coordinating machine (package-0)")
    assert energy.endswith("in 1 of 2 runs")


def test_an_ablation_without_a_finished_run_has_no_report(fake: Fake) -> None:
    with pytest.raises(DataError, match="none of its 2 runs is finished"):
        write_ablation_report(fake.results())
