"""What stands at both ends of a node in tests: films, a sender, and an archive that can misbehave."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, AllStoragePresentationContexts, evt

DX, CR = UID("1.2.840.10008.5.1.4.1.1.1.1"), UID("1.2.840.10008.5.1.4.1.1.1")
PATIENT = "ROENTGEN^WILHELM"


def film(uid: str = "", kind: UID = DX, side: int = 64, **more: Any) -> Dataset:
    """A film of noise; `more` are attributes, None for one that is left out."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID, made.SOPInstanceUID = kind, uid or generate_uid()
    made.file_meta.MediaStorageSOPClassUID, made.file_meta.MediaStorageSOPInstanceUID = kind, made.SOPInstanceUID
    made.StudyInstanceUID, made.SeriesInstanceUID = generate_uid(), generate_uid()
    made.PatientName, made.PatientID, made.PatientBirthDate, made.PatientSex = PATIENT, "MRN-0815", "18450327", "M"
    made.StudyDate, made.StudyTime, made.StudyID, made.AccessionNumber = "20260101", "120000", "1", "ACC-7"
    made.ReferringPhysicianName = ""
    made.Modality, made.BodyPartExamined, made.ViewPosition = "DX", "CHEST", "PA"
    made.PixelData = np.random.default_rng(0).integers(0, 255, (side, side), dtype=np.uint8).tobytes()
    made.Rows = made.Columns = side
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PixelRepresentation = 1, "MONOCHROME2", 0
    made.BitsAllocated = made.BitsStored = 8
    made.HighBit = 7
    for name, value in more.items():
        if value is None:
            delattr(made, name)
        else:
            setattr(made, name, value)
    return made


def send(port: int, *films: Dataset, called: str = "CXRKIT", calling: str = "SENDER", **more: Any) -> list[int | None]:
    """The statuses of films that are stored in one association; none where it was rejected, None where it ended."""
    ae = AE(ae_title=calling)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 20
    for kind, syntax in {(item.SOPClassUID, item.file_meta.TransferSyntaxUID) for item in films}:
        ae.add_requested_context(kind, syntax)
    association = ae.associate("127.0.0.1", port, ae_title=called, **more)
    if not association.is_established:
        return []
    statuses: list[int | None] = []
    for item in films:
        try:
            statuses.append(association.send_c_store(item).get("Status"))
        except RuntimeError:
            statuses.append(None)
    association.release()
    return statuses


class Archive:
    """Takes objects by C-STORE; `behave` is called with each event and may return another status than success."""

    def __init__(self, port: int = 0, behave: Callable[[Any], int] = lambda event: 0x0000, tls: Any = None) -> None:
        self.behave, self.objects, self.titles = behave, Counter[str](), set[str]()
        ae = AE(ae_title="ARCHIVE")
        ae.require_called_aet = True
        ae.supported_contexts = AllStoragePresentationContexts
        self.server: Any = ae.start_server(
            ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)], ssl_context=tls
        )
        self.port: int = self.server.socket.getsockname()[1]
        self.address = f"ARCHIVE@127.0.0.1:{self.port}"

    def _store(self, event: Any) -> int:
        status = self.behave(event)
        if status == 0x0000:
            self.objects[event.request.AffectedSOPInstanceUID] += 1
            self.titles.add(event.assoc.requestor.ae_title)
        return status

    def close(self) -> None:
        self.server.shutdown()


@contextmanager
def archive(**more: Any) -> Any:
    opened = Archive(**more)
    try:
        yield opened
    finally:
        opened.close()


def eventually(holds: Callable[[], Any], seconds: float = 30) -> Any:
    """What a condition returns as soon as that is true."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.02)
    return found
