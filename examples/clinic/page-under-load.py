"""`cxrkit serve` under load: many clients that send small films, and what they get.

    python examples/clinic/page-under-load.py [--films 200] [--clients 16]

It starts the server on a free port of this machine, sends synthetic films side by side, and sends a film again where
the server says that too many wait. Printed are the time per film, the films that were sent again, and the memory of all
processes of the server, early and late. Exit code 1 where an answer is missing, or isn't that of the film.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from queue import Empty, SimpleQueue

import cv2
import numpy as np

from cxrkit_plugins.datasets.phantom import PhantomDataset


def films(count: int) -> list[bytes]:
    """Synthetic radiographs of 256 × 256 pixels as PNG, no two alike."""
    dataset = PhantomDataset(None, size=256)
    made = [dataset.read(dataset.entries()[number]).image.astype(np.float32) for number in range(8)]
    noise = np.random.default_rng(0)
    pictures = []
    for number in range(count):
        pixels = made[number % 8] + noise.normal(0, 0.01 * np.ptp(made[0]), (256, 256))
        pixels = 255 * (pixels - pixels.min()) / np.ptp(pixels)
        pictures.append(cv2.imencode(".png", pixels.astype(np.uint8))[1].tobytes())
    return pictures


def memory(process: int) -> float:
    """Megabytes of a process and its children; what they share is counted once."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    kilobytes = 0
    for number in (str(process), *children):
        found = re.search(r"^Pss: *(\d+)", Path(f"/proc/{number}/smaps_rollup").read_text(), re.MULTILINE)
        kilobytes += int(found[1]) if found else 0
    return kilobytes / 1000


def send(address: str, film: bytes) -> str:
    """Send a film; the checksum in the answer.

    Raises:
        urllib.error.HTTPError: it is refused.
    """
    head = b'--film\r\nContent-Disposition: form-data; name="film"; filename="film.png"\r\n\r\n'
    body = head + film + b"\r\n--film--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=film"}
    with urllib.request.urlopen(urllib.request.Request(address, body, kind), timeout=120) as answer:
        (row,) = json.load(answer)["films"]
    return str(row["sha256"])


def main() -> int:
    """Start the server, load it, and count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=200)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--queue", type=int, default=64, help="as of cxrkit serve")
    chosen = parser.parse_args()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "cxrkit", "serve", "--port", f"{port}", "--queue", f"{chosen.queue}"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    for line in server.stderr:
        if "is the page" in line:
            break
    waiting: SimpleQueue[bytes] = SimpleQueue()
    for film in films(chosen.films):
        waiting.put(film)
    answers: list[tuple[str, str]] = []
    seconds: list[float] = []
    again = 0
    sizes: list[float] = []

    def client() -> None:
        nonlocal again
        while True:
            try:
                film = waiting.get_nowait()
            except Empty:
                return
            while True:
                began = time.monotonic()
                try:
                    found = send(f"http://127.0.0.1:{port}/v1/segment", film)
                except urllib.error.HTTPError as error:
                    if error.code != 429:
                        raise
                    again += 1
                    time.sleep(float(error.headers["Retry-After"]))
                    continue
                seconds.append(time.monotonic() - began)
                answers.append((hashlib.sha256(film).hexdigest(), found))
                if len(answers) % max(1, chosen.films // 10) == 0:
                    sizes.append(memory(server.pid))
                break

    try:
        began = time.monotonic()
        threads = [threading.Thread(target=client) for _ in range(chosen.clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        whole = time.monotonic() - began
    finally:
        server.terminate()
        server.wait(20)
    right = sum(sent == found for sent, found in answers)
    distinct = len({found for _, found in answers})
    p95 = statistics.quantiles(seconds, n=20)[-1]
    print(f"{chosen.films} films by {chosen.clients} clients in {whole:.0f} s")
    print(f"answers that are the film's: {right}, distinct: {distinct}")
    print(f"seconds per film: median {statistics.median(seconds):.2f}, p95 {p95:.2f}; refused and sent again: {again}")
    early, late, most = sizes[0], sizes[-1], max(sizes)
    print(f"memory of the server: {early:.0f} MB after a tenth, {late:.0f} MB at the end, {most:.0f} MB at most")
    return 0 if right == distinct == chosen.films else 1


if __name__ == "__main__":
    raise SystemExit(main())
