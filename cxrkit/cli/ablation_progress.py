"""Live progress of an ablation: its runs, what is left, and the table so far."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrkit.cli.console import say, stderr
from cxrkit.cli.progress import duration

if TYPE_CHECKING:
    from rich.live import Live

    from cxrkit.ablation.coordinate import Listener, Progress

_REFRESH_SECONDS = 1.0


@contextmanager
def ablation_progress(folder: Path, *, quiet: bool = False) -> Iterator[Listener | None]:
    """A listener that shows what it hears on stderr: live on a terminal, a line a finished run elsewhere."""
    if quiet:
        yield None
    elif sys.stderr.isatty():
        from rich.live import Live

        live = Live(console=stderr(), refresh_per_second=4, transient=True)
        try:
            yield _Live(live, folder)
        finally:
            live.stop()
    else:
        yield _Plain()


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

    def __init__(self, live: Live, folder: Path) -> None:
        self.live, self.folder = live, folder
        self.shown_at, self.finished = 0.0, -1
        self.table: Any = ""

    def update(self, progress: Progress) -> None:
        """Draw again, once a second."""
        now = time.monotonic()
        if now - self.shown_at < _REFRESH_SECONDS:
            return
        self.shown_at = now
        if not self.live.is_started:
            self.live.start()
        if progress.count("finished") != self.finished:
            self.finished = progress.count("finished")
            self.table = self._table_so_far()
        self.live.update(self._draw(progress))

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
