"""What arms cost, as tables: for a terminal, as Markdown and as CSV."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from cxrkit.ablation.bench import FILMS, UPDATES, Cost, Costs, Ratio
from cxrkit.files import csv_text
from cxrkit.report.summary import counted
from cxrkit.report.text_table import NONE, Table


def costs_table(costs: Costs) -> Table:
    """A row for each arm. The caption says how to read it; memory has a column where it is known."""
    compared, with_memory = len(costs.arms) > 1, _knows_memory(costs)

    def times(arm: Cost, seconds: float, of: Callable[[Cost], Ratio]) -> list[str]:
        against = ["1" if arm is costs.reference else _ratio_text(of(arm))] if compared else []
        return [_number(1000 * seconds), *against]

    rows = [
        (
            *(arm.label, _number(arm.parameters / 1e6), _number(arm.multiply_adds / 1e9)),
            *times(arm, arm.update, costs.update_ratio),
            *times(arm, arm.film, costs.film_ratio),
            *([_number(arm.peak_memory / 1e9) if arm.peak_memory is not None else NONE] if with_memory else []),
        )
        for arm in costs.arms
    ]
    against = ["×"] if compared else []
    headings = ["arm", "parameters (M)", "multiply-adds (G)", "update (ms)", *against, "film (ms)", *against]
    headings += ["peak memory (GB)"] if with_memory else []
    return Table(_how_to_read(costs), tuple(headings), tuple(rows))


def measured(costs: Costs) -> str:
    """In a line: on what machine, with what settings, and how often."""
    configs = [arm.planned.config for arm in costs.arms]
    machines = [f"{machine['device']} ({machine['name']})" for machine in costs.hardware]
    threads = costs.hardware[0]["threads"]
    parts = [
        " and ".join(machines),
        counted(int(threads), "thread"),
        f"torch {costs.hardware[0]['torch']}",
        _same(f"precision {arm.precision}" for arm in costs.arms),
        _same(f"{config.preprocess.size} × {config.preprocess.size}" for config in configs),
        _same(f"batches of {config.train.batch_size}" for config in configs),
        _same(f"network {config.model.name}" for config in configs),
        _same(f"loss {' + '.join(loss.name for loss in config.loss)}" for config in configs),
        _same(" + ".join(augment.name for augment in config.augment) or "no augments" for config in configs),
        "self-training left out" if any(config.unlabelled.films != "none" for config in configs) else "",
        f"{counted(costs.rounds, 'round')} of {UPDATES} updates and {FILMS} films",
    ]
    return f"Measured: {', '.join(part for part in parts if part)}; random films and masks."


def costs_markdown(costs: Costs) -> str:
    """The table and what it was measured on."""
    return f"{costs_table(costs).markdown()}\n\n{measured(costs)}\n"


def costs_csv(costs: Costs) -> str:
    """A line for each arm, unrounded, with what it was measured on."""
    lines = [costs_line(costs, arm) for arm in costs.arms]
    rows = [["" if value is None else value for value in line.values()] for line in lines]
    return csv_text(list(lines[0]), rows)


def costs_line(costs: Costs, arm: Cost) -> dict[str, Any]:
    """An arm's numbers by name; None where there is none."""
    line: dict[str, Any] = {
        "arm": arm.label,
        "parameters": arm.parameters,
        "multiply_adds": arm.multiply_adds,
        "peak_memory_bytes": arm.peak_memory,
    }
    for what, seconds, of in (("update", arm.update, costs.update_ratio), ("film", arm.film, costs.film_ratio)):
        ratio = of(arm)
        line |= {
            f"{what}_seconds": seconds,
            f"{what}_ratio": ratio.median,
            f"{what}_ratio_low": ratio.interval.low if ratio.interval else None,
            f"{what}_ratio_high": ratio.interval.high if ratio.interval else None,
        }
    config = arm.planned.config
    hardware = next(machine for machine in costs.hardware if machine["device"] == arm.device)
    return line | {
        "reference": costs.reference.label,
        "rounds": costs.rounds,
        "size": config.preprocess.size,
        "batch_size": config.train.batch_size,
        "precision": arm.precision,
        **hardware,
    }


def costs_content(costs: Costs) -> list[dict[str, Any]]:
    """The same of every arm, with its levels and the seconds of every round."""
    return [
        costs_line(costs, arm)
        | {
            "levels": dict(arm.planned.arm.levels),
            "update_seconds_by_round": list(arm.updates),
            "film_seconds_by_round": list(arm.films),
        }
        for arm in costs.arms
    ]


def _how_to_read(costs: Costs) -> str:
    parts = ["Times are medians over rounds"]
    if len(costs.arms) > 1:
        ranges = any(costs.update_ratio(arm).interval for arm in costs.arms)
        interval = "the median's 95 % confidence interval in brackets" if ranges else "no interval below 6 rounds"
        parts.append(f"× is the median of the rounds' ratios to {costs.reference.label}, {interval}")
    parts.append("a film: one film's forward pass, without reading and preparing it")
    parts.append("multiply-adds: of that pass, in convolutions and matrix products only")
    if _knows_memory(costs):
        parts.append("peak memory: of an update, with network, optimizer and batch")
    return "; ".join(parts) + "."


def _knows_memory(costs: Costs) -> bool:
    return any(arm.peak_memory is not None for arm in costs.arms)


def _same(texts: Iterable[str]) -> str:
    """What holds for all arms; empty where they differ, since their names show that."""
    different = set(texts)
    return different.pop() if len(different) == 1 else ""


def _ratio_text(ratio: Ratio) -> str:
    interval = ratio.interval
    return _number(ratio.median) + (f" ({_number(interval.low)} to {_number(interval.high)})" if interval else "")


def _number(value: float) -> str:
    """Three digits or more: `0.00512`, `4.13`, `31.0`, `412`, `1605`."""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:#.3g}" if value < 1 else f"{value:.{1 if value >= 10 else 2}f}"
