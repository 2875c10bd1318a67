"""`cxrkit export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from cxrkit.cli.flags import ANY_WEIGHTS


def export(
    run: Annotated[str, typer.Argument(metavar="RUN|FILE|NAME", help=ANY_WEIGHTS, show_default=False)],
    file: Annotated[Path, typer.Argument(metavar="FILE.safetensors", help="The new file.", show_default=False)],
    checkpoint: Annotated[
        Literal["auto", "best", "last"],
        typer.Option(help="Weights of a run: best, last, or auto: best if there are any."),
    ] = "auto",
    full: Annotated[
        bool, typer.Option("--full", help="Keep 32-bit floats: twice the size, and the same masks to the pixel.")
    ] = False,
) -> None:
    """Write a run's network as one small file to share.

    The file holds its network, channels and preprocessing: cxrkit predict FILM.png --weights FILE.safetensors

    Its numbers are rounded to 16 bits, which can change single pixels at a mask's border; --full keeps them.
    """
    from cxrkit.cli.console import say
    from cxrkit.cli.loading import load_plugins

    load_plugins()
    from cxrkit import api

    written = api.export(run, file, checkpoint=checkpoint, half=not full)
    say(f"{written}: {_size(written.stat().st_size)}")


def _size(count: int) -> str:
    """Bytes as people read them.

    >>> _size(21_300), _size(7_412_000)
    ('21 kB', '7.4 MB')
    """
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"
