"""Progress of long work: a bar on a terminal, a line every tenth elsewhere, nothing when asked to be quiet."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING

from cxrkit.cli.console import one_line, say, stderr
from cxrkit.engine.observer import Observer, Silent
from cxrkit.errors import printable
from cxrkit.processes import is_first_process

if TYPE_CHECKING:
    from rich.live import Live
    from rich.progress import Progress, TaskID

_SECONDS_BETWEEN = 2.0


@contextmanager
def progress(*, quiet: bool = False) -> Iterator[Observer]:
    """An observer for the engine that shows progress on stderr.

    What plugins print meanwhile goes there too, because stdout is for results, which may be JSON.
    """
    with redirect_stdout(sys.stderr):
        if quiet or not is_first_process():
            yield Silent()
        elif sys.stderr.isatty():
            screen = Screen()
            try:
                yield LiveProgress(screen)
            finally:
                screen.close()
        else:
            yield PlainProgress()


class Screen:
    """What moves on a terminal: one display at a time, because two would overwrite each other."""

    def __init__(self) -> None:
        self.shown: Live | Progress | None = None

    def show(self, display: Live | Progress) -> None:
        """Begin a display, unless it is already shown; close the previous one."""
        if display is not self.shown:
            self.close()
            display.start()
            self.shown = display

    def close(self) -> None:
        """End what is shown."""
        if self.shown is not None:
            self.shown.stop()
            self.shown = None

    def say(self, message: str) -> None:
        """Print above what is shown."""
        console = stderr() if self.shown is None else self.shown.console
        console.print(printable(message), soft_wrap=True)


class LiveProgress:
    """A bar for each stage, with the time that is left."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self.bars: Progress | None = None
        self.task: TaskID | None = None

    def stage(self, name: str, total: int) -> None:
        """A new bar below the finished ones."""
        if self.bars is None or self.bars is not self.screen.shown:
            self.bars = _bars()
        elif self.task is not None:
            self.bars.stop_task(self.task)
        self.task = self.bars.add_task(name, total=total, note="")
        self.screen.show(self.bars)

    def advance(self, done: int, note: str = "") -> None:
        """Move the bar."""
        if self.bars is not None and self.task is not None:
            self.bars.update(self.task, completed=done, note=one_line(note))

    def say(self, message: str) -> None:
        """Print above the bars."""
        self.screen.say(message)


class PlainProgress:
    """A line when a stage begins and at every tenth of it, for logs."""

    def __init__(self) -> None:
        self.name, self.total = "", 0
        self.shown, self.shown_at = 0, 0.0
        self.began: tuple[float, int] | None = None

    def stage(self, name: str, total: int) -> None:
        """A line that names the stage."""
        self.name, self.total, self.shown, self.shown_at, self.began = name, total, 0, time.monotonic(), None
        say(f"{name}: {total} to do")

    def advance(self, done: int, note: str = "") -> None:
        """A line at every tenth, but not several a second."""
        now = time.monotonic()
        if self.began is None:
            # Resumed work begins with what was done before, which says nothing about the speed.
            self.began = (now, done)
        tenth = 10 * done // self.total if self.total else 10
        soon = now - self.shown_at < _SECONDS_BETWEEN and done < self.total
        if tenth <= self.shown or soon:
            return
        self.shown, self.shown_at = tenth, now
        parts = [f"{self.name}: {done}/{self.total} ({100 * done // max(1, self.total)} %)"]
        if note:
            parts.append(one_line(note))
        seconds, start = now - self.began[0], self.began[1]
        if start < done < self.total and seconds > 1:
            parts.append(f"about {duration(seconds / (done - start) * (self.total - done))} left")
        say(", ".join(parts))

    def say(self, message: str) -> None:
        """A line."""
        say(message)


def duration(seconds: float) -> str:
    """Seconds in readable form: `40 s`, `12 min`, `3 h 20 min`."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _bars() -> Progress:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[note]}", style="dim", markup=False),
        console=stderr(),
    )
