"""What every request passes before it is answered: whose it is, how much it may send, and how long it may take.

A page of another site that is open in the same browser can send requests here too. It is kept out by three headers that
it can't forge: `Host` (it may have let its own name lead to this machine), `Origin` and `Sec-Fetch-Site`.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import h11
from fastapi import HTTPException
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from cxrkit_clinic.server.metrics import Metrics

#: Pages without any data, which ask for the token themselves.
_OPEN = ("/", "/docs", "/openapi.json", "/healthz")
_OPEN_BELOW = "/static/"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
#: Seconds for which the rest of a refused body is read, so that the client sees the answer and not a broken connection.
_DRAIN = 2.0
#: Seconds in which the head of a request must have arrived.
_HEAD = 20.0


@dataclass(frozen=True)
class Limits:
    """What is answered, and what isn't.

    Attributes:
        token: what requests must bring; "": nothing.
        hosts: names of this server beside addresses, `localhost` and the machine's own.
        most_bytes: of a request's body.
        patience: seconds in which it must have arrived.
    """

    token: str = ""
    hosts: tuple[str, ...] = ()
    most_bytes: int = 100 << 20
    patience: float = 60.0
    own: tuple[str, ...] = field(default_factory=lambda: ("localhost", socket.gethostname().lower()))


def refused(status: int, what: str, remedy: str = "") -> HTTPException:
    """An answer that says what is wrong and what to do."""
    return HTTPException(status, {"what": what, "remedy": remedy})


def error_body(detail: Any) -> dict[str, str]:
    """The JSON of such an answer."""
    return detail if isinstance(detail, dict) else {"what": str(detail), "remedy": ""}


class Guard:
    """Checks each request, limits its body, counts it, and adds headers to its answer."""

    def __init__(self, app: ASGIApp, limits: Limits, metrics: Metrics) -> None:
        self._app, self._limits, self._metrics = app, limits, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the application answer."""
        if scope["type"] != "http":
            return
        headers, began = Headers(scope=scope), time.monotonic()
        body = _Body(receive, self._limits, headers)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                await body.drain()
                MutableHeaders(scope=message).update(_HEADERS)
                MutableHeaders(scope=message).setdefault("Cache-Control", "no-store")
                self._metrics.answered(scope, message["status"], time.monotonic() - began)
            with suppress(OSError):  # the client has gone
                await send(message)

        try:
            self._check(scope, headers)
        except HTTPException as error:
            response = JSONResponse(error_body(error.detail), error.status_code, error.headers)
            await response(scope, body.receive, answer)
            return
        await self._app(scope, body.receive, answer)

    def _check(self, scope: Scope, headers: Headers) -> None:
        host = headers.get("host", "")
        if not self._is_own(_name_of(host)):
            raise refused(
                403, f"This server isn't called {_name_of(host)[:100]!r}.", "Allow the name: cxrkit serve --allow-host."
            )
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
        followed = scope["method"] == "GET" and headers.get("sec-fetch-mode") == "navigate" and origin is None
        if (origin is not None and origin.partition("://")[2] != host) or (
            site not in ("same-origin", "none") and not followed
        ):
            raise refused(403, "Requests of other sites aren't answered.", "Open the page itself.")
        path = scope["path"]
        if self._limits.token and path not in _OPEN and not path.startswith(_OPEN_BELOW):
            kind, _, given = headers.get("authorization", "").partition(" ")
            if kind.lower() != "bearer" or not hmac.compare_digest(given.encode(), self._limits.token.encode()):
                error = refused(401, "The token is missing or wrong.", "Send it: Authorization: Bearer TOKEN.")
                error.headers = {"WWW-Authenticate": "Bearer"}
                raise error

    def _is_own(self, name: str) -> bool:
        if name in (*self._limits.own, *self._limits.hosts):
            return True
        with suppress(ValueError):  # nobody else can let an address lead here
            return bool(ipaddress.ip_address(name))
        return False


def _name_of(host: str) -> str:
    """The name or address in a `Host` header, without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0].lower() if ":" in host else host.lower()


class _Body:
    """A request's body, of limited size and time."""

    def __init__(self, receive: Receive, limits: Limits, headers: Headers) -> None:
        self._receive, self._limits = receive, limits
        self._left = limits.most_bytes
        self._until = time.monotonic() + limits.patience
        self._complete = False
        self._expects = "expect" in headers
        length = headers.get("content-length", "0")
        self._announced = int(length) if length.isdecimal() and len(length) < 20 else 0

    async def receive(self) -> Message:
        """The next part.

        Raises:
            HTTPException: it is too large, or takes too long.
        """
        if self._complete:
            return await self._receive()
        if self._announced > self._limits.most_bytes:
            raise self._too_large()
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + self._until - time.monotonic()):
                message = await self._receive()
        except TimeoutError:
            self._complete = True  # nothing more is read of it
            remedy = "Send it faster, or start the server with a longer --timeout."
            raise refused(408, f"The request wasn't complete after {self._limits.patience:g} s.", remedy) from None
        self._complete = not message.get("more_body", False)
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise self._too_large()
        return message

    def _too_large(self) -> HTTPException:
        most = self._limits.most_bytes / (1 << 20)
        return refused(413, f"The request is larger than {most:g} MiB.", "Start the server with a higher --max-size.")

    async def drain(self) -> None:
        """Read what is left of it, for a moment."""
        if self._complete or self._expects:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN):
                while not self._complete:
                    self._complete = not (await self._receive()).get("more_body", False)


class ImpatientProtocol(H11Protocol):
    """HTTP/1.1 that ends connections whose request doesn't get past its head, or whose client stops reading."""

    def connection_made(self, transport: Any) -> None:
        """Begin to watch it."""
        super().connection_made(transport)
        self.loop.call_later(_HEAD, self._look, None)

    def _look(self, before: tuple[bool, int] | None) -> None:
        unsent = self.transport.get_write_buffer_size()
        if self.transport.is_closing() and not unsent:
            return
        idle = self.conn.their_state is h11.IDLE and (self.cycle is None or self.cycle.response_complete)
        if (idle or unsent) and before == (idle, unsent):
            self.transport.abort()
        else:
            self.loop.call_later(_HEAD / 2, self._look, (idle, unsent))


def names(given: Iterable[str]) -> tuple[str, ...]:
    """Names as `Host` headers have them."""
    return tuple(name.strip().lower() for name in given)
