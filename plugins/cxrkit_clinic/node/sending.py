"""Where results go: archives by C-STORE or DICOMweb, and folders; and the thread that sends to each."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cxrkit.commands import ConfigError, CxrkitError, write_bytes
from cxrkit_clinic.node.records import Delivery
from cxrkit_clinic.node.spool import Spool

#: Seconds to wait for a destination's answer.
_PATIENCE = 60.0
#: Seconds between attempts: they double from the first to the last.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0


class AwayError(Exception):
    """A destination can't be reached, or has no room: all results for it wait."""


class RefusedError(Exception):
    """A destination doesn't want these results: sending them again would change nothing."""


class Destination(Protocol):
    """Where results go."""

    @property
    def name(self) -> str:
        """Where it is, without passwords."""

    def send(self, delivery: Delivery) -> None:
        """Send all results of a film, and return when they have been acknowledged.

        Raises:
            AwayError, RefusedError: it has not acknowledged them.
        """


@dataclass(frozen=True)
class Archive:
    """An archive that takes objects by C-STORE: `AET@HOST:PORT`, with TLS `tls:AET@HOST:PORT`."""

    name: str
    aet: str
    host: str
    port: int
    own_aet: str
    tls: ssl.SSLContext | None = None

    def send(self, delivery: Delivery) -> None:
        """Send the DICOM objects in an association of their own."""
        from pydicom import dcmread
        from pynetdicom import AE, build_context

        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
        objects = [dcmread(file) for file in dicom_files(delivery)]
        if not objects:
            return
        ae = AE(ae_title=self.own_aet)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = _PATIENCE
        ae.connection_timeout = min(_PATIENCE, 20)
        kinds = {(item.SOPClassUID, item.file_meta.TransferSyntaxUID) for item in objects}
        tls = None if self.tls is None else (self.tls, self.host)
        association = ae.associate(
            self.host,
            self.port,
            ae_title=self.aet,
            contexts=[build_context(kind, syntax) for kind, syntax in sorted(kinds)],
            tls_args=tls,
        )
        if not association.is_established:
            reason = _why_rejected(association) or self._why_not_secure() or f"no answer from {self.host}:{self.port}"
            raise AwayError(reason)
        try:
            for item in objects:
                self._store(association, item)
        finally:
            with suppress(Exception):  # what was acknowledged is, however the association ends
                if association.is_established:
                    association.release()
                else:
                    association.abort()

    def _why_not_secure(self) -> str:
        """What is wrong with TLS, which pynetdicom doesn't say; "" if nothing is."""
        if self.tls is None:
            return ""
        try:
            with (
                socket.create_connection((self.host, self.port), 20) as plain,
                self.tls.wrap_socket(plain, server_hostname=self.host) as secure,
            ):
                secure.settimeout(1)  # an archive that doesn't accept our certificate says so after the handshake
                secure.recv(1)
        except ssl.SSLCertVerificationError as error:
            return f"its certificate isn't accepted ({error.verify_message.rstrip('.')}): see --tls-ca"
        except ssl.SSLError as error:
            return f"no TLS connection ({(error.reason or str(error)).replace('_', ' ').lower()})"
        except OSError:
            return ""
        return ""

    def _store(self, association: Any, item: Any) -> None:
        try:
            status = association.send_c_store(item).get("Status")
        except ValueError as error:  # the archive accepted no such objects
            raise RefusedError(f"it takes no objects of the kind {item.SOPClassUID.name}") from error
        except RuntimeError as error:
            raise AwayError("the association was ended") from error
        if status is None:
            raise AwayError("the association was ended, or no answer came in time")
        if status & 0xFF00 == 0xA700:
            raise AwayError(f"it is out of resources (status 0x{status:04X})")
        if status != 0 and status >> 12 != 0xB:  # 0xB...: stored, with a warning
            raise RefusedError(f"status 0x{status:04X}")


