"""`cxrkit bench`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxrkit.cli.flags import FILES, WHAT, Excluded, Flags, Plan, Varied, json_flag, option, quiet_flag, takes
from cxrkit.errors import ConfigError

if TYPE_CHECKING:
    from cxrkit.ablation import plan as plans
    from cxrkit.ablation.bench import Costs

_SHARED, _HOW = "What all arms share", "Measurement"


@takes(
    levels=Flags("model loss augment size", WHAT, several=True, shorthands=True),
    shared=Flags("batch_size precision device", _SHARED),
)
def bench(
    levels: dict[str, str],
    shared: dict[str, Any],
    plan: Plan = None,
    vary: Varied = None,
    exclude: Excluded = None,
    config: Annotated[
        Path | None, option("--config", "Settings as YAML, such as a run's config.yaml.", _SHARED, metavar="FILE")
    ] = None,
    assignments: Annotated[
        list[str] | None, option("--set", "Any setting, for all arms.", _SHARED, metavar="KEY=VALUE")
    ] = None,
    rounds: Annotated[
        int,
        typer.Option(min=1, help="How often each arm is measured; intervals need at least 6.", rich_help_panel=_HOW),
    ] = 10,
    threads: Annotated[
        int | None, option("--threads", "CPU threads for torch.", _HOW, default="all cores, or OMP_NUM_THREADS", min=1)
    ] = None,
    reference: Annotated[
        str | None,
        option("--reference", "The arm that the others are compared with.", _HOW, metavar="ARM", default="the first"),
    ] = None,
    out: Annotated[
        Path | None, option("--out", "Also write the table to this file.", FILES, metavar="FILE.csv|FILE.md")
    ] = None,
    as_json: Annotated[bool, json_flag("the result", FILES)] = False,
    quiet: Annotated[bool, quiet_flag(FILES)] = False,
) -> None:
    """Measure what components cost: parameters, multiply-adds, time of an update and of a prediction, memory on CUDA.

    Arms are named as for cxrkit ablate. Films and masks are random, so no data is needed; an update is the same as in
    training, without self-training. Multiply-adds count one film's convolutions and matrix products only. The arms take
    turns and are compared within each round, so that whatever slows the machine for a while slows all of them.

    cxrkit bench --model unet,attn-unet,attn-bcdu --size 256 --batch-size 5

    cxrkit bench examples/ablations/components.yaml --loss dice --set train_size=all
    """
    from cxrkit.ablation.bench import bench as measure
    from cxrkit.cli.console import say
    from cxrkit.cli.loading import load_plugins
    from cxrkit.cli.progress import progress
    from cxrkit.files import atomic_path
    from cxrkit.report.costs import costs_csv, costs_markdown

    _check(out, threads)
    registry = load_plugins().registry
    made = _plan(plan, levels, vary or (), exclude or (), config, shared, assignments or ())
    # Opened before the work, so that a file that can't be written is reported at once.
    with nullcontext() if out is None else atomic_path(out) as file:
        with progress(quiet=quiet) as observer:
            costs = measure(
                made.runs(registry), registry, rounds=rounds, reference=reference, threads=threads, observer=observer
            )
        _show(costs, as_json=as_json)
        if file is not None:
            content = costs_csv(costs) if file.suffix.lower() == ".csv" else costs_markdown(costs)
            file.write_text(content, encoding="utf-8")
    if out is not None and not quiet:
        say(f"Written: {out}")


def _check(out: Path | None, threads: int | None) -> None:
    """Refuse at once what would fail after the measurement, or make it meaningless."""
    if out is not None and out.suffix.lower() not in (".csv", ".md"):
        raise ConfigError(f"--out {out}: the suffix is neither .csv nor .md.", "Choose one of these.")
    if out is not None and out.is_dir():
        raise ConfigError(f"--out {out} is a folder.", "Name a file.")
    available = os.cpu_count() or 1
    if threads is not None and threads > available:
        raise ConfigError(f"--threads {threads}: this machine has only {available} cores.", "Choose at most that many.")


def _plan(
    file: Path | None,
    levels: Mapping[str, str],
    vary: Sequence[str],
    exclude: Sequence[str],
    config: Path | None,
    shared: Mapping[str, Any],
    assignments: Sequence[str],
) -> plans.Plan:
    """The arms, each with one seed. Nothing is trained, so the demonstration's settings and epochs don't matter."""
    from cxrkit.ablation.bench import check_factors
    from cxrkit.cli.planning import plan_from_flags
    from cxrkit.overrides import merge, parse_set
    from cxrkit.plugins import registry

    over = dict(shared) | parse_set(assignments)
    over.pop("seed", None)
    made = plan_from_flags(file, config, levels, vary, exclude, "1", over)
    data = made.base.get("data")
    named = isinstance(data, list) or (isinstance(data, Mapping) and data.keys() - {"name"})
    if made.is_demonstration or not named:
        # No films are named: the structures are the default dataset's, and the settings aren't the demonstration's.
        default = {"data": {"name": registry().default("dataset")}}
        made = plan_from_flags(file, config, levels, vary, exclude, "1", default | over)
    check_factors(made)
    return replace(made, base=merge(made.base, {"train": {"epochs": None}}))


def _show(costs: Costs, *, as_json: bool) -> None:
    from cxrkit.cli.console import show, show_json
    from cxrkit.report.costs import costs_content, costs_table, measured

    if as_json:
        show_json({"measured": measured(costs), "arms": costs_content(costs)})
    else:
        shown = costs_table(costs)
        show(shown.rich(), "", measured(costs), shown.caption)
