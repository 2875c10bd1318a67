"""Options and checks that the commands of this package share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from cxrkit.commands import ANY_WEIGHTS, ConfigError, option

RESULTS, NETWORK, RUNNING = "Results", "Network", "Running"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
MIB = 1 << 20

Weights = Annotated[
    str | None,
    option("--weights", ANY_WEIGHTS, RESULTS, metavar="RUN|FILE|NAME", default="those that come with cxrkit"),
]
Runtime = Annotated[
    str, option("--runtime", "What computes an exported network.", RESULTS, metavar="auto|NAME", default="auto")
]
Timeout = Annotated[
    float, typer.Option(metavar="SECONDS", min=1, help="How long one film may take.", rich_help_panel=RUNNING)
]
MaxSize = Annotated[
    int, typer.Option(metavar="MIB", min=1, max=1024, help="How large a film may be.", rich_help_panel=RUNNING)
]
Certificate = Annotated[Path | None, option("--tls-cert", "Our certificate, PEM.", NETWORK, metavar="FILE")]
Key = Annotated[Path | None, option("--tls-key", "Its key, PEM.", NETWORK, metavar="FILE")]


@contextmanager
def extra() -> Iterator[None]:
    """Say which extra to install where an import fails."""
    try:
        yield
    except ImportError as error:
        raise ConfigError(f"{error.name} isn't installed.", "Run: pip install 'cxrkit[clinic]'") from error