def _why_rejected(association: Any) -> str:
    answer = getattr(association.acceptor, "primitive", None)
    if association.is_rejected and answer is not None:
        with suppress(Exception):
            return f"the association was rejected: {answer.reason_str.lower()}"
    if association.is_aborted and answer is not None:
        return "the association was aborted"
    return ""


@dataclass(frozen=True)
class WebArchive:
    """An archive that takes objects by DICOMweb (STOW-RS): `https://HOST/dicom-web`.

    Attributes:
        authorization: the header of that name, or "".
    """

    name: str
    url: str
    authorization: str = ""
    tls: ssl.SSLContext | None = None

    def send(self, delivery: Delivery) -> None:
        """Send the DICOM objects in one request."""
        files = dicom_files(delivery)
        if not files:
            return
        mark = uuid.uuid4().hex
        parts = [
            b"--%s\r\nContent-Type: application/dicom\r\n\r\n%s\r\n" % (mark.encode(), file.read_bytes())
            for file in files
        ]
        headers = {
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={mark}',
            "Accept": "application/dicom+json",
            **({"Authorization": self.authorization} if self.authorization else {}),
        }
        body = b"".join(parts) + b"--%s--\r\n" % mark.encode()
        request = urllib.request.Request(f"{self.url}/studies", body, headers, method="POST")
        handlers = [urllib.request.HTTPSHandler(context=self.tls), _NoRedirect()]
        try:
            with urllib.request.build_opener(*handlers).open(request, timeout=_PATIENCE) as response:
                status, answer = response.status, response.read(1 << 20)
        except urllib.error.HTTPError as error:
            if error.code == 409:
                raise RefusedError(_why_not_stored(error.read(1 << 20)) or "HTTP status 409") from error
            if error.code in (400, 406, 413, 415):
                raise RefusedError(f"HTTP status {error.code}") from error
            raise AwayError(f"HTTP status {error.code}") from error
        except (OSError, ValueError) as error:  # URLError is an OSError; a damaged answer raises others
            raise AwayError(str(getattr(error, "reason", error)) or type(error).__name__) from error
        except Exception as error:
            raise AwayError(type(error).__name__) from error
        if status not in (200, 202) or (why := _why_not_stored(answer)):
            raise RefusedError(why if status in (200, 202) else f"HTTP status {status}")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Redirections become errors: what is redirected becomes a GET, which stores nothing."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _why_not_stored(answer: bytes) -> str:
    """What a STOW-RS answer says of objects that were not stored; "" where all were."""
    with suppress(ValueError, AttributeError, TypeError, LookupError):
        failed = json.loads(answer).get("00081198", {}).get("Value", [])
        reasons = sorted({int(item.get("00081197", {}).get("Value", [0])[0]) for item in failed})
        if failed:
            return (
                f"{len(failed)} objects were not stored (reason {', '.join(f'0x{reason:04X}' for reason in reasons)})"
            )
    return ""


@dataclass(frozen=True)
class Folder:
    """A folder that gets a folder for each film, with all that the writers made."""

    name: str
    path: Path

    def send(self, delivery: Delivery) -> None:
        """Write each file under a temporary name, then rename it."""
        try:
            for file in delivery.files:
                write_bytes(self.path / delivery.name / file.name, file.read_bytes())
        except CxrkitError as error:
            raise AwayError(error.what) from error
        except OSError as error:
            raise AwayError(os.strerror(error.errno or 0)) from error


def dicom_files(delivery: Delivery) -> list[Path]:
    """Those of a film's results that are DICOM objects."""
    found = []
    for file in delivery.files:
        with file.open("rb") as stream:
            if stream.read(132)[128:] == b"DICM":
                found.append(file)
    return found


