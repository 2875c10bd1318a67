"""What was run, where, and how long it took, as far as the runs' own records tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cxrkit.ablation.results import Results
from cxrkit.errors import CxrkitError

if TYPE_CHECKING:
    from cxrkit.report.ablation.numbers import Numbers


def all_facts(numbers: Numbers) -> dict[str, str]:
    """Name to value, in the order of the page."""
    results, configs = numbers.results, numbers.configs
    finished = [run for run in results.runs if run.state == "finished"]
    records = []
    for run in finished:
        try:
            records.append(run.run.provenance())
        except CxrkitError:
            continue
    films = [run.honest for run in finished if run.honest is not None]
    return {
        "runs": f"{len(finished)} finished of {len(results.runs)} ({len(results.arms)} arms, seeds "
        f"{', '.join(str(seed) for seed in results.plan.seeds)})",
        "data": _told([record.data for record in records]),
        "input": _told([f"{config.preprocess.size} × {config.preprocess.size}" for config in configs]),
        "updates": _told([config.train.steps for config in configs]),
        "protocol": _told([config.train.protocol for config in configs]),
        "test films a seed": _told([len(evaluation.films) for evaluation in films]),
        "device": _told([f"{r.hardware.get('name')} ({r.hardware.get('device')})" for r in records]),
        "threads a run": _told([r.hardware.get("threads", "unknown") for r in records]),
        "precision": _told([r.precision for r in records]),
        "versions": _told([f"cxrkit {r.cxrkit}, torch {r.packages.get('torch')}, Python {r.python}" for r in records]),
        "process time": _time(results),
        "energy": _energy(results),
    }


def setting(numbers: Numbers) -> str:
    """What every table is of, in a sentence."""
    facts = numbers.facts
    seeds = ", ".join(str(seed) for seed in numbers.results.plan.seeds)
    return (
        f"Data: {facts['data']}; {facts['test films a seed']} test films; {facts['updates']} updates; input "
        f"{facts['input']}; protocol {facts['protocol']}; seeds {seeds}."
    )


def _told(values: Sequence[object]) -> str:
    return ", ".join(dict.fromkeys(str(value) for value in values)) or "unknown"


def _time(results: Results) -> str:
    """The hours of all tries, and of how many runs they are known."""
    seconds = [run.seconds for run in results.runs if run.seconds is not None]
    if not seconds:
        return "unknown"
    begun = sum(run.state != "missing" or run.seconds is not None for run in results.runs)
    part = "all runs" if len(seconds) == begun else f"{len(seconds)} of {begun} runs"
    return f"{sum(seconds) / 3600:.2f} h over {part}"


def _energy(results: Results) -> str:
    """What the coordinating machine's counters counted, and of which runs that isn't known."""
    metered = [run for run in results.runs if run.joules is not None]
    if not metered:
        return "unknown: no counters could be read (RAPL needs root, GPUs the package nvidia-ml-py)"
    hours = sum(run.joules or 0.0 for run in metered) / 3.6e6
    counters = ", ".join(dict.fromkeys(name for run in metered for name in run.counters))
    begun = sum(run.state != "missing" for run in results.runs)
    part = "" if len(metered) == begun else f", in {len(metered)} of {begun} runs"
    return f"{hours:.3g} kWh of the coordinating machine ({counters}), whatever else it did included{part}"
