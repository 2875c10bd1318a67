"""Flags that name arms, the same for `cxrkit ablate` and `cxrkit bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxrkit.cli.helping import option

WHAT = "What to compare"

Plan = Annotated[
    Path | None,
    typer.Argument(metavar="[PLAN.yaml]", help="A plan; flags win over it.", show_default=False),
]
Mixups = Annotated[str | None, option("--mixup", WHAT, "Mixup's δ; 0 is no mixup.", metavar="D,D")]
Augments = Annotated[str | None, option("--augment", WHAT, "'none', or names joined by +.", metavar="A,B+C")]
Varied = Annotated[
    list[str] | None,
    option("--vary", WHAT, "Any other setting: --vary model.depth=3,4. May be given again.", metavar="KEY=A,B"),
]
Excluded = Annotated[
    list[str] | None,
    option("--exclude", WHAT, "Leave these out: 'model=unet,loss=dice'. May be given again.", metavar="KEY=LEVEL,..."),
]
