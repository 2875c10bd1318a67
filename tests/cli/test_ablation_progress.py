from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cxrkit.ablation.coordinate import Progress, RunStatus
from cxrkit.ablation.plan import PlannedRun, make_plan
from cxrkit.cli.ablation_progress import ablation_progress, draw, standings
from cxrkit.cli.progress import LiveProgress, progress
from cxrkit.plugins import registry
from cxrkit.report.ablation import summarise_ablation
from tests.ablation.faking import Fake


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
    assert "unet, seed 0: started (0 of 2 done, about 1 h 0 min left)" in capsys.readouterr().err


def test_the_quiet_hear_nothing_of_runs(tmp_path: Path) -> None:
    with progress(quiet=True) as observer:
        assert ablation_progress(observer, tmp_path) is None


#: What an ablation of networks, losses, mixups and sizes varies: 24 arms; with more sizes 60.
FACTORS: dict[str, Any] = {
    "model": ["unet", "attn-unet", "attn-bcdu"],
    "loss": ["dice", "focal-tversky"],
    "mixup": [0, 0.2],
}


def frame(path: Path, width: int, height: int, *, sizes: int, running: int = 2, finished: int = 8) -> list[str]:
    """The lines of a display, of a plan with 12 arms for each training size, three seeds of each."""
    fake = Fake(path, FACTORS | {"train_size": [*range(2, 2 + sizes)]}, seeds=3)
    runs = list(fake.runs.values())
    for number, run in enumerate(runs[:finished]):
        fake.score(run.arm.slug, [0.5 + number / 1000, 0.6, 0.7], run.seed)
    states: list[RunStatus] = [RunStatus(run, "finished", 100, 100) for run in runs[:finished]]
    states += [RunStatus(run, "running", 40, 100, "loss 0.300") for run in runs[finished : finished + running]]
    states += [RunStatus(run, "waiting", 0, 100) for run in runs[finished + running :]]
    table = standings(summarise_ablation(fake.results())) if finished else None
    console = Console(file=io.StringIO(), width=width, height=height, markup=False, highlight=False)
    with console.capture() as drawn:
        console.print(draw(Progress(tuple(states), 3600.0), table, width, height))
    return [line.rstrip() for line in drawn.get().splitlines()]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (140, 50), (40, 8)])
@pytest.mark.parametrize("sizes", [1, 2, 5])
def test_what_is_left_and_what_runs_is_seen_on_every_terminal(
    tmp_path: Path, width: int, height: int, sizes: int
) -> None:
    lines = frame(tmp_path, width, height, sizes=sizes)
    assert len(lines) < height
    assert max(map(len, lines)) <= width
    assert lines[0].startswith(f"8 of {36 * sizes} runs finished, about 1 h")
    assert all("seed" in line and "40/100" in line for line in lines[1:3])
    if height > 8:
        assert lines[4].startswith("arm, best first")
        assert "lungs Dice %" in lines[4]
        assert "3/3" in lines[6]
        assert "2/3" in lines[8]
        shown = sum("/3 " in line for line in lines[6:])
        more = 12 * sizes - shown
        assert lines[-1] == f"and {more} more arms, none of them with finished runs" if more else "0/3" in lines[-1]


def test_the_best_arms_are_shown_where_not_all_can_be(tmp_path: Path) -> None:
    lines = frame(tmp_path, 80, 12, sizes=5, finished=180, running=0)
    assert "attn-bcdu · focal-tversky · mixup 0.2 · train_size 6" in lines[4]
    assert lines[-1] == "and 54 more arms, all of them with finished runs"


def test_measures_of_the_verdict_are_shown_before_others(tmp_path: Path) -> None:
    heads = [frame(tmp_path / str(width), width, 24, sizes=1)[4] for width in (80, 110, 160)]
    assert [("paper DSC" in head, "HD95" in head) for head in heads] == [(False, False), (True, False), (True, True)]


def test_many_runs_side_by_side_leave_room_for_the_table(tmp_path: Path) -> None:
    lines = frame(tmp_path, 80, 24, sizes=2, running=16)
    assert len(lines) < 24
    assert "and 6 more running" in lines
    assert sum("/3 " in line for line in lines) >= 5
    before = frame(tmp_path / "new", 80, 24, sizes=2, running=16, finished=0)
    assert sum("40/100" in line for line in before) == 16


def test_the_live_display_is_what_is_drawn(monkeypatch: pytest.MonkeyPatch, runs, tmp_path: Path) -> None:
    terminal = on_terminal(monkeypatch)
    with progress() as observer:
        listener = ablation_progress(observer, tmp_path)
        assert listener is not None
        listener.update(under_way(runs))
    shown = terminal.getvalue()
    assert "0 of 2 runs finished, about 1 h 0 min left" in shown
    assert shown.index("finished") < shown.index("40/100")
