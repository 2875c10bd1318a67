"""`cxrkit serve` and `cxrkit annotate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxrkit.commands import Quiet, option, say, warn
from cxrkit_clinic.options import extra, takes_options
from cxrkit_clinic.server.settings import Door, Drawing, Network

_MASKS = "Masks"


@takes_options
def serve(
    folder: Annotated[
        Path | None, typer.Argument(help="A folder whose films the page lists, those below it too.", show_default=False)
    ] = None,
    *,
    door: Door,
    network: Network,
    quiet: Quiet = False,
) -> None:
    """Show films with their masks and measurements on a page, and segment films that programs send.

    Open the page in a browser, and drop films on it or look at those of FOLDER. Programs send a film to /v1/segment:

    curl -F film=@film.png http://127.0.0.1:8080/v1/segment

    /docs lists all addresses. Nothing of the films is kept. For research, not for diagnosis.
    """
    _serve(door, network, folder, None, quiet=quiet)


@takes_options
def annotate(
    folder: Annotated[Path, typer.Argument(help="A folder of films, those below it too.", show_default=False)],
    out: Annotated[
        Path,
        typer.Option(
            metavar="DATASET", help="Folder for films and masks; an earlier one is continued.", show_default=False
        ),
    ],
    *,
    structures: Annotated[
        str | None,
        option(
            "--structures",
            "The masks to draw.",
            _MASKS,
            metavar="NAME,NAME,...",
            default="those of the dataset, or of the network",
        ),
    ] = None,
    empty: Annotated[
        bool,
        typer.Option("--empty", help="Begin with empty masks, rather than the network's.", rich_help_panel=_MASKS),
    ] = False,
    door: Door,
    network: Network,
    quiet: Quiet = False,
) -> None:
    """Draw or correct the masks of films on a page, as a dataset to train on.

    Each stroke is saved at once, to DATASET/images and DATASET/masks/STRUCTURE. Films train when their masks are
    confirmed, which is a key on the page:

    cxrkit train --data DATASET

    DATASET/manifest.csv lists them; drawn.csv lists all films that were drawn on, and journal.jsonl says who saved
    which mask when. To train on all of these: --set data.manifest=drawn.csv --set data.missing=unknown
    """
    named = None if structures is None else tuple(name.strip().replace("-", "_") for name in structures.split(","))
    _serve(door, network, folder, Drawing(out, named, propose=not empty), quiet=quiet)


def _serve(door: Door, network: Network, folder: Path | None, drawing: Drawing | None, *, quiet: bool) -> None:
    door.check()
    if not door.is_private and door.certificate is None:
        warn("Films and token are sent as they are: --tls-cert encrypts them, or a proxy in front of this.")
    with extra():
        from cxrkit_clinic.server.running import run
    run(door, network, folder, drawing, (lambda message: None) if quiet else say)
