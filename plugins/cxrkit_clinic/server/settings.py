"""What `cxrkit serve` and `cxrkit annotate` are asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cxrkit.commands import ConfigError
from cxrkit_clinic.options import LOOPBACK

_SHORTEST_TOKEN = 16


@dataclass(frozen=True)
class Door:
    """Where to listen, and to whom: `token` is what requests must bring, `allowed` are further names of the server."""

    host: str
    port: int
    token: str | None
    allowed: tuple[str, ...]
    certificate: Path | None
    key: Path | None

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


@dataclass(frozen=True)
class Network:
    """What segments, and its limits.

    Attributes:
        weights, runtime, device: as in `cxrkit predict`.
        workers: films at a time; None: as many as make sense.
        queue: films that may wait.
        timeout: seconds for a film.
        most_bytes, most_pixels: of a film.
    """

    weights: str | None
    runtime: str
    device: str
    workers: int | None
    queue: int
    timeout: float
    most_bytes: int
    most_pixels: int


@dataclass(frozen=True)
class Drawing:
    """Where masks go, which (None: the dataset's, or the network's), and whether the network proposes them."""

    out: Path
    structures: tuple[str, ...] | None
    propose: bool
