"""What `cxrkit serve` and `cxrkit annotate` are asked to do: the options that both have."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from cxrkit.commands import ConfigError, option
from cxrkit_clinic.options import (
    LOOPBACK,
    MIB,
    NETWORK,
    RUNNING,
    Certificate,
    Key,
    MaxSize,
    Port,
    Segmenting,
    Timeout,
)

_SHORTEST_TOKEN = 16


@dataclass(frozen=True, kw_only=True)
class Door:
    """Where to listen, and to whom."""

    port: Port = 8080
    host: Annotated[
        str,
        typer.Option(
            help="The address to listen on; others than this machine's own need a token.", rich_help_panel=NETWORK
        ),
    ] = "127.0.0.1"
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            envvar="CXRKIT_TOKEN",
            metavar="TEXT",
            help="What requests must bring, and the page asks for. CXRKIT_TOKEN instead keeps it out of process lists.",
            rich_help_panel=NETWORK,
            show_default=False,
        ),
    ] = None
    allowed: Annotated[
        list[str] | None,
        option(
            "--allow-host",
            "A further name of this server, behind a proxy say; may be repeated.",
            NETWORK,
            metavar="NAME",
        ),
    ] = None
    certificate: Certificate = None
    key: Key = None

    @property
    def is_private(self) -> bool:
        """Whether only this machine reaches it."""
        return self.host in LOOPBACK

    def check(self) -> None:
        """Refuse what would let strangers in.

        Raises:
            ConfigError: a token is missing or easily guessed, or a certificate can't be used.
        """
        token = self.token
        if token is not None and (len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable()):
            raise ConfigError(
                f"The token must have {_SHORTEST_TOKEN} or more plain characters.",
                "Make one: python -c 'import secrets; print(secrets.token_urlsafe())'",
            )
        if not self.is_private and token is None:
            raise ConfigError(
                f"Anyone who reaches {self.host} could see the films.",
                "Set a token: --token, or the variable CXRKIT_TOKEN.",
            )
        if (self.certificate is None) != (self.key is None):
            raise ConfigError("A certificate needs its key.", "Give both: --tls-cert FILE --tls-key FILE.")
        for file in (self.certificate, self.key):
            if file is not None and not file.is_file():
                raise ConfigError(f"{file}: there is no such file.", "Check --tls-cert and --tls-key.")


@dataclass(frozen=True, kw_only=True)
class Network(Segmenting):
    """What segments, and its limits."""

    workers: Annotated[
        int | None,
        option(
            "--workers",
            "Films that are segmented side by side; exported networks still compute one at a time.",
            RUNNING,
            metavar="N",
            default="one per core, at most 8",
            min=1,
        ),
    ] = None
    queue: Annotated[
        int,
        typer.Option(
            metavar="FILMS",
            min=1,
            help="How many films may wait; more are refused for the moment.",
            rich_help_panel=RUNNING,
        ),
    ] = 64
    timeout: Timeout = 60
    max_size: MaxSize = 100
    max_pixels: Annotated[
        int,
        typer.Option(
            metavar="MILLIONS", min=1, max=100, help="How many pixels a film may have.", rich_help_panel=RUNNING
        ),
    ] = 40

    @property
    def most_bytes(self) -> int:
        """How large a film may be."""
        return self.max_size * MIB

    @property
    def most_pixels(self) -> int:
        """How many pixels a film may have."""
        return self.max_pixels * 1_000_000


@dataclass(frozen=True)
class Drawing:
    """Where masks go, which (None: the dataset's, or the network's), and whether the network proposes them."""

    out: Path
    structures: tuple[str, ...] | None
    propose: bool
