"""Live progress of an ablation: its runs, what is left, and the table so far."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrkit.cli.console import say, stderr
from cxrkit.cli.progress import LiveProgress, PlainProgress, Screen, duration

if TYPE_CHECKING:
    from cxrkit.ablation.coordinate import Listener, Progress
    from cxrkit.engine.observer import Observer

_REFRESH_SECONDS = 1.0


def ablation_progress(observer: Observer, folder: Path) -> Listener | None:
    """A listener that goes with an observer of `progress`: live on a terminal, a line a finished run elsewhere."""
    if isinstance(observer, LiveProgress):
        return _Live(observer.screen, folder)
    return _Plain() if isinstance(observer, PlainProgress) else None


class _Plain:
    """A line whenever a run begins or ends, for logs."""

    def __init__(self) -> None:
        self.states: dict[str, str] = {}

    def update(self, progress: Progress) -> None:
        """Tell what has changed."""
        for status in progress.runs:
            name = status.run.folder
            if self.states.get(name, "waiting") != status.state:
                first = not self.states
                if not (first and status.state == "finished"):
                    done = progress.count("finished") + progress.count("failed")
                    left = f", about {duration(progress.seconds_left)} left" if progress.seconds_left else ""
                    verb = {"running": "begins", "finished": "is finished", "failed": "FAILED"}[status.state]
                    say(
                        f"{status.run.arm.label}, seed {status.run.seed} {verb} "
                        f"({done} of {len(progress.runs)} done{left})"
                    )
        self.states = {status.run.folder: status.state for status in progress.runs}


class _Live:
    """Bars of what is running over the table of what is finished."""

    def __init__(self, screen: Screen, folder: Path) -> None:
        from rich.live import Live

        self.screen, self.folder = screen, folder
        # Drawn when there is news, and not in between: a terminal far away would flicker.
        self.live = Live(console=stderr(), auto_refresh=False, transient=True)
        self.shown_at, self.finished = 0.0, -1
        self.table: Any = ""

    def update(self, progress: Progress) -> None:
        """Draw again, once a second."""
        now = time.monotonic()
        if now - self.shown_at < _REFRESH_SECONDS:
            return
        self.shown_at = now
        if progress.count("finished") != self.finished:
            self.finished = progress.count("finished")
            self.table = self._table_so_far()
        self.screen.show(self.live)
        self.live.update(self._draw(progress), refresh=True)

    def _table_so_far(self) -> Any:
        if not self.finished:
            return ""
        from cxrkit.ablation.results import load_results
        from cxrkit.errors import CxrkitError
        from cxrkit.report.ablation import rich_arms, summarise_ablation

        try:
            return rich_arms(summarise_ablation(load_results(self.folder)))
        except CxrkitError:
            return ""

    def _draw(self, progress: Progress) -> Any:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        grid = Table.grid(padding=(0, 2))
        for status in progress.runs:
            if status.state == "running":
                bar = ProgressBar(total=status.steps, completed=status.step, width=24)
                steps = f"{status.step}/{status.steps}"
                name = f"{status.run.arm.label}, seed {status.run.seed}"
                grid.add_row(Text(name), bar, Text(steps), Text(status.note, style="dim"))
        finished, failed = progress.count("finished"), progress.count("failed")
        left = f", about {duration(progress.seconds_left)} left" if progress.seconds_left else ""
        told = Text(f"{finished} of {len(progress.runs)} runs finished{left}", style="bold")
        if failed:
            told.append(f", {failed} failed", style="bold red")
        return Group(self.table, told, grid)
