"""A node under load and under kill -9, with a small archive at the other end.

    python examples/clinic/node-under-load.py load [--films 500] [--associations 16]
    python examples/clinic/node-under-load.py kill [--kills 20] [--films 60]

Each starts `cxrkit node` on free ports of this machine, in a temporary folder, with synthetic films. It counts
what reaches the archive: for each film that was acknowledged the objects that the log names, and one line of the log,
no more. Exit code 1 where that isn't so.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian
from pynetdicom import AE, AllStoragePresentationContexts, evt

from cxrkit_plugins.datasets.phantom import PhantomDataset


@cache
def phantom(number: int) -> np.ndarray:
    """A synthetic radiograph, float `(256, 256)` in [0, 255]."""
    dataset = PhantomDataset(None, size=256)
    pixels = dataset.read(dataset.entries()[number]).image.astype(np.float32)
    return 255 * (pixels - pixels.min()) / np.ptp(pixels)


def film(number: int) -> Dataset:
    """A small film, whose UIDs come from its number."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID = DigitalXRayImageStorageForPresentation
    made.SOPInstanceUID = f"1.2.826.0.1.3680043.10.999.{number + 1}.3"
    made.SeriesInstanceUID = f"1.2.826.0.1.3680043.10.999.{number + 1}.2"
    made.StudyInstanceUID = f"1.2.826.0.1.3680043.10.999.{number + 1}.1"
    made.PatientName, made.PatientID, made.PatientBirthDate, made.PatientSex = "TEST^FILM", f"{number}", "", ""
    made.StudyDate, made.StudyTime, made.StudyID = "20260101", "120000", "1"
    made.AccessionNumber = made.ReferringPhysicianName = ""
    made.Modality, made.BodyPartExamined, made.ViewPosition = "DX", "CHEST", "PA"
    pixels = phantom(number % 8) + np.random.default_rng(number).normal(0, 2, (256, 256))
    made.PixelData = np.clip(pixels, 0, 255).astype(np.uint8).tobytes()
    made.Rows = made.Columns = 256
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PixelRepresentation = 1, "MONOCHROME2", 0
    made.BitsAllocated = made.BitsStored = 8
    made.HighBit = 7
    return made


class Archive:
    """Takes results, and keeps what it has got: per object how often, and the film that it refers to."""

    def __init__(self) -> None:
        self.objects: Counter[str] = Counter()
        self.kinds: dict[str, tuple[str, str]] = {}
        ae = AE(ae_title="ARCHIVE")
        ae.supported_contexts = AllStoragePresentationContexts
        ae.maximum_associations = 50
        self.server: Any = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)])
        self.port = self.server.socket.getsockname()[1]

    def _store(self, event: Any) -> int:
        found = event.dataset
        self.kinds[found.SOPInstanceUID] = (found.StudyInstanceUID, found.Modality)
        self.objects[found.SOPInstanceUID] += 1
        return 0x0000

    def complete(self) -> set[str]:
        """Studies that have a report; where no structure was found, there is no segmentation."""
        return {study for study, modality in [*self.kinds.values()] if modality == "SR"}


