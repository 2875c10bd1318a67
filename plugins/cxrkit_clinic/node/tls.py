"""TLS: our certificate and key, and the authority that the others' certificates must be of."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

from cxrkit.commands import ConfigError


def _lazily(context: ssl.SSLContext) -> ssl.SSLContext:
    """Let a server's handshakes take place when data are first read: a silent caller mustn't hold up the others."""
    wrap = context.wrap_socket

    def wrap_socket(sock: Any, **more: Any) -> ssl.SSLSocket:
        sock.settimeout(60)
        return wrap(sock, **more, do_handshake_on_connect=False)

    context.wrap_socket = wrap_socket  # type: ignore[method-assign, assignment]
    return context


def server_tls(certificate: Path | None, key: Path | None, authority: Path | None) -> ssl.SSLContext | None:
    """The server's side of TLS; with an authority, callers need a certificate of it.

    Raises:
        ConfigError: a file is missing or no certificate or key.
    """
    if certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_keys(context, certificate, key, authority)
    if authority is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return _lazily(context)


def load_keys(context: ssl.SSLContext, certificate: Path | None, key: Path | None, authority: Path | None) -> None:
    """Load our certificate and key, and those of an authority.

    Raises:
        ConfigError: a file is missing or no certificate or key.
    """
    named = " and ".join(str(file) for file in (certificate, key, authority) if file is not None)
    try:
        if certificate is not None:
            context.load_cert_chain(certificate, key)
        if authority is not None:
            context.load_verify_locations(authority)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"{named}: can't be used as certificate and key: {error.strerror or error}.",
            "Give PEM files; --tls-key belongs to --tls-cert.",
        ) from error


def client_tls(certificate: Path | None, key: Path | None, authority: Path | None) -> ssl.SSLContext:
    """The client's side of TLS, for archives; without an authority, the system's are trusted.

    Raises:
        ConfigError: as `server_tls`.
    """
    context = ssl.create_default_context()
    load_keys(context, certificate, key, authority)
    return context
