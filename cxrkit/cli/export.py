"""`cxrkit export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from cxrkit.cli.completion import weights
from cxrkit.cli.flags import ANY_WEIGHTS


def export(
    run: Annotated[
        str, typer.Argument(metavar="RUN|FILE|NAME", help=ANY_WEIGHTS, show_default=False, autocompletion=weights)
    ],
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="The new file: .safetensors, .onnx, .xml (OpenVINO) or .pt2.", show_default=False
        ),
    ],
    checkpoint: Annotated[
        Literal["auto", "best", "last"],
        typer.Option(help="Weights of a run: best, last, or auto: best if there are any."),
    ] = "auto",
    full: Annotated[
        bool,
        typer.Option(
            "--full", help="For .safetensors: keep 32-bit floats: twice the size, and exactly the same masks."
        ),
    ] = False,
    int8: Annotated[
        bool,
        typer.Option("--int8", help="For .xml: use 8-bit integers, calibrated on films of --data; faster and smaller."),
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(
            "--data", metavar="NAME|PLACE", help="Films to compare the exported network with the original on."
        ),
    ] = None,
) -> None:
    """Write a run's network as a file to share, or for another program to run.

    The suffix chooses the format (cxrkit list exporter). Each file holds the network, its channels and its
    preprocessing, and each can be used as it is: cxrkit predict FILM.png --weights FILE

    The numbers of a .safetensors file are rounded to 16 bits, which can change single pixels at a mask's border; --full
    keeps them. A network in another format is compared with the original over 16 films, and isn't written if its masks
    differ.
    """
    from cxrkit.cli.console import say
    from cxrkit.cli.loading import load_plugins

    load_plugins()
    from cxrkit import inference

    written = inference.export(run, file, checkpoint=checkpoint, half=not full, int8=int8, data=data)
    say(f"{' and '.join(map(str, written.files))}: {_size(sum(path.stat().st_size for path in written.files))}")
    if (agreement := written.agreement) is not None:
        found = ", ".join(f"{name} {value:.4f}" for name, value in agreement.dice.items())
        say(
            f"Compared with the original over {agreement.films} films: Dice of the masks {found}; "
            f"largest difference of a probability {agreement.largest_difference:.4f}."
        )


def _size(count: int) -> str:
    """Bytes as people read them.

    >>> _size(21_300), _size(7_412_000)
    ('21 kB', '7.4 MB')
    """
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"