def free_port() -> int:
    """A port that nobody uses."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Node:
    """The node's process."""

    def __init__(self, folder: Path, archive: Archive) -> None:
        self.folder, self.port = folder, free_port()
        self.log = (folder / "node.log").open("a")
        self.command = [
            sys.executable,
            "-m",
            "cxrkit",
            "node",
            "--port",
            str(self.port),
            "--spool",
            str(folder / "spool"),
        ]
        self.command += ["--send-to", f"ARCHIVE@127.0.0.1:{archive.port}", "--device", "cpu"]

    def start(self) -> None:
        """Start it, without waiting."""
        self.process = subprocess.Popen(self.command, stdout=self.log, stderr=self.log)

    def wait(self) -> None:
        """Wait until it listens."""
        while True:
            if self.process.poll() is not None:
                raise SystemExit(f"the node ended: see {self.folder / 'node.log'}")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.1)

    def memory(self) -> int:
        """MiB that the process itself takes now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) >> 10

    def send(self, films: list[Dataset], acknowledged: set[str]) -> None:
        """Send films in an association; what is acknowledged is added."""
        ae = AE(ae_title="SENDER")
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 60
        ae.add_requested_context(DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian)
        association = ae.associate("127.0.0.1", self.port, ae_title="CXRKIT")
        if not association.is_established:
            return
        for item in films:
            try:
                status = association.send_c_store(item)
            except (RuntimeError, OSError):
                break
            if status.get("Status") == 0x0000:
                acknowledged.add(item.SOPInstanceUID)
        association.release()

    def lines(self) -> list[dict[str, Any]]:
        """Of the audit log."""
        file = self.folder / "spool" / "audit.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def verdict(archive: Archive, node: Node, films: int) -> int:
    """Say what was lost or doubled; the exit code."""
    outcomes = Counter(line["outcome"] for line in node.lines())
    per_film = Counter(line["film"] for line in node.lines() if line["outcome"] == "sent")
    lost = films - len(archive.complete())
    distinct = len(archive.objects)
    made = sum(len(line["files"]) for line in node.lines() if line["outcome"] == "sent")
    print(f"films: {films}; with a report in the archive: {len(archive.complete())}; lost: {lost}")
    print(f"objects in the archive: {distinct} (expected {made}); sent again: {archive.objects.total() - distinct}")
    print(f"lines of the log: {dict(outcomes)}; films with more than one: {sum(n > 1 for n in per_film.values())}")
    left = [
        str(file) for place in ("films", "results", "incoming") for file in (node.folder / "spool" / place).iterdir()
    ]
    print(f"files left in the spool: {len(left)}")
    return int(bool(lost or distinct != made or len(per_film) != films or per_film.total() != films or left))


def load(folder: Path, count: int, associations: int) -> int:
    """Send films by many associations at once."""
    archive = Archive()
    node = Node(folder, archive)
    node.start()
    node.wait()
    films, acknowledged = [film(number) for number in range(count)], set[str]()
    memory = [node.memory()]
    began = time.monotonic()
    threads = [
        threading.Thread(target=node.send, args=(films[start::associations], acknowledged))
        for start in range(associations)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    received = time.monotonic() - began
    print(f"{len(acknowledged)} films acknowledged by {associations} associations in {received:.1f} s: "
          f"{len(acknowledged) / received:.0f} films/s")  # fmt: skip
    while len(archive.complete()) < count and node.process.poll() is None and time.monotonic() - began < 3600:
        time.sleep(1)
        memory.append(node.memory())
    total = time.monotonic() - began
    print(f"all results in the archive after {total:.1f} s: {count / total:.2f} films/s")
    quarter = max(1, len(memory) // 4)
    first, last = (sorted(part)[quarter // 2] for part in (memory[:quarter], memory[-quarter:]))
    print(f"memory of the node: at most {max(memory)} MiB; median of the first quarter {first}, of the last {last}")
    time.sleep(3)
    node.process.send_signal(signal.SIGTERM)
    print(f"exit code after SIGTERM: {node.process.wait(60)}")
    return verdict(archive, node, count)


def kill(folder: Path, count: int, kills: int) -> int:
    """Send films until each is acknowledged, while the node is killed again and again."""
    archive = Archive()
    node = Node(folder, archive)
    films, acknowledged, chance, stop = [film(number) for number in range(count)], set[str](), random.Random(0), []

    def sender() -> None:
        while not stop and len(acknowledged) < count:
            # A film now and then, so that some are on their way at every kill; a lost answer lets it be sent again.
            left = [item for item in films if item.SOPInstanceUID not in acknowledged]
            node.send(left[:2], acknowledged)
            time.sleep(chance.uniform(0, 2))

    thread = threading.Thread(target=sender)
    thread.start()
    for number in range(kills):
        node.start()
        if number % 5:
            node.wait()
        moment = chance.uniform(0, 12)
        time.sleep(moment)
        node.process.send_signal(signal.SIGKILL)
        node.process.wait()
        print(
            f"kill {number + 1}: {moment:.2f} s; acknowledged {len(acknowledged)}, done {len(archive.complete())}",
            flush=True,
        )
    node.start()
    node.wait()
    while len(acknowledged) < count or len(archive.complete()) < count:
        time.sleep(1)
        if node.process.poll() is not None:
            break
    time.sleep(3)
    stop.append(True)
    thread.join()
    node.process.send_signal(signal.SIGTERM)
    print(f"exit code after SIGTERM: {node.process.wait(60)}")
    return verdict(archive, node, count)


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("load", "kill"))
    parser.add_argument("--films", type=int)
    parser.add_argument("--associations", type=int, default=16)
    parser.add_argument("--kills", type=int, default=20)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if given.what == "load":
            return load(Path(folder), given.films or 500, given.associations)
        return kill(Path(folder), given.films or 60, given.kills)


if __name__ == "__main__":
    sys.exit(main())
