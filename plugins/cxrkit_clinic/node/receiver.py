"""The door for a PACS: C-ECHO and C-STORE, answered when the film is safely on the disk."""

from __future__ import annotations

import errno
import logging
import re
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_file_meta_info
from pydicom.tag import Tag
from pydicom.uid import UID, ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt
from pynetdicom.dsutils import create_file_meta
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from cxrkit.commands import ConfigError
from cxrkit_clinic.node.records import FullError
from cxrkit_clinic.node.spool import Spool

#: What is taken: films that are ready to be shown.
FILMS = (ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation)
#: Deflated data could inflate to any size, and films are no videos.
_DEFLATED, _VIDEO = "1.2.840.10008.1.2.1.99", re.compile(r"1\.2\.840\.10008\.1\.2\.4\.(10\d|20[45])\b.*")
_SYNTAXES = [syntax for syntax in ALL_TRANSFER_SYNTAXES if syntax != _DEFLATED and not _VIDEO.fullmatch(syntax)]
#: Statuses of C-STORE (PS3.4 B.2.3 and PS3.7 annex C).
SUCCESS, NOT_SUPPORTED, NO_ROOM, MISMATCH, NOT_UNDERSTOOD = 0x0000, 0x0122, 0xA700, 0xA900, 0xC000
#: Associations at a time, silent ones too, and bytes of all objects that are under way.
_ASSOCIATIONS, _UNDER_WAY = 100, 1 << 30


@dataclass(frozen=True)
class Door:
    """Where and for whom the node listens.

    Attributes:
        host, port: of this machine; port 0 is any free one.
        aet: the title that callers must address.
        allowed: the titles of those who may call; empty: anyone.
        max_bytes: of an object.
        tls: the server's side of TLS, or None.
    """

    host: str
    port: int
    aet: str
    allowed: tuple[str, ...] = ()
    max_bytes: int = 100 << 20
    tls: ssl.SSLContext | None = None


