"""What grows with the number of films: the processor's time and the memory of each step, on synthetic films.

    python examples/growth.py 100 1000 10000 50000

Prints a line of a Markdown table for each number. The films are 32 pixels wide, without CLAHE, and of two datasets,
half of them each; only 50 of each are different, because making them would take most of the time. A tenth are test
films. Other work on the machine hardly changes the processor's time. The stores lie in a temporary folder.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import sys
import tempfile
import time
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path

from cxrkit import Entry, Sample
from cxrkit.plugins import registry
from cxrkit.registry import Component
from cxrkit_plugins.datasets.phantom import PhantomDataset

STEPS = 41
COLUMNS = (
    *("films", "listing (s)", "preparing (s)", "found again (s)", "split (s)", "start (s)", "update (ms)"),
    *("memory (MB)", "evaluating (s)", "report (s)"),
)


@cache
def film(number: int, seed: int) -> Sample:
    return PhantomDataset(count=50, size=32, seed=seed).read(Entry(f"phantom-{number:04d}", ""))


class Repeated(PhantomDataset):
    """The same 50 films again and again."""

    def read(self, entry: Entry) -> Sample:
        return replace(film(int(entry.id.partition("-")[2]) % 50, self.seed), id=entry.id)


class Clock:
    """Notes the processor's time when a stage begins and at each of its units."""

    def __init__(self) -> None:
        self.stages: dict[str, list[tuple[int, float]]] = {}

    def stage(self, name: str, total: int) -> None:
        self.times = self.stages[name] = [(0, time.process_time())]

    def advance(self, done: int, note: str = "") -> None:
        self.times.append((done, time.process_time()))

    def say(self, message: str) -> None:
        pass


def measure(films: int) -> str:
    import cxrkit
    from cxrkit.config import make_config
    from cxrkit.data.samples import list_entries
    from cxrkit.data.splits import make_split
    from cxrkit.engine.films import build_datasets, prepare_store
    from cxrkit.engine.observer import Silent

    registry().add(Component("dataset", "repeated", Repeated, "50 phantoms again and again", "examples", "0"))
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CXRKIT_CACHE"] = folder

        def settings(count: int) -> dict[str, object]:
            halves = [
                {"name": "repeated", "alias": f"half-{seed}", "count": count // 2, "size": 32, "seed": seed}
                for seed in (0, 1)
            ]
            return {
                "data": halves,
                "model": {"name": "unet", "base_channels": 4, "depth": 2},
                "preprocess": {"size": 32, "clahe": None},
                "split": {"test_size": count // 10, "validation": 0},
                "train": {"steps": STEPS, "device": "cpu", "precision": "32"},
            }

        def timed(function, *arguments):
            began = time.process_time()
            result = function(*arguments)
            return result, time.process_time() - began

        cxrkit.train(settings(40), out=Path(folder) / "first")  # imports, and what else happens once
        config = make_config(settings(films))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        _, listing = timed(lambda: [list_entries(one) for one in build_datasets(config, registry()).values()])
        _, preparing = timed(prepare_store, config, registry(), Silent())
        store, found = timed(prepare_store, config, registry(), Silent())
        _, split = timed(make_split, store.entries, config.split, 0)
        clock, began = Clock(), time.process_time()
        cxrkit.train(config, out=Path(folder) / "run", observer=clock)
        ended = time.process_time()
        training, evaluating = clock.stages["Training"], clock.stages["Evaluating"]
        (first, at_first), (last, at_last) = training[1], training[-1]
        memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        numbers = (
            *(f"{films:,}", f"{listing:.2f}", f"{preparing:.1f}", f"{found:.2f}", f"{split:.2f}"),
            *(f"{at_first - began:.2f}", f"{1000 * (at_last - at_first) / (last - first):.0f}", f"{memory:.0f}"),
            *(f"{evaluating[-1][1] - evaluating[0][1]:.1f}", f"{ended - evaluating[-1][1]:.1f}"),
        )
    return f"| {' | '.join(numbers)} |"


def main() -> None:
    print(f"| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}", flush=True)
    # A process for each number, so that memory is this number's.
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for line in pool.imap(measure, [int(text) for text in sys.argv[1:] or ["100", "1000"]]):
            print(line, flush=True)


if __name__ == "__main__":
    main()
