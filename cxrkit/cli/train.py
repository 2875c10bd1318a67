"""`cxrkit train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cxrkit.cli.helping import told
from cxrkit.cli.settings import DEFAULTS, Choices, choose_settings
from cxrkit.errors import ConfigError
from cxrkit.processes import is_first_process

if TYPE_CHECKING:
    from cxrkit.api import TrainedRun

_WHAT, _FILMS, _HOW, _MACHINE, _FILES = "What to train", "Films", "Training", "Machine", "Files and output"


def _option(flag: str, panel: str, help: str, *, metavar: str | None = None, default: str = "") -> Any:
    """A flag that is None where it isn't given, so that it doesn't overrule a file.

    Its help tells the default of the setting behind it, or `default` where it stands for none or several.
    """
    default = DEFAULTS.get(flag.removeprefix("--").replace("-", "_"), default)
    text = told(help, default) if default else help
    return typer.Option(flag, help=text, rich_help_panel=panel, show_default=False, metavar=metavar)


def train(
    model: Annotated[str | None, _option("--model", _WHAT, "Network; see: cxrkit list model.", metavar="NAME")] = None,
    loss: Annotated[
        str | None,
        _option(
            "--loss",
            _WHAT,
            "Loss, or a weighted sum such as 'dice + 0.5*bce'; see: cxrkit list loss.",
            metavar="NAME|SUM",
            default="focal-tversky",
        ),
    ] = None,
    mixup: Annotated[
        float | None,
        _option(
            "--mixup",
            _WHAT,
            "Mix pairs of films with λ ~ Beta(δ, δ); the paper's best for few films is 0.2; 0 switches it off.",
            metavar="DELTA",
            default="no mixup",
        ),
    ] = None,
    augment: Annotated[
        list[str] | None,
        _option(
            "--augment",
            _WHAT,
            "Augmentation; give it again for more, in order. The paper has none but mixup.",
            metavar="NAME",
            default="no augmentation",
        ),
    ] = None,
    data: Annotated[
        str | None,
        _option(
            "--data",
            _FILMS,
            "A place that a dataset recognises (images/ and masks/<structure>/, a CSV, ...), a dataset, or NAME:PLACE.",
            metavar="PLACE|NAME",
            default="synthetic films, with a demonstration's settings",
        ),
    ] = None,
    structures: Annotated[
        str | None,
        _option(
            "--structures", _FILMS, "Structures to segment, with commas.", metavar="A,B", default="all the data has"
        ),
    ] = None,
    size: Annotated[
        int | None, _option("--size", _FILMS, "Side of the network's square input, pixels; the paper's is 512.")
    ] = None,
    train_size: Annotated[
        str | None,
        _option("--train-size", _FILMS, "Training films; the paper's are 10, 20 and 209.", metavar="COUNT|all"),
    ] = None,
    test_size: Annotated[
        str | None,
        _option(
            "--test-size",
            _FILMS,
            "Test films: a count or a fraction; the paper's are 38.",
            metavar="COUNT|FRACTION",
        ),
    ] = None,
    validation: Annotated[
        str | None,
        _option(
            "--validation",
            _FILMS,
            "Films taken from the training films to choose the best step by; 'rest': those that don't train.",
            metavar="COUNT|FRACTION|rest",
        ),
    ] = None,
    split: Annotated[Path | None, _option("--split", _FILMS, "Use a run's split.json again.", metavar="FILE")] = None,
    unlabelled: Annotated[
        str | None,
        _option(
            "--unlabelled",
            _FILMS,
            "Self-training on films without masks too: a folder, 'rest' for the data's films that neither train nor "
            "test, or 'none'.",
            metavar="FOLDER|rest|none",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        _option(
            "--steps",
            _HOW,
            "Updates of the network: the budget at which runs are compared; the paper has about 1000.",
        ),
    ] = None,
    epochs: Annotated[
        int | None, _option("--epochs", _HOW, "Instead of steps: passes over the training films.")
    ] = None,
    batch_size: Annotated[
        int | None, _option("--batch-size", _HOW, "Films an update sees, over all devices; the paper's are 5.")
    ] = None,
    lr: Annotated[
        float | None, _option("--lr", _HOW, "Adam's learning rate at its highest; the paper's is 5e-4.")
    ] = None,
    protocol: Annotated[
        Literal["honest", "paper"] | None,
        _option(
            "--protocol",
            _HOW,
            "honest: choose the best step on validation films; paper: on the test films, as the released code did, "
            "which flatters the scores.",
        ),
    ] = None,
    seed: Annotated[int | None, _option("--seed", _HOW, "Of the split, the first weights and all randomness.")] = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda", "mps"] | None,
        _option("--device", _MACHINE, "What computes; auto: the fastest kind there is."),
    ] = None,
    precision: Annotated[
        Literal["auto", "32", "bf16"] | None,
        _option("--precision", _MACHINE, "Arithmetic; auto: bf16 where the hardware has it."),
    ] = None,
    compile: Annotated[
        Literal["auto", "on", "off"] | None,
        _option(
            "--compile",
            _MACHINE,
            "auto: on CUDA each step is recorded and launched as a whole; on: its operations are also fused, which "
            "takes about a minute at the start and pays in long trainings; off: neither.",
        ),
    ] = None,
    devices: Annotated[int | None, _option("--devices", _MACHINE, "Processes, one a device.")] = None,
    num_nodes: Annotated[int | None, _option("--num-nodes", _MACHINE, "Machines.")] = None,
    strategy: Annotated[
        Literal["auto", "ddp"] | None, _option("--strategy", _MACHINE, "How several devices share the work.")
    ] = None,
    out: Annotated[
        Path | None,
        _option("--out", _FILES, "Folder of the run, new or empty.", metavar="DIR", default="runs/MODEL-LOSS-NUMBER"),
    ] = None,
    preset: Annotated[
        str | None,
        _option(
            "--preset",
            _WHAT,
            "Settings that belong together: small-data for about 10 to 50 training films. --config and flags win.",
            metavar="NAME",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        _option(
            "--config", _FILES, "Settings as YAML, such as a run's config.yaml; flags win over it.", metavar="FILE"
        ),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        _option(
            "--set",
            _FILES,
            "Any setting: model.depth=3, preprocess.clahe=null, augment.mixup.target=losses. May be given again; wins "
            "over all else.",
            metavar="KEY=VALUE",
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        _option("--resume", _FILES, "Go on with a run that was stopped; its own settings hold.", metavar="RUN"),
    ] = None,
    no_score: Annotated[
        bool,
        typer.Option(
            "--no-score",
            help="Leave the test films alone; score them later with cxrkit evaluate.",
            rich_help_panel=_FILES,
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print the whole configuration as YAML and train nothing.", rich_help_panel=_FILES
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON.", rich_help_panel=_FILES)] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress and no messages.", rich_help_panel=_FILES)
    ] = False,
) -> None:
    """Train a network, score it on the test films, and write a report.

    Without data it shows what it can do on built-in synthetic radiographs:

    cxrkit train --model attn-bcdu --loss focal-tversky --mixup 0.2
    """
    values = {
        "model": model,
        "size": size,
        "train_size": train_size,
        "test_size": test_size,
        "validation": validation,
        "split": split,
        "unlabelled": unlabelled,
        "steps": steps,
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "protocol": protocol,
        "seed": seed,
        "device": device,
        "precision": precision,
        "compile": compile,
        "devices": devices,
        "num_nodes": num_nodes,
        "strategy": strategy,
    }
    others = {
        "loss": loss,
        "mixup": mixup,
        "augment": augment,
        "data": data,
        "structures": structures,
        "out": out,
        "preset": preset,
        "config": config,
        "set": assignments,
    }
    from cxrkit.cli.loading import load_plugins
    from cxrkit.plugins import Plugins

    plugins: Plugins = load_plugins()
    if resume is not None:
        _refuse_others(values | others | {"dry_run": dry_run or None})
        _run(None, None, resume, score=not no_score, quiet=quiet, as_json=as_json)
        return
    choices = choose_settings(
        values,
        datasets=plugins.registry.components("dataset"),
        preset=preset,
        file=config,
        assignments=assignments or (),
        loss=loss,
        mixup=mixup,
        augment=augment,
        data=data,
        structures=structures,
    )
    if dry_run:
        from cxrkit.cli.console import show
        from cxrkit.config import resolve, to_yaml

        show(to_yaml(resolve(choices.config, plugins.registry)).rstrip("\n"))
        return
    _run(choices, out, None, score=not no_score, quiet=quiet, as_json=as_json)


def _refuse_others(given: dict[str, Any]) -> None:
    named = [f"--{name.replace('_', '-')}" for name, value in given.items() if value not in (None, [])]
    if named:
        raise ConfigError(
            f"--resume goes on with a run as it is, and {', '.join(named)} would change it.",
            "Leave the other flags out, or train a new run with --config RUN/config.yaml and these flags.",
        )


def _run(
    choices: Choices | None, out: Path | None, resume: Path | None, *, score: bool, quiet: bool, as_json: bool
) -> None:
    from cxrkit import api
    from cxrkit.cli.console import say
    from cxrkit.cli.progress import progress

    if choices is not None and choices.demonstration and not quiet:
        say(
            "No --data was given: training on built-in synthetic radiographs, with the settings of a demonstration "
            "(see --dry-run). Its scores say nothing about real films."
        )
    with progress(quiet=quiet) as observer:
        config = choices.config if choices else None
        trained = api.train(config, out=out, resume=resume, score=score, observer=observer)
    _tell(trained, scored=score, quiet=quiet, as_json=as_json)


def _tell(trained: TrainedRun, *, scored: bool, quiet: bool, as_json: bool) -> None:
    from cxrkit.cli.console import say
    from cxrkit.cli.results import show_scores

    if not is_first_process():
        return
    show_scores(trained.path, trained.evaluation, as_json=as_json)
    if quiet:
        return
    if trained.evaluation is None:
        say("There are no test films, so nothing was scored." if scored else "The test films were left alone.")
    else:
        report = trained.path / "report"
        say("", f"Report: {report / 'table.md'}, {report / 'curves.png'}, {report / 'overlays.png'}")
    say(
        "Try next:",
        f"  cxrkit predict FILM.png --weights {trained.path}",
        f"  cxrkit evaluate {trained.path} --data FOLDER",
    )
