"""What is told of a run that failed."""

from __future__ import annotations

from pathlib import Path

from cxrkit.ablation.coordinate import last_error


def test_the_last_error_in_the_log_is_reported(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text("Error: first\nTraining\nError: the loss is nan.\n  Lower the rate.\n")
    assert last_error(log, 5) == "the loss is nan. Lower the rate."


def test_a_killed_attempt_does_not_repeat_an_earlier_error(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text("Error: the loss is nan.\n")
    assert last_error(log, -9) == "killed by signal 9 (out of memory?)"


def test_without_a_log_the_status_is_reported(tmp_path: Path) -> None:
    assert last_error(tmp_path / "none", 3) == "ended with status 3 and no message"
