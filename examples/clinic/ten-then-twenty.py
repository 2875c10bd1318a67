"""From films to a network and back, twice: what a researcher does in an afternoon, and how long the machine takes.

    python examples/clinic/ten-then-twenty.py FOLDER OUT                 # a dataset with images/ and masks/
    python examples/clinic/ten-then-twenty.py FOLDER OUT --steps 400     # shorter trainings

Ten films are suggested, drawn on the page, and trained on; the network predicts all films; the ten that it segments
worst are corrected, and it is trained again. There is nobody here to draw: the masks of FOLDER are sent to the page's
server, as a browser sends what somebody drew, so that the times are the machine's alone. Printed is a table of them, as
they passed and of the processors, and what each network reaches on the films that trained neither. More words are
passed to both trainings.
"""

from __future__ import annotations

import argparse
import json
import resource
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cxrkit
from cxrkit_clinic.server.masks import runs_of

CXRKIT = (sys.executable, "-m", "cxrkit")


class Times:
    """What was done, and the seconds that it took; those of processors are known of what has ended."""

    def __init__(self) -> None:
        print("| step | seconds | of a processor |\n| --- | ---: | ---: |", flush=True)

    def run(self, *words: object) -> None:
        """Run a command of cxrkit's."""
        with self.of(f"`cxrkit {' '.join(str(word) for word in words)}`"):
            subprocess.run([*CXRKIT, *(str(word) for word in words), "--quiet"], check=True, stdout=subprocess.DEVNULL)

    @contextmanager
    def of(self, step: str) -> Iterator[None]:
        """Measure a step."""
        began, before = time.monotonic(), _computed()
        yield
        took, computed = time.monotonic() - began, _computed() - before
        print(f"| {step} | {took:.1f} | {f'{computed:.1f}' if computed else '–'} |", flush=True)


def _computed() -> float:
    """Seconds of processors that the processes which have ended took."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def asked(address: str, change: dict[str, Any] | None = None) -> Any:
    """What the server answers, or makes of a mask."""
    content = None if change is None else json.dumps(change).encode()
    request = urllib.request.Request(address, content, {"Content-Type": "application/json"})
    request.method = "GET" if change is None else "PUT"
    with urllib.request.urlopen(request, timeout=300) as answer:
        return json.load(answer)


def annotate(times: Times, films: Path, dataset: Path, masks: Path, *more: object) -> None:
    """Open films on the page's server, and confirm masks that are there instead of drawing them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["annotate", films, "--out", dataset, *more]
    command = [*CXRKIT, *(str(word) for word in words), "--port", str(port), "--quiet"]
    address = f"http://127.0.0.1:{port}/v1/films"
    with times.of(f"`cxrkit {' '.join(str(word) for word in words)}`, until the page is there"):
        server = subprocess.Popen(command)
        while True:
            try:
                listed = asked(address)["films"]
                break
            except OSError:
                if server.poll() is not None:
                    raise SystemExit("cxrkit annotate ended") from None
                time.sleep(0.1)
    try:
        with times.of(f"the network's proposals for {len(listed)} films"):
            found = {film["id"]: asked(f"{address}/{film['id']}/masks") for film in listed}
        with times.of(f"saving the masks of {len(listed)} films, once each"):
            for film in listed:
                for structure in sorted(path.name for path in masks.iterdir()):
                    mask = cxrkit.read_mask(masks / structure / film["name"])
                    height, width = mask.shape
                    base = found[film["id"]]["states"].get(structure, {}).get("revision", 0)
                    about = {"state": "confirmed", "base": base, "who": "ten-then-twenty.py"}
                    change = {"runs": runs_of(mask), "height": height, "width": width, **about}
                    asked(f"{address}/{film['id']}/masks/{structure}", change)
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    """Go the way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    given, more = parser.parse_known_args()
    films, masks = given.folder / "images", given.folder / "masks"
    given.out.mkdir(parents=True)
    dataset, first, second, worst = (given.out / name for name in ("dataset", "first", "second", "worst"))
    all_train = ("--test-size", 0, "--validation", 0)
    trains = ("--preset", "small-data", "--unlabelled", films, "--size", 128, *all_train, *more)
    times = Times()
    times.run("suggest", films, "--count", 10, "--copy", "--out", given.out / "suggestions")
    annotate(times, given.out / "suggestions" / "images", dataset, masks)
    times.run("train", "--data", dataset, *trains, "--out", first)
    times.run("predict", films, "--weights", first, "--out", given.out / "predictions", "--no-quality")
    chosen = ("--by", "quality", "--labelled", dataset / "images", "--weights", first)
    times.run("suggest", films, "--count", 10, *chosen, "--copy", "--out", worst)
    annotate(times, worst / "images", dataset, masks, "--weights", first)
    times.run("train", "--data", dataset, *trains, "--out", second)
    done = subprocess.run(
        [*CXRKIT, "evaluate", str(first), str(second), "--data", str(given.folder), "--full-size"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    print("", done.stdout, done.stderr, sep="\n")


if __name__ == "__main__":
    main()