def destination_of(text: str, own_aet: str, tls: ssl.SSLContext | None) -> Destination:
    """What `--send-to` names.

    Raises:
        ConfigError: it is neither an archive's title and address, nor a URL.
    """
    if re.match(r"https?://", text):
        url, _, _ = text.partition("#")
        if re.match(r"https?://[^/]*@", url):
            raise ConfigError(
                "--send-to: a password in the URL would be seen by every user of this machine.",
                "Put it into the environment: CXRKIT_AUTHORIZATION='Basic ...' or 'Bearer ...'.",
            )
        url = url.rstrip("/").removesuffix("/studies")
        return WebArchive(
            url, url, os.environ.get("CXRKIT_AUTHORIZATION", ""), tls if url.startswith("https") else None
        )
    found = re.fullmatch(r"(?P<tls>tls:)?(?P<aet>[^@:\\]{1,16})@\[?(?P<host>[^@/\\\]]+?)\]?:(?P<port>\d{1,5})", text)
    if not found or not found["aet"].strip() or not 0 < int(found["port"]) < 65536:
        raise ConfigError(
            f"--send-to {text}: is neither an archive nor a URL.",
            "Write AET@HOST:PORT (with TLS tls:AET@HOST:PORT), or https://HOST/dicom-web.",
        )
    context = (tls or ssl.create_default_context()) if found["tls"] else None
    return Archive(text, found["aet"].strip(), found["host"], int(found["port"]), own_aet, context)


class Sender(threading.Thread):
    """Sends results to one destination until it is closed; after a failure it waits longer and longer.

    Args:
        destination: where to.
        spool: what is to be sent.
        give_up: seconds after which results are held until a retry.
        say: called with a message where the destination goes away or is back.
    """

    def __init__(self, destination: Destination, spool: Spool, give_up: float, say: Callable[[str], None]) -> None:
        super().__init__(daemon=True, name=f"sends to {destination.name}")
        self.destination, self._spool, self._give_up, self._say = destination, spool, give_up, say
        self._woken, self._closed = threading.Event(), False
        self._pause = 0.0

    def wake(self) -> None:
        """There may be something to send."""
        self._woken.set()

    def close(self, seconds: float) -> None:
        """Stop after the delivery that is under way, or after so many seconds in the middle of it."""
        self._closed = True
        self._woken.set()
        self.join(seconds)

    def run(self) -> None:
        """Send until closed."""
        while not self._closed:
            wait = 1.0
            try:
                delivery = self._spool.due(self.destination.name)
                if delivery is not None:
                    wait = self._deliver(delivery)
            except Exception as error:  # the spool's disk
                self._say(f"The spool can't be used: {type(error).__name__}: {error}")
                wait = 10.0
            if wait:
                self._woken.clear()
                deadline = time.monotonic() + wait
                while not self._closed and (left := deadline - time.monotonic()) > 0:
                    self._woken.wait(left)
                    if not self._pause:
                        break
                    self._woken.clear()

    def _deliver(self, delivery: Delivery) -> float:
        """Send the results of a film; how many seconds to wait before the next."""
        name = self.destination.name
        try:
            if not delivery.files:
                raise RefusedError("they are gone from the spool; send the film again")
            self.destination.send(delivery)
        except RefusedError as error:
            self._say(f"{name} doesn't get the results of film {delivery.uid[:8]}: {error}. Held until the next start.")
            self._spool.delivered(delivery, name, str(error), held=True)
            return 0.0
        except Exception as error:
            reason = str(error) if isinstance(error, AwayError) else f"{type(error).__name__}: {error}"
            return self._away(delivery, reason)
        if self._pause:
            self._say(f"{name} takes results again.")
            self._pause = 0.0
        self._spool.delivered(delivery, name)
        return 0.0

    def _away(self, delivery: Delivery, reason: str) -> float:
        name = self.destination.name
        if time.time() - delivery.since > self._give_up:
            self._say(
                f"{name}: given up on the results of film {delivery.uid[:8]}: {reason}. Held until the next start."
            )
            self._spool.delivered(delivery, name, reason, held=True)
            return self._pause
        if not self._pause:
            self._say(f"{name} can't be used: {reason}. Results wait, and are tried again.")
        self._pause = min(max(FIRST_PAUSE, 2 * self._pause), LONGEST_PAUSE)
        self._spool.postpone(delivery, name, reason, self._pause)
        return self._pause
