"""Accuracy against cost of every network of zoo.yaml and zoo-2m.yaml: a picture, and the tables of the docs.

    python examples/ablations/zoo.py zoo.png OWN.csv OWN.json 2M.csv 2M.json

A CSV is the runs.csv of an ablation's report, a JSON what `cxrkit bench PLAN --json` printed. In the picture, networks
of the first pair are filled, those of the second hollow; a small dot is a seed. Means far below the best lie on the
lower edge, with their number above them, and such seeds aren't drawn. After the tables come differences in the Dice
coefficient, the first pair minus the second.
"""

from __future__ import annotations

import csv
import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator

from cxrkit.report.drawing import DISTINCT, INK, new_figure, style
from cxrkit.report.write import save_figure

Run = Mapping[str, str]
MARKERS = ("o", "s", "^", "D")
#: Points of Dice below the best, which the picture covers.
SPAN = 5


@dataclass(frozen=True)
class Zoo:
    """The networks of one plan.

    Attributes:
        runs: the finished runs, by network and number of training films.
        costs: what `cxrkit bench` measured, by network.
    """

    runs: Mapping[tuple[str, str], Sequence[Run]]
    costs: Mapping[str, Mapping[str, float]]

    def networks(self) -> tuple[str, ...]:
        """Those that were trained, in the plan's order."""
        return tuple(dict.fromkeys(network for network, _ in self.runs))


def read(runs: Path, costs: Path) -> Zoo:
    found: dict[tuple[str, str], list[Run]] = defaultdict(list)
    with runs.open(encoding="utf-8", newline="") as lines:
        for run in csv.DictReader(lines):
            if run["state"] == "finished":
                found[run["network"], run["train_size"]].append(run)
    return Zoo(found, {arm["levels"]["network"]: arm for arm in json.loads(costs.read_text(encoding="utf-8"))["arms"]})


