"""The command `cxrkit agreement`: how well two readers' masks agree."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from cxrkit import read_mask
from cxrkit.commands import DataError, Json, Quiet, progress, show, show_json, table

Masks = Annotated[Path, typer.Argument(metavar="FOLDER", help="Masks of one reader, as PNG.", show_default=False)]


def agreement(first: Masks, second: Masks, as_json: Json = False, quiet: Quiet = False) -> None:
    """Compare two readers' masks: the Dice coefficient of each film that both have drawn."""
    names = sorted({path.name for path in first.glob("*.png")} & {path.name for path in second.glob("*.png")})
    if not names:
        raise DataError(f"{first} and {second} have no PNG files of the same name.", "Name a film's two masks alike.")
    found: dict[str, float] = {}
    with progress(quiet=quiet) as observer:
        observer.stage("Comparing masks", len(names))
        for name in names:
            found[name] = dice(read_mask(first / name), read_mask(second / name))
            observer.advance(len(found))
    if as_json:
        show_json(found)
    else:
        show(table(("film", "Dice"), [(name, f"{value:.3f}") for name, value in found.items()], right="Dice"))


def dice(first: np.ndarray, second: np.ndarray) -> float:
    """The Dice coefficient of two masks, bool `(H, W)`; 1 where both are empty.

    Raises:
        DataError: they differ in size.
    """
    if first.shape != second.shape:
        raise DataError(f"Masks of {first.shape} and {second.shape} pixels can't be compared.", "Resize one of them.")
    both = int(first.sum()) + int(second.sum())
    return 2 * int((first & second).sum()) / both if both else 1.0
