"""`cxrkit calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxrkit.cli.completion import weights as known_weights
from cxrkit.cli.flags import DeviceFlag, Quiet, json_flag, option

if TYPE_CHECKING:
    from cxrkit.engine.calibrating import Calibrated


def calibrate(
    weights: Annotated[
        str,
        typer.Argument(
            metavar="RUN|FILE",
            help="A trained run's folder, or a weights file (.safetensors).",
            show_default=False,
            autocompletion=known_weights,
        ),
    ],
    data: Annotated[
        list[str] | None,
        option(
            "--data",
            "Films with masks that trained nothing. May be repeated.",
            metavar="PLACE|NAME|NAME:PLACE",
            default="the run's validation films",
        ),
    ] = None,
    split: Annotated[
        Path | None, option("--split", "A split.json: only its validation films are used.", metavar="FILE")
    ] = None,
    device: DeviceFlag = "auto",
    as_json: Annotated[bool, json_flag("what was fitted")] = False,
    quiet: Quiet = False,
) -> None:
    """Let weights estimate how good their masks are.

    A network's results for several views of a film agree the better, the better its masks are. This command measures
    how that is related to the Dice coefficient on validation films, as they are and changed for the worse, and stores
    it with the weights. predict then gives each mask an estimate, and warns of those below 0.90.
    """
    from cxrkit.cli.console import say, show, show_json, table
    from cxrkit.cli.loading import load_plugins
    from cxrkit.cli.progress import progress

    load_plugins()
    from cxrkit.engine import calibrating

    with progress(quiet=quiet) as observer:
        found = calibrating.calibrate(weights, data=data or None, split=split, device=device, observer=observer)
    if as_json:
        show_json({name: one.calibration.model_dump() for name, one in found.items()})
    else:
        headings = ("structure", "films", "masks", "below 0.90", "rank correlation", "AUC")
        show(table(headings, [_row(name, one) for name, one in found.items()], right=headings[1:]))
    if not quiet:
        say("The calibration is stored with the weights: predict now estimates the Dice coefficient of each mask.")


def _row(name: str, one: Calibrated) -> list[str]:
    from cxrkit.metrics.quality import LEAST_QUALITY, ranking

    correlation, area = ranking(one.agreement, one.dice)
    bad = sum(dice < LEAST_QUALITY for dice in one.dice)
    numbers = ["–" if value is None else f"{value:.2f}" for value in (correlation, area)]
    return [name.replace("_", " "), str(one.calibration.films), str(len(one.dice)), str(bad), *numbers]