def over_seeds(runs: Sequence[Run], measure: str, scale: float = 1, *, digits: int = 1, spread: bool = True) -> str:
    """A mean over seeds, and from how much to how much if that is asked and there are several."""
    values = [scale * float(run[measure]) for run in runs if run[measure]]
    if not values:
        return "–"
    text = f"{mean(values):.{digits}f}"
    return text if len(values) == 1 or not spread else f"{text} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def table(zoo: Zoo, size: str) -> str:
    """A line for each network trained with so many films."""
    lines = [
        "| network | M | G | ms | lungs Dice % | heart Dice % | HD95 px lungs / heart | parts of the heart | holes |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for network in zoo.networks():
        runs, cost = zoo.runs.get((network, size), ()), zoo.costs[network]
        if runs:
            distances = " / ".join(over_seeds(runs, f"{name}_hd95", spread=False) for name in ("lungs", "heart"))
            cells = [
                network,
                f"{cost['parameters'] / 1e6:.2f}",
                f"{cost['multiply_adds'] / 1e9:.2f}",
                f"{1000 * cost['update_seconds']:,.0f} / {1000 * cost['film_seconds']:,.0f}",
                *(over_seeds(runs, f"{name}_dice", 100) for name in ("lungs", "heart")),
                distances,
                *(over_seeds(runs, f"heart_{what}", digits=2, spread=False) for what in ("parts", "holes")),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def differences(first: Zoo, second: Zoo) -> str:
    """Points of Dice by which each network scores more in the first, in the mean of the seeds that both have."""
    sizes = [size for size in dict.fromkeys(size for _, size in first.runs) if any(n == size for _, n in second.runs)]
    heads = [f"{structure}, {size}" for size in sizes for structure in ("lungs", "heart")]
    lines = [f"| network | {' | '.join(heads)} |", f"| --- |{' ---: |' * len(heads)}"]
    for network in first.networks():
        cells = []
        for size in sizes:
            by_seed = [{run["seed"]: run for run in zoo.runs.get((network, size), ())} for zoo in (first, second)]
            for structure in ("lungs", "heart"):
                scores = [
                    100 * (float(by_seed[0][seed][f"{structure}_dice"]) - float(run[f"{structure}_dice"]))
                    for seed, run in by_seed[1].items()
                    if seed in by_seed[0]
                ]
                cells.append(_signed(mean(scores)) if scores else "–")
        lines.append(f"| {network} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _signed(points: float) -> str:
    text = f"{points:+z.1f}"
    return "0.0" if text == "+0.0" else text.replace("-", "−")


def draw(
    axes: Axes, zoos: Sequence[Zoo], structure: str, size: str, look: Mapping[str, tuple[str, str]], best: float
) -> None:
    """The Dice coefficient, in percent, of each network against its multiply-adds."""
    lowest = best - SPAN
    for network, (colour, marker) in look.items():
        places = []
        for zoo, filled in zip(zoos, (True, False), strict=False):
            scores = [100 * float(run[f"{structure}_dice"]) for run in zoo.runs.get((network, size), ())]
            if scores:
                cost, height = zoo.costs[network]["multiply_adds"] / 1e9, max(mean(scores), lowest)
                places.append((cost, height))
                face = colour if filled else "white"
                axes.plot(cost, height, marker, color=colour, markerfacecolor=face, markersize=6, clip_on=False)
                shown = [score for score in scores if score > lowest]
                axes.plot([cost] * len(shown), shown, ".", color=colour, markersize=2)
                if mean(scores) < lowest:
                    axes.annotate(
                        f"{mean(scores):.0f}",
                        (cost, height),
                        (0, 6),
                        textcoords="offset points",
                        horizontalalignment="center",
                        fontsize=6,
                        color=colour,
                    )
        if places:
            axes.plot(*zip(*places, strict=True), color=colour, linewidth=0.5, zorder=0)
    axes.set_xscale("log")
    left, right = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if right > 10 * left else (1, 1.5, 2, 3, 5, 7)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(lowest, best + 0.5)
    style(axes)
    films = "all films" if size == "all" else f"{size} films"
    axes.set_title(f"{structure}, {films}", loc="left", fontsize=9, color=INK)


def main(picture: Path, files: Sequence[Path]) -> None:
    zoos = [read(runs, costs) for runs, costs in zip(files[::2], files[1::2], strict=True)]
    networks = sorted({network for zoo in zoos for network in zoo.networks()})  # alike in pictures of several plans
    sizes = tuple(dict.fromkeys(size for zoo in zoos for _, size in zoo.runs))
    for zoo in zoos:
        for size in sizes:
            print(f"{size}:\n\n{table(zoo, size)}\n")
    if len(zoos) > 1:
        print(f"{differences(*zoos[:2])}\n")
    look = {
        name: (DISTINCT[place % len(DISTINCT)], MARKERS[place % len(MARKERS)]) for place, name in enumerate(networks)
    }
    figure = new_figure(10.4, 6.4)
    grid = figure.subplots(2, len(sizes), sharex=True, sharey="row", squeeze=False)
    for row, structure in zip(grid, ("lungs", "heart"), strict=True):
        row[0].set_ylabel("Dice, %", fontsize=8, color=INK)
        scores = [
            mean(100 * float(run[f"{structure}_dice"]) for run in some) for zoo in zoos for some in zoo.runs.values()
        ]
        for axes, size in zip(row, sizes, strict=True):
            draw(axes, zoos, structure, size, look, max(scores))
    for axes in grid[-1]:
        axes.set_xlabel("billion multiply-adds for a film", fontsize=8, color=INK)
    handles = [grid[0, 0].plot([], [], marker, color=colour, label=name)[0] for name, (colour, marker) in look.items()]
    figure.legend(handles=handles, loc="outside right center", fontsize=7, frameon=False, labelcolor=INK)
    save_figure(figure, picture)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