class Receiver:
    """Listens until it is closed.

    Args:
        door: where and for whom.
        spool: takes the films.
        made_with: a hash of all that decides what becomes of a film.
        arrived: called after each film.

    Raises:
        ConfigError: the port can't be listened on.
    """

    def __init__(self, door: Door, spool: Spool, made_with: str, arrived: Callable[[], None]) -> None:
        self._door, self._spool, self._made_with, self._arrived = door, spool, made_with, arrived
        self._under_way: dict[int, int] = {}
        self._lock = threading.Lock()
        ae = AE(ae_title=door.aet)
        ae.require_called_aet, ae.require_calling_aet = True, list(door.allowed)
        ae.maximum_associations = _ASSOCIATIONS
        ae.acse_timeout, ae.dimse_timeout, ae.network_timeout = 20, 60, 60
        ae.add_supported_context(Verification)
        # Other objects are taken too, to be refused one by one: a sender's association may hold both.
        for context in AllStoragePresentationContexts:
            ae.add_supported_context(str(context.abstract_syntax), _SYNTAXES)
        handlers: list[Any] = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_C_ECHO, lambda event: SUCCESS),
            (evt.EVT_PDU_RECV, self._measure),
            (evt.EVT_CONN_CLOSE, lambda event: self._arrived_whole(event.assoc)),
        ]
        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # what matters is logged by the spool
        try:
            server: Any = ae.start_server(
                (door.host, door.port), block=False, evt_handlers=handlers, ssl_context=door.tls
            )
        except (OSError, OverflowError) as error:
            raise _cannot_listen(door, error) from error
        self._ae, self._server = ae, server
        self.port: int = server.socket.getsockname()[1]

    def close(self) -> None:
        """Take no more films, and end the associations."""
        self._server.shutdown()
        self._ae.shutdown()

    def _store(self, event: Any) -> Any:
        """Answer a C-STORE request."""
        request, caller = event.request, str(event.assoc.requestor.ae_title)
        self._arrived_whole(event.assoc)
        uid, data = str(request.AffectedSOPInstanceUID or ""), request.DataSet.getbuffer()
        status, reason = self._fault(request, event.context.transfer_syntax, len(data))
        if status == SUCCESS:
            try:
                status, reason = self._keep(event, uid, data, caller)
            except FullError as error:
                status, reason = NO_ROOM, str(error)
            except Exception as error:  # the disk or its database: the sender tries again
                status, reason = NO_ROOM, f"it can't be written: {type(error).__name__}"
        if status != SUCCESS:
            self._spool.note("refused", uid, caller, len(data), f"0x{status:04X}: {reason}")
        response = Dataset()
        response.Status = status
        if reason and status != SUCCESS:
            response.ErrorComment = reason[:64]
        return response

    def _keep(self, event: Any, uid: str, data: memoryview, caller: str) -> tuple[int, str]:
        head = DicomBytesIO()
        head.write(b"\0" * 128 + b"DICM")
        request = event.request
        meta = create_file_meta(
            sop_class_uid=request.AffectedSOPClassUID,
            sop_instance_uid=request.AffectedSOPInstanceUID,
            transfer_syntax=event.context.transfer_syntax,
        )
        write_file_meta_info(head, meta)
        new = self._spool.receive(
            uid, [head.getvalue(), data], source=caller, made_with=self._made_with, name=_folder_name(uid)
        )
        if new:
            self._arrived()
        else:
            self._spool.note("duplicate", uid, caller, len(data))
        return SUCCESS, ""

    def _fault(self, request: Any, syntax: str, size: int) -> tuple[int, str]:
        """What is wrong with an object, as a status and its reason, as far as that needs no pixels."""
        if request.AffectedSOPClassUID not in FILMS:
            return NOT_SUPPORTED, "only CR and DX films (for presentation) are taken"
        if size > self._door.max_bytes:
            return NO_ROOM, "larger than --max-size"
        try:
            header = _read_header(request.DataSet, UID(syntax))
            kind, uid = str(header.get("SOPClassUID", "")), str(header.get("SOPInstanceUID", ""))
            frames = int(header.get("NumberOfFrames") or 1)
        except Exception:  # whatever a parser raises at hostile data
            return NOT_UNDERSTOOD, "the data set can't be read"
        if not uid or not request.AffectedSOPInstanceUID:
            return MISMATCH, "no SOP Instance UID"
        if (kind, uid) != (request.AffectedSOPClassUID, request.AffectedSOPInstanceUID):
            return MISMATCH, "the data set has another SOP class or instance than the request"
        if frames != 1:
            return NOT_UNDERSTOOD, "several frames: a film has one"
        return SUCCESS, ""

    def _measure(self, event: Any) -> None:
        """End the association of an object that is too large before all of it is in memory."""
        if type(event.pdu).__name__ != "P_DATA_TF":
            return
        with self._lock:
            size = self._under_way.get(id(event.assoc), 0) + event.pdu.pdu_length
            self._under_way[id(event.assoc)] = size
            total = sum(self._under_way.values())
        if size > self._door.max_bytes + (1 << 20) or total > _UNDER_WAY:
            caller = str(event.assoc.requestor.ae_title)
            self._spool.note("refused", "", caller, size, "ended: larger than --max-size, or too much at a time")
            self._arrived_whole(event.assoc)
            with suppress(OSError):
                event.assoc.dul.socket.close()

    def _arrived_whole(self, association: Any) -> None:
        with self._lock:
            self._under_way.pop(id(association), None)


def _read_header(stream: BytesIO, syntax: UID) -> Dataset:
    """The few attributes that are checked before a film is acknowledged."""
    stream.seek(0)
    tags: list[Any] = [Tag("SOPClassUID"), Tag("SOPInstanceUID"), Tag("NumberOfFrames")]
    return read_dataset(
        stream,
        syntax.is_implicit_VR,
        syntax.is_little_endian,
        stop_when=lambda tag, vr, length: tag > tags[-1],
        specific_tags=tags,
    )


def _folder_name(uid: str) -> str:
    """A UID as the name of a folder: it may hold anything, such as a path."""
    plain = "".join(sign if (sign.isalnum() and sign.isascii()) or sign in ".-" else "_" for sign in uid[:64])
    return plain if plain.strip(".") else f"_{plain}"


def _cannot_listen(door: Door, error: OSError | OverflowError) -> ConfigError:
    where = f"{door.host}:{door.port}"
    number = error.errno if isinstance(error, OSError) else None
    reasons: dict[int | None, tuple[str, str]] = {
        errno.EADDRINUSE: (
            "the port is in use",
            "Choose another --port, or stop the program that uses it.",
        ),
        errno.EACCES: ("permission denied", "Choose a --port from 1024."),
        errno.EADDRNOTAVAIL: ("this machine has no such address", "Choose another --host."),
    }
    reason, remedy = reasons.get(
        number, (str(getattr(error, "strerror", None) or error), "Choose another --host or --port.")
    )
    return ConfigError(f"{where} can't be listened on: {reason}.", remedy)
