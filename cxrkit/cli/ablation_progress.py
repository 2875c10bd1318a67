"""Live progress of an ablation: its runs, what is left, and the table so far."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cxrkit.cli.console import say, stderr
from cxrkit.cli.progress import LiveProgress, PlainProgress, Screen, duration

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from cxrkit.ablation.coordinate import Listener, Progress
    from cxrkit.engine.observer import Observer
    from cxrkit.report.ablation import Numbers

_REFRESH_SECONDS = 1.0

# Widths in characters: between the columns of what is running, of its bars, and of the latest reading.
_GAP, _BAR, _BAR_SHORTEST, _NOTE = 2, 24, 8, 10
# Of the table: lines of its head, and characters between its columns.
_HEAD_LINES, _BETWEEN = 2, 3


def ablation_progress(observer: Observer, folder: Path) -> Listener | None:
    """A listener for an observer of `progress`: live on a terminal, elsewhere a line when a run starts or ends."""
    if isinstance(observer, LiveProgress):
        return _Live(observer.screen, folder)
    return _Plain() if isinstance(observer, PlainProgress) else None


class _Plain:
    """A line whenever a run starts or ends, for logs."""

    def __init__(self) -> None:
        self.states: dict[str, str] = {}

    def update(self, progress: Progress) -> None:
        """Show what has changed."""
        from cxrkit.ablation.results import STATES

        words = {"running": "started"} | {str(state): word for state, word in STATES.items()}
        for status in progress.runs:
            name = status.run.folder
            old_news = not self.states and status.state == "finished"
            if self.states.get(name, "waiting") != status.state and not old_news:
                done = progress.count("finished") + progress.count("failed")
                left = f", about {duration(progress.seconds_left)} left" if progress.seconds_left else ""
                say(
                    f"{status.run.arm.label}, seed {status.run.seed}: {words[status.state]} "
                    f"({done} of {len(progress.runs)} done{left})"
                )
        self.states = {status.run.folder: status.state for status in progress.runs}


class _Live:
    """What is left and what is running, over the table so far."""

    def __init__(self, screen: Screen, folder: Path) -> None:
        from rich.live import Live

        self.screen, self.folder = screen, folder
        # Drawn when there is news, and not in between: a terminal far away would flicker.
        self.live = Live(console=stderr(), auto_refresh=False, transient=True)
        self.shown_at, self.finished = 0.0, 0
        self.standings: Standings | None = None

    def update(self, progress: Progress) -> None:
        """Draw again, once a second."""
        now = time.monotonic()
        if now - self.shown_at < _REFRESH_SECONDS:
            return
        self.shown_at = now
        if progress.count("finished") != self.finished:
            self.finished = progress.count("finished")
            self.standings = self._standings()
        width, height = self.live.console.size
        self.screen.show(self.live)
        self.live.update(draw(progress, self.standings, width, height), refresh=True)

    def _standings(self) -> Standings | None:
        from cxrkit.ablation.results import load_results
        from cxrkit.errors import CxrkitError
        from cxrkit.report.ablation import summarise_ablation

        try:
            return standings(summarise_ablation(load_results(self.folder)))
        except CxrkitError:
            return None


@dataclass(frozen=True)
class Standings:
    """The table so far: arms that can be ranked, best first; then others with finished runs; then those without.

    Attributes:
        headings: of the columns: arm, seeds, and measures.
        rows: their cells, in that order; those of the first `begun` arms have numbers.
        bold: (row, column) of the best.
        wanted: the measures' columns, those that the verdict is on first: others are left out where there is no room.
    """

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    begun: int
    bold: frozenset[tuple[int, int]]
    wanted: tuple[int, ...]


def standings(numbers: Numbers) -> Standings:
    """The main table of an ablation so far, in the order that is most useful on a terminal."""
    from cxrkit.report.ablation import seeds_table

    table, primary = seeds_table(numbers), numbers.primary
    ranked = numbers.rankings[primary[0].key].ranked if primary else ()
    means = {arm.arm.slug: mean for arm, mean in ranked}
    order = sorted(
        range(len(numbers.arms)),
        # The first primary measure is a Dice coefficient: the higher, the better.
        key=lambda i: (-means.get(numbers.arms[i].arm.slug, -1.0), not numbers.arms[i].finished),
    )
    place = {index: row for row, index in enumerate(order)}
    columns = range(2, len(table.headings))
    decisive = [column for column, shown in enumerate(numbers.main, start=2) if shown in primary]
    return Standings(
        headings=("arm, best first" if len(means) > 1 else "arm", *table.headings[1:]),
        rows=tuple(table.rows[index] for index in order),
        begun=sum(arm.finished > 0 for arm in numbers.arms),
        bold=frozenset((place[index], column) for index, column in table.bold),
        wanted=(*decisive, *(column for column in columns if column not in decisive)),
    )


def draw(progress: Progress, table: Standings | None, width: int, height: int) -> Group:
    """What fits on a terminal, the most wanted first: what is left, what is running, and the table so far.

    Args:
        progress: the runs.
        table: its arms; None before any run is finished.
        width, height: of the terminal, in characters. No more than `height` - 1 lines are drawn, and none is folded.
    """
    from rich.console import Group

    room = height - 2  # the line of what is left, and the last one, which stays free
    running = _running(progress, width, room if table is None else max(2, room // 2))
    room -= running.row_count + 1  # an empty line before the table
    if table is None or room < _HEAD_LINES + 1:
        return Group(_left(progress), running)
    return Group(_left(progress), running, "", *_table(table, width, room))


def _line(text: str, style: str = "") -> Text:
    """Text that is cut at the terminal's edge, so that it takes one line."""
    from rich.text import Text

    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def _left(progress: Progress) -> Text:
    """How many runs are finished, and when the others will be."""
    from cxrkit.ablation.results import STATES

    state = f"{progress.count('finished')} of {len(progress.runs)} runs {STATES['finished']}"
    if progress.seconds_left:
        state += f", about {duration(progress.seconds_left)} left"
    line = _line(state, "bold")
    if failed := progress.count("failed"):
        line.append(f", {failed} {STATES['failed']}", style="bold red")
    return line


