from __future__ import annotations

import io
import re
import sys

import pytest

from cxrkit.cli import progress as progress_module
from cxrkit.cli.console import warn
from cxrkit.cli.progress import LiveProgress, PlainProgress, duration, progress


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress_module, "time", made)
    return made


def test_a_log_gets_a_line_every_tenth(capsys, clock) -> None:
    observer = PlainProgress()
    observer.stage("Training", 1000)
    for done in range(1, 1001):
        clock.now += 1
        observer.advance(done, f"loss {done}")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Training: 1000 to do"
    assert len(lines) == 11
    assert lines[1] == "Training: 100/1000 (10 %), loss 100, about 15 min left"
    assert lines[-1] == "Training: 1000/1000 (100 %), loss 1000"


def test_quick_work_is_reported_when_it_is_done(capsys, clock) -> None:
    observer = PlainProgress()
    observer.stage("Evaluating", 50)
    for done in range(51):
        observer.advance(done)
    assert capsys.readouterr().err.splitlines() == ["Evaluating: 50 to do", "Evaluating: 50/50 (100 %)"]


def test_resumed_work_reckons_with_its_own_speed(capsys, clock) -> None:
    observer = PlainProgress()
    observer.stage("Training", 100)
    observer.advance(50)
    clock.now += 10
    observer.advance(60)
    assert capsys.readouterr().err.splitlines()[-1] == "Training: 60/100 (60 %), about 40 s left"


def test_a_stage_of_nothing_is_no_fault(capsys) -> None:
    observer = PlainProgress()
    observer.stage("Checking", 0)
    observer.advance(0)
    assert "Checking: 0 to do" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 s"), (59, "59 s"), (90, "2 min"), (3600, "1 h 0 min"), (12_000, "3 h 20 min")]
)
def test_durations_are_readable(seconds, text) -> None:
    assert duration(seconds) == text


def test_quiet_says_nothing(capsys) -> None:
    with progress(quiet=True) as observer:
        observer.stage("Training", 2)
        observer.advance(2, "loss 1")
        observer.say("hello")
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_bars_with_brackets_intact(monkeypatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "140")
    with progress() as observer:
        assert isinstance(observer, LiveProgress)
        observer.stage("Preparing [films]", 3)
        observer.advance(3)
        observer.stage("Training", 10)
        observer.advance(5, "loss [0.5]")
        observer.say("Going on after [step] 3.")
    shown = terminal.getvalue()
    for text in ("Preparing [films]", "3/3", "5/10", "loss [0.5]", "Going on after [step] 3."):
        assert text in shown


def test_a_warning_stands_above_the_bars(monkeypatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with progress() as observer:
        observer.stage("Preparing films", 3)
        observer.advance(1)
        warn("masks [of b] have no film")
    # The bar's line is erased before, and the bar drawn anew after.
    assert re.search(
        r"\x1b\[2K(\x1b\[[\d;]*m)*Warning:(\x1b\[[\d;]*m)* masks \[of b\] have no film\s+.*Preparing",
        terminal.getvalue(),
    )


def test_further_processes_show_nothing(monkeypatch, capsys) -> None:
    monkeypatch.setenv("RANK", "2")
    with progress() as observer:
        observer.stage("Training", 2)
        observer.say("hello")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("quiet", [False, True])
def test_what_others_print_meanwhile_stays_out_of_the_results(capsys, quiet) -> None:
    with progress(quiet=quiet):
        print("chatter")
    assert capsys.readouterr() == ("", "chatter\n")
