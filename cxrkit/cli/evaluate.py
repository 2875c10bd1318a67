"""`cxrkit evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from cxrkit.cli.completion import runs
from cxrkit.cli.flags import DeviceFlag, Quiet, json_flag, option


def evaluate(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="Folder of a trained run.", show_default=False, autocompletion=runs),
    ],
    part: Annotated[
        Literal["test", "validation", "train"], typer.Option(help="Part of the run's own films to score.")
    ] = "test",
    checkpoint: Annotated[
        Literal["auto", "best", "last"],
        typer.Option(help="Weights: best (chosen in training), last, or auto: best if there are any."),
    ] = "auto",
    data: Annotated[
        list[str] | None,
        option(
            "--data",
            "Score other data instead, such as another hospital's, without films used in training or validation. May "
            "be repeated.",
            metavar="PLACE|NAME|NAME:PLACE",
            default="the run's own",
        ),
    ] = None,
    assignments: Annotated[
        list[str] | None, option("--set", "A parameter of the other data's dataset.", metavar="data.KEY=VALUE")
    ] = None,
    postprocess: Annotated[
        str | None,
        option(
            "--postprocess",
            "What is done to masks for the scores after post-processing (cxrkit list postprocess); auto: what gives "
            "the best Dice on the validation films, which is then stored with the weights and used by predict.",
            metavar="NAME|auto",
            default="as stored with the weights, or one-piece",
        ),
    ] = None,
    device: DeviceFlag = "auto",
    as_json: Annotated[bool, json_flag("all scores, including those of each film,")] = False,
    quiet: Quiet = False,
) -> None:
    """Score a run's network, by the honest and the paper's protocol.

    Results go to the run's evaluation/ (a line per film) and report/.
    """
    from cxrkit.cli.console import say
    from cxrkit.cli.loading import load_plugins
    from cxrkit.cli.progress import progress
    from cxrkit.cli.results import show_scores
    from cxrkit.cli.settings import parse_other_data
    from cxrkit.errors import ConfigError

    plugins = load_plugins()
    if not data and assignments:
        raise ConfigError("--set was given without --data.", "The run's own films are read as they were in training.")
    if data and part != "test":
        raise ConfigError(f"--data and --part {part} were both given.", "Other data has no parts: leave out --part.")
    source = parse_other_data(data, assignments or (), plugins.registry.components("dataset")) if data else None
    from cxrkit import api

    with progress(quiet=quiet) as observer:
        evaluation = api.evaluate(
            run,
            part=part,
            checkpoint=checkpoint,
            data=source,
            postprocess=postprocess,
            device=device,
            observer=observer,
        )
    show_scores(run, evaluation, as_json=as_json)
    if not quiet:
        say("", f"Film by film: {run / 'evaluation'}; tables and pictures: {run / 'report'}")
