"""A real archive: Orthanc, started on free ports of this machine."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.clinic.node.ends import eventually

PLUGINS = Path("/usr/share/orthanc/plugins")


def missing() -> str:
    """Why it can't be started; "" where it can."""
    if not (shutil.which("Orthanc") or Path("/usr/sbin/Orthanc").is_file()):
        return "Orthanc isn't installed (apt-get install orthanc orthanc-dicomweb)"
    if not (PLUGINS / "libOrthancDicomWeb.so").is_file():
        return "Orthanc's DICOMweb plugin isn't installed (apt-get install orthanc-dicomweb)"
    return ""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Orthanc:
    def __init__(self, folder: Path, node_port: int) -> None:
        self.http, self.dicom = free_port(), free_port()
        self.web = f"http://127.0.0.1:{self.http}"
        settings = {
            "HttpPort": self.http,
            "DicomPort": self.dicom,
            "DicomAet": "ORTHANC",
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "Plugins": [str(PLUGINS / "libOrthancDicomWeb.so")],
            "DicomWeb": {"Enable": True},
            "DicomModalities": {"cxrkit": ["CXRKIT", "127.0.0.1", node_port]},
        }
        (folder / "orthanc.json").write_text(json.dumps(settings))
        program = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
        self.log = (folder / "orthanc.log").open("w")
        self.process = subprocess.Popen([program, str(folder / "orthanc.json")], stdout=self.log, stderr=self.log)

    def ask(self, path: str, body: bytes | None = None, **headers: str) -> Any:
        """The answer to a GET, or with a body to a POST: JSON, or bytes where they are asked for."""
        request = urllib.request.Request(self.web + path, body, headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            content = answer.read()
        return content if "Accept" in headers else json.loads(content)

    def is_up(self) -> bool:
        assert self.process.poll() is None, Path(self.log.name).read_text()
        try:
            return bool(self.ask("/system"))
        except OSError:
            return False


@contextmanager
def orthanc(folder: Path, node_port: int) -> Iterator[Orthanc]:
    started = Orthanc(folder, node_port)
    try:
        eventually(started.is_up, 60)
        yield started
    finally:
        started.process.terminate()
        started.process.wait(30)
        started.log.close()
