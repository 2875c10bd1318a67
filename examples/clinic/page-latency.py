"""How long the page of `cxrkit annotate` takes to show a large film, and a stroke on it.

    python examples/clinic/page-latency.py                        # a synthetic film, 2,500 × 3,000 pixels of 16 bits
    python examples/clinic/page-latency.py --films FOLDER --pictures DIR     # pictures of the page instead

It needs Debian's `chromium` and `pip install playwright`. The page itself measures: from the film being chosen until it
is drawn, and from each movement of the pointer until the stroke is drawn.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from playwright.sync_api import sync_playwright

from cxrkit_plugins.datasets.phantom import PhantomDataset

_SIZES = {"desk": (1280, 800), "large": (1600, 1000), "phone": (390, 844)}


def synthetic(folder: Path) -> Path:
    """Two large films in a folder."""
    dataset = PhantomDataset(None, size=512)
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0)
    for number, entry in enumerate(dataset.entries()[:2]):
        pixels = cv2.resize(dataset.read(entry).image.astype(np.float32), (2500, 3000), interpolation=cv2.INTER_CUBIC)
        pixels = (pixels - pixels.min()) / np.ptp(pixels) * 60_000 + noise.normal(0, 300, pixels.shape)
        cv2.imwrite(str(folder / f"film-{number + 1}.png"), np.clip(pixels, 0, 65_535).astype(np.uint16))
    return folder


@contextmanager
def annotating(films: Path, data: Path) -> Iterator[str]:
    """The address of a server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "cxrkit", "annotate", films, "--out", data, "--port", address.rpartition(":")[2]]
    server = subprocess.Popen([str(word) for word in (*command, "--quiet")])
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{address}/healthz", timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        yield address
    finally:
        server.terminate()
        server.wait()


def seen(page: Any, what: str) -> list[float]:
    """What the page measured, milliseconds."""
    found = page.evaluate(f"performance.getEntriesByName('{what}').map((one) => one.duration)")
    return [float(one) for one in found]


def draw(page: Any, strokes: int, moves: int) -> None:
    """Strokes to and fro, as a hand draws them."""
    area = page.locator("#overlay").bounding_box()
    for stroke in range(strokes):
        height = area["y"] + area["height"] * (0.3 + 0.4 * stroke / strokes)
        page.mouse.move(area["x"] + 0.3 * area["width"], height)
        page.mouse.down()
        for move in range(moves):
            page.mouse.move(area["x"] + (0.3 + 0.4 * move / moves) * area["width"], height + 10 * (move % 2))
            page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        page.mouse.up()


def main() -> None:
    """Measure, and take pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=Path)
    parser.add_argument("--pictures", type=Path, help="a folder for pictures of the page")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        films = asked.films or synthetic(Path(place) / "films")
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        with annotating(films, Path(place) / "data") as address:
            page = browser.new_page(viewport=dict(zip(("width", "height"), _SIZES["desk"], strict=True)))
            page.set_default_timeout(120_000)
            page.goto(address)
            page.locator("#screen[aria-busy=false]").wait_for()
            page.locator("#confirm:enabled").wait_for()
            if asked.pictures is not None:
                pictures(page, asked.pictures)
            else:
                page.locator("#structures button").last.click()
                draw(page, 6, 30)
                page.locator("#saved.saved").wait_for()
                shown, strokes = seen(page, "picture"), seen(page, "stroke")
                print(f"The first picture was there after {shown[0] / 1000:.1f} s.")
                middle = statistics.median(strokes)
                print(
                    f"A stroke was drawn after {middle:.0f} ms (median of {len(strokes)}; most {max(strokes):.0f} ms)."
                )
        browser.close()


def pictures(page: Any, folder: Path) -> None:
    """The first film corrected, on desks and a phone, light and dark; and the last, when the others are confirmed."""
    folder.mkdir(parents=True, exist_ok=True)
    page.locator("#who").fill("Jane")
    page.locator("#structures button").last.click()
    area = page.locator("#overlay").bounding_box()
    page.mouse.move(area["x"] + 0.42 * area["width"], area["y"] + 0.62 * area["height"])
    page.mouse.down()
    page.mouse.move(area["x"] + 0.45 * area["width"], area["y"] + 0.68 * area["height"], steps=5)
    page.mouse.up()
    page.locator("#saved.saved").wait_for()
    page.locator("#structures .corrected").wait_for()
    page.wait_for_timeout(3000)
    for light in ("dark", "light"):
        page.emulate_media(color_scheme=light)
        for name, (width, height) in reversed(_SIZES.items()):
            page.set_viewport_size({"width": width, "height": height})
            page.wait_for_timeout(500)
            page.screenshot(path=folder / f"{name}-{light}.png", full_page=name == "phone")
    last = page.locator(".film").last
    while last.get_attribute("aria-current") is None:
        name = page.locator("h1").inner_text()
        page.keyboard.press("c")
        page.wait_for_function("(name) => document.querySelector('h1').textContent !== name", arg=name)
        page.locator("#screen[aria-busy=false]").wait_for()
        page.locator("#confirm:enabled").wait_for()
    page.locator("#saved.saved").wait_for()
    page.wait_for_timeout(3000)
    page.screenshot(path=folder / "table.png")


if __name__ == "__main__":
    main()
