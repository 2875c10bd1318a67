"""What was run, where, and how long it took, as far as the runs' own records show."""

from __future__ import annotations

from collections.abc import Iterable

from cxrkit.ablation.results import Results


def all_facts(results: Results) -> dict[str, str]:
    """Name to value, in the order of the page."""
    finished, configs, seeds = results.finished, results.configs, ", ".join(map(str, results.plan.seeds))
    records = [run.provenance for run in finished if run.provenance is not None]
    return {
        "runs": f"{len(finished)} finished of {len(results.runs)} ({len(results.arms)} arms, seeds {seeds})",
        "data": _distinct(record.data for record in records),
        "input": _distinct(f"{config.preprocess.size} × {config.preprocess.size}" for config in configs),
        "updates": _distinct(config.train.steps for config in configs),
        "protocol": _distinct(config.train.protocol for config in configs),
        "test films per seed": _distinct(len(run.honest.films) for run in finished if run.honest is not None),
        "device": _distinct(f"{r.hardware.get('name')} ({r.hardware.get('device')})" for r in records),
        "threads per run": _distinct(r.hardware.get("threads", "unknown") for r in records),
        "precision": _distinct(r.precision for r in records),
        "versions": _distinct(
            f"cxrkit {r.cxrkit}, torch {r.packages.get('torch')}, Python {r.python}" for r in records
        ),
        "process time": _time(results),
        "energy": _energy(results),
    }


def setting(results: Results) -> str:
    """The setting of all tables, in a sentence."""
    facts, seeds = all_facts(results), ", ".join(map(str, results.plan.seeds))
    return (
        f"Data: {facts['data']}; {facts['test films per seed']} test films; {facts['updates']} updates; input "
        f"{facts['input']}; protocol {facts['protocol']}; seeds {seeds}."
    )


def _distinct(values: Iterable[object]) -> str:
    return ", ".join(dict.fromkeys(str(value) for value in values)) or "unknown"


def _time(results: Results) -> str:
    """The hours of all attempts, and of how many runs they are known."""
    seconds = [run.seconds for run in results.runs if run.seconds is not None]
    if not seconds:
        return "unknown"
    started = sum(run.state != "missing" or run.seconds is not None for run in results.runs)
    part = "all runs" if len(seconds) == started else f"{len(seconds)} of {started} runs"
    return f"{sum(seconds) / 3600:.2f} h over {part}"


def _energy(results: Results) -> str:
    """What the coordinating machine's counters measured, and of how many runs that is known."""
    metered = [run for run in results.runs if run.joules is not None]
    if not metered:
        return "unknown: no counters could be read (RAPL needs root, GPUs the package nvidia-ml-py)"
    hours = sum(run.joules or 0.0 for run in metered) / 3.6e6
    counters = ", ".join(dict.fromkeys(name for run in metered for name in run.counters))
    started = sum(run.state != "missing" for run in results.runs)
    part = "" if len(metered) == started else f", in {len(metered)} of {started} runs"
    return f"{hours:.3g} kWh of the coordinating machine ({counters}), including whatever else it did{part}"
