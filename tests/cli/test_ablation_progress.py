from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest

from cxrkit.ablation.coordinate import Progress, RunStatus
from cxrkit.ablation.plan import PlannedRun, make_plan
from cxrkit.cli.ablation_progress import ablation_progress
from cxrkit.cli.progress import LiveProgress, progress
from cxrkit.plugins import registry


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_terminal(patch: pytest.MonkeyPatch, columns: int = 100, lines: int = 30) -> Terminal:
    made = Terminal()
    patch.setattr(sys, "stderr", made)
    for name, value in {"TERM": "xterm", "COLUMNS": str(columns), "LINES": str(lines)}.items():
        patch.setenv(name, value)
    return made


def moves(display: Any) -> bool:
    return bool(getattr(display, "live", display).is_started)


@pytest.fixture(scope="module")
def runs() -> tuple[PlannedRun, ...]:
    base = {"data": {"name": "phantom", "count": 12}, "train": {"steps": 100}}
    return make_plan({"base": base, "factors": {"model": ["unet", "attn-unet"]}}).runs(registry())


def under_way(runs: tuple[PlannedRun, ...]) -> Progress:
    return Progress(tuple(RunStatus(run, "running", 40, 100, "loss 0.300") for run in runs), 3600.0)


def test_bars_of_stages_and_of_runs_are_never_shown_together(
    monkeypatch: pytest.MonkeyPatch, runs, tmp_path: Path
) -> None:
    terminal = on_terminal(monkeypatch)
    with progress() as observer:
        assert isinstance(observer, LiveProgress)
        listener = ablation_progress(observer, tmp_path)
        assert listener is not None
        observer.stage("Preparing films", 2)
        observer.advance(2)
        preparing = observer.screen.shown
        assert moves(preparing)
        listener.update(under_way(runs))
        training = observer.screen.shown
        assert [moves(preparing), moves(training)] == [False, True]
        observer.stage("Writing the report", 1)
        writing = observer.screen.shown
        assert [moves(training), moves(writing)] == [False, True]
    assert not moves(writing)
    before, _, after = terminal.getvalue().partition("40/100")
    assert "Preparing films" in before
    assert "Preparing films" not in after, "what is over stays where it is"


def test_without_a_terminal_a_line_tells_what_begins(capsys: pytest.CaptureFixture[str], runs, tmp_path: Path) -> None:
    with progress() as observer:
        listener = ablation_progress(observer, tmp_path)
        assert listener is not None
        listener.update(under_way(runs))
    assert "unet, seed 0 begins (0 of 2 done, about 1 h 0 min left)" in capsys.readouterr().err


def test_the_quiet_hear_nothing_of_runs(tmp_path: Path) -> None:
    with progress(quiet=True) as observer:
        assert ablation_progress(observer, tmp_path) is None
