"""`cxrkit export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def export(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder of a trained run, or a weights file.", show_default=False)
    ],
    file: Annotated[
        Path, typer.Argument(metavar="FILE.safetensors", help="Where the network goes.", show_default=False)
    ],
    checkpoint: Annotated[
        Literal["auto", "best", "last"], typer.Option(help="Weights: the chosen ones where there are any, or the last.")
    ] = "auto",
    full: Annotated[bool, typer.Option("--full", help="Keep 32-bit floats: twice the size.")] = False,
) -> None:
    """Write a run's network as one small file to hand on.

    The file knows its network, channels and preprocessing: cxrkit predict FILM.png --weights FILE.safetensors
    """
    from cxrkit.cli.console import say
    from cxrkit.cli.loading import load_plugins

    load_plugins()
    from cxrkit import api

    written = api.export(run, file, checkpoint=checkpoint, half=not full)
    say(f"{written}: {written.stat().st_size / 1e6:.1f} MB")
