"""A node that is killed again and again: its whole path, with a process in place of the one that segments.

examples/clinic/node-under-load.py does the same with the real one.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.clinic.node.ends import archive, eventually, film, send
from tests.clinic.node.orthanc import free_port

TAKES_MINUTES = pytest.mark.skipif(
    "CXRKIT_LONG_TESTS" not in os.environ, reason="takes minutes: set CXRKIT_LONG_TESTS=1"
)
#: What is killed. A film becomes two objects, whose UIDs follow from its own.
NODE = """
import sys, threading, time
from pathlib import Path
from pydicom import dcmread
from cxrkit_clinic.node import service, sending
from cxrkit_clinic.node.receiver import Door, Receiver
from cxrkit_clinic.node.worker import Outcome, Ready, Recipe

class Worker:
    def __init__(self, recipe, patience): pass
    def start(self): return Ready({}, "")
    def kill(self): return ""
    def segment(self, film, workplace):
        item = dcmread(film)
        uid = item.SOPInstanceUID
        for number in (1, 2):
            item.SOPInstanceUID = item.file_meta.MediaStorageSOPInstanceUID = f"{uid}.{number}"
            item.save_as(workplace / f"{number}.dcm", enforce_file_format=True)
            time.sleep(0.01)
        return Outcome("made")

service.Worker, sending.FIRST_PAUSE = Worker, 0.05
port, folder, where = int(sys.argv[1]), Path(sys.argv[2]), sending.destination_of(sys.argv[3], "CXRKIT", None)
made = service.Service(folder, Recipe(), [where], 2, 60, 3600, 30, 1000, print)
made.run(lambda spool, made_with, arrived: Receiver(Door("127.0.0.1", port, "CXRKIT"), spool, made_with, arrived),
         threading.Event())
"""


def start(folder: Path, port: int, archive: str) -> subprocess.Popen[bytes]:
    """A node that listens."""
    with (folder / "log").open("ab") as log:
        command = [sys.executable, "-c", NODE, str(port), str(folder / "spool"), archive]
        node = subprocess.Popen(command, stdout=log, stderr=log)

    def listens() -> bool:
        assert node.poll() is None, (folder / "log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    eventually(listens, 120)
    return node


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=TAKES_MINUTES)])
def test_kill_9_loses_and_doubles_nothing(tmp_path: Path, kills: int) -> None:
    port, chance = free_port(), random.Random(kills)
    films = [film(f"1.2.3.{number}", side=256) for number in range(10 * kills)]
    acknowledged: set[str] = set()
    stop = threading.Event()

    def sender() -> None:
        while not stop.is_set() and len(acknowledged) < len(films):
            left = [item for item in films if item.SOPInstanceUID not in acknowledged]
            for item, status in zip(left, send(port, *left[:3]), strict=False):
                if status == 0x0000:
                    acknowledged.add(item.SOPInstanceUID)
            time.sleep(0.02)

    with archive() as there:
        thread = threading.Thread(target=sender)
        thread.start()
        for _ in range(kills):
            node = start(tmp_path, port, there.address)
            time.sleep(chance.uniform(0, 1.5))
            node.send_signal(signal.SIGKILL)
            node.wait()
        node = start(tmp_path, port, there.address)
        try:
            eventually(lambda: len(acknowledged) == len(films), 240)
            eventually(lambda: len(there.objects) == 2 * len(films), 240)
            log = tmp_path / "spool" / "audit.jsonl"
            eventually(lambda: _sent(log).total() >= len(films), 60)
        finally:
            stop.set()
            thread.join()
            node.kill()
            node.wait()
        assert set(there.objects) == {f"{item.SOPInstanceUID}.{number}" for item in films for number in (1, 2)}
        # What was acknowledged just before a kill may have come again, with the same UIDs: an archive keeps one.
        assert there.objects.total() - len(there.objects) <= 2 * kills
    assert set(_sent(log).values()) == {1}
    assert [*(tmp_path / "spool" / "films").iterdir()] == [*(tmp_path / "spool" / "results").iterdir()] == []


@TAKES_MINUTES
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_500_films_by_16_associations(tmp_path: Path) -> None:
    port = free_port()
    films = [film(f"1.2.3.{number}", side=256) for number in range(500)]
    statuses: list[int | None] = []
    memory: list[int] = []
    log = tmp_path / "spool" / "audit.jsonl"
    with archive() as there:
        node = start(tmp_path, port, there.address)
        try:
            began = time.monotonic()
            threads = [
                threading.Thread(target=lambda mine: statuses.extend(send(port, *mine)), args=(films[first::16],))
                for first in range(16)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            received = time.monotonic() - began

            def done() -> bool:
                status = Path(f"/proc/{node.pid}/status").read_text()
                memory.append(int(status.partition("VmRSS:")[2].split()[0]) >> 10)
                return _sent(log).total() >= 500

            eventually(done, 400)
            print(f"received {500 / received:.0f} films/s, all sent {500 / (time.monotonic() - began):.1f} films/s")
            print(f"memory: {memory[0]} MiB after receiving, {memory[-1]} in the end, at most {max(memory)}")
        finally:
            node.kill()
            node.wait()
        assert statuses == [0x0000] * 500
        assert set(there.objects) == {f"{item.SOPInstanceUID}.{number}" for item in films for number in (1, 2)}
        # An association that ends without an answer is made again, with the same UIDs: an archive keeps one.
        assert there.objects.total() <= 1010
    assert set(_sent(log).values()) == {1}
    assert max(memory) < memory[0] + 64


def _sent(log: Path) -> Counter[str]:
    """How many lines each film that was sent has."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")] if log.is_file() else []
    return Counter(line["film"] for line in lines if line["outcome"] == "sent")
