"""`cxrkit bench`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cxrkit.cli import arms
from cxrkit.cli.helping import option
from cxrkit.errors import ConfigError

if TYPE_CHECKING:
    from cxrkit.ablation.bench import Costs
    from cxrkit.ablation.plan import Plan

_SHARED, _HOW, _FILES = "What all arms share", "Measurement", "Files and output"


def bench(
    plan: arms.Plan = None,
    model: Annotated[str | None, option("--model", arms.WHAT, "Networks.", metavar="A,B", default="attn-bcdu")] = None,
    loss: Annotated[
        str | None, option("--loss", arms.WHAT, "Losses, or sums of them.", metavar="A,B", default="focal-tversky")
    ] = None,
    mixup: arms.Mixups = None,
    augment: arms.Augments = None,
    size: Annotated[
        str | None,
        option("--size", arms.WHAT, "Side of the network's input, pixels.", metavar="N,N", default="256"),
    ] = None,
    vary: arms.Varied = None,
    exclude: arms.Excluded = None,
    batch_size: Annotated[int | None, option("--batch-size", _SHARED, "Films an update sees.", default="5")] = None,
    precision: Annotated[
        Literal["auto", "32", "bf16"] | None,
        option("--precision", _SHARED, "Arithmetic; auto: bf16 where the hardware has it.", default="auto"),
    ] = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda", "mps"] | None,
        option("--device", _SHARED, "What computes; auto: the fastest kind there is.", default="auto"),
    ] = None,
    config: Annotated[
        Path | None, option("--config", _SHARED, "Settings as YAML, such as a run's config.yaml.", metavar="FILE")
    ] = None,
    assignments: Annotated[
        list[str] | None, option("--set", _SHARED, "Any setting of all arms.", metavar="KEY=VALUE")
    ] = None,
    rounds: Annotated[
        int, typer.Option("--rounds", min=1, help="Turns of each arm; intervals need 6.", rich_help_panel=_HOW)
    ] = 10,
    threads: Annotated[
        int | None, option("--threads", _HOW, "Of torch, on a CPU.", default="all cores, or OMP_NUM_THREADS", min=1)
    ] = None,
    reference: Annotated[
        str | None,
        option("--reference", _HOW, "The arm that others are compared with.", metavar="ARM", default="the first"),
    ] = None,
    out: Annotated[
        Path | None, option("--out", _FILES, "Write the table there too.", metavar="FILE.csv|FILE.md")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.", rich_help_panel=_FILES)] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress and no messages.", rich_help_panel=_FILES)
    ] = False,
) -> None:
    """Measure what components cost: parameters, multiply-adds, time of an update and of a prediction, memory on CUDA.

    Arms are named as for cxrkit ablate. Films and masks are random, so no data is needed; an update is a training's
    own, self-training left out. Multiply-adds are those of one film's convolutions and matrix products, nothing else.
    Arms take turns, and are compared within each turn: what slows the machine for a while then slows all of them.

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
    listed = {"model": model, "loss": loss, "mixup": mixup, "augment": augment, "size": size}
    shared = {"batch_size": batch_size, "precision": precision, "device": device}
    made = _plan(plan, listed, vary or (), exclude or (), config, shared, assignments or ())
    # Opened before the work, lest a place that can't be written to be told after it.
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
    """Refuse at once what would fail after the measurement, or make nonsense of it."""
    if out is not None and out.suffix.lower() not in (".csv", ".md"):
        raise ConfigError(f"--out {out}: is neither called .csv nor .md.", "Give the file one of these suffixes.")
    if out is not None and out.is_dir():
        raise ConfigError(f"--out {out}: is a folder.", "Name a file.")
    there = os.cpu_count() or 1
    if threads is not None and threads > there:
        raise ConfigError(f"--threads {threads}: this machine computes {there} at once.", "Ask for no more than that.")


def _plan(
    file: Path | None,
    listed: Mapping[str, str | None],
    vary: Sequence[str],
    exclude: Sequence[str],
    config: Path | None,
    shared: Mapping[str, Any],
    assignments: Sequence[str],
) -> Plan:
    """The arms, each with one seed. Nothing trains, so the demonstration's settings and epochs play no part."""
    from cxrkit.ablation.bench import check_factors
    from cxrkit.cli.planning import plan_from_flags
    from cxrkit.overrides import merge, parse_set

    over: dict[str, Any] = {key: value for key, value in shared.items() if value is not None}
    over |= parse_set(assignments)
    over.pop("seed", None)
    made = plan_from_flags(file, config, listed, vary, exclude, "1", over)
    data = made.base["data"]
    if not isinstance(data, Mapping) or data.get("name") == "phantom" or not data.keys() - {"name"}:
        # Nobody says where films lie: two lungs and a heart.
        made = plan_from_flags(file, config, listed, vary, exclude, "1", {"data": {"name": "phantom"}} | over)
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