def _running(progress: Progress, width: int, lines: int) -> Table:
    """A bar for each running run, as many as there are lines for.

    The columns have the same places whatever is running: they have room for the longest of all runs.
    """
    from rich.cells import cell_len
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    rows = [status for status in progress.runs if status.state == "running"]
    shown = rows if len(rows) <= lines else rows[: lines - 1]
    label = max(cell_len(status.run.arm.label) for status in progress.runs)
    seed = max(len(f"seed {status.run.seed}") for status in progress.runs)
    steps = max(len(f"{status.steps}/{status.steps}") for status in progress.runs)
    rest = width - label - seed - steps - 3 * _GAP  # for the bar and the note
    noted = rest >= _BAR_SHORTEST + _GAP + _NOTE
    bar = min(_BAR, max(_BAR_SHORTEST, rest - (_GAP + _NOTE if noted else 0)))
    label = max(1, min(label, label + rest - bar))
    grid = Table.grid(padding=(0, _GAP, 0, 0))
    for size in (label, seed, bar, steps, *([_NOTE] if noted else [])):
        grid.add_column(width=size)
    for status in shown:
        cells: list[Text | ProgressBar] = [
            _line(status.run.arm.label),
            _line(f"seed {status.run.seed}"),
            ProgressBar(total=status.steps, completed=status.step, width=bar),
            _line(f"{status.step}/{status.steps}".rjust(steps)),
            _line(status.note, "dim"),
        ]
        grid.add_row(*cells[: len(grid.columns)])
    if len(shown) < len(rows):
        grid.add_row(_line(f"and {len(rows) - len(shown)} more running", "dim"))
    return grid


def _table(table: Standings, width: int, lines: int) -> tuple[Table, Text] | tuple[Table]:
    """The first arms of the table and the measures that there is room for, and below how many more there are."""
    from rich import box
    from rich.cells import cell_len
    from rich.table import Table

    room = lines - _HEAD_LINES
    count = len(table.rows) if len(table.rows) <= room else room - 1
    sizes = [max(map(cell_len, column)) for column in zip(table.headings, *table.rows, strict=True)]
    chosen, taken = {0, 1}, sizes[0] + _BETWEEN + sizes[1]
    for column in table.wanted:
        # One measure is shown in any case; the arms' names are cut for it if need be.
        if len(chosen) == 2 or taken + _BETWEEN + sizes[column] <= width:
            chosen.add(column)
            taken += _BETWEEN + sizes[column]
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in sorted(chosen):
        size = max(1, sizes[0] - max(0, taken - width)) if column == 0 else sizes[column]
        made.add_column(_line(table.headings[column]), justify="left" if column == 0 else "right", width=size)
    for index, row in enumerate(table.rows[:count]):
        styles = ["bold" if (index, column) in table.bold else "" for column in range(len(row))]
        cells = [_line(row[column], styles[column]) for column in sorted(chosen)]
        made.add_row(*cells, style="" if index < table.begun else "dim")
    if (more := len(table.rows) - count) == 0:
        return (made,)
    begun = max(0, table.begun - count)
    finished = "all" if begun == more else begun or "none"
    return made, _line(f"and {more} more arms, {finished} of them with finished runs", "dim")
