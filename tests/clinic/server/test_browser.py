"""The page in a real browser, Debian's Chromium: what a user sees and does, with pointer and with keys alone."""

from __future__ import annotations

import csv
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import cxrkit
from cxrkit_clinic.server.guard import Limits
from cxrkit_clinic.server.masks import runs_of
from cxrkit_clinic.server.settings import Drawing
from tests.clinic.films import write
from tests.clinic.server.serving import box, change, client, film, listening

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright isn't installed")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium isn't installed (apt-get install chromium)")
SHAPE = (300, 240)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page whose console stays empty."""
    opened = browser.new_page(viewport={"width": 1280, "height": 800})
    opened.set_default_timeout(15_000)
    faults: list[str] = []
    opened.on("console", lambda message: faults.append(message.text))
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.expects = faults.clear
    yield opened
    opened.close()
    assert faults == []


@pytest.fixture
def films(tmp_path: Path) -> Path:
    folder = tmp_path / "films"
    film(folder / "b.png", shape=SHAPE)
    rows, columns = np.indices(SHAPE)
    write(folder / "a.dcm", (rows * 10 + columns * 3).astype(np.uint16), PixelSpacing=[0.5, 0.5])
    (folder / "<img src=x onerror=alert(1)>.png").write_text("no picture")
    return folder


@contextmanager
def served(page: Any, *what: Any, **more: Any) -> Iterator[tuple[Any, int]]:
    """A server and its port; the page leaves before it ends."""
    with client(*what, **more) as server, listening(server) as port:
        yield server, port
        page.goto("about:blank")


def opened(page: Any, port: int, name: str) -> None:
    page.goto(f"http://127.0.0.1:{port}/")
    page.locator(".film", has_text=name).click()
    page.locator("h1", has_text=name).wait_for()
    page.locator("#screen[aria-busy=false]").wait_for()


def stroke(page: Any, *places: tuple[float, float]) -> None:
    """Drag over the film, along places in [0, 1] of what is shown."""
    area = page.locator("#overlay").bounding_box()
    points = [(area["x"] + x * area["width"], area["y"] + y * area["height"]) for x, y in places]
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=4)
    page.mouse.up()


def grey(page: Any) -> float:
    """How bright the canvas is."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return float(cv2.imdecode(np.frombuffer(page.locator("#base").screenshot(), np.uint8), 0).mean())


def eventually(holds: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 15
    while not (found := holds()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def test_looking_at_films(page: Any, films: Path, tmp_path: Path) -> None:
    with served(page, films) as (_, port):
        opened(page, port, "a.dcm")
        assert "Not a medical device" in page.locator("header").inner_text()
        assert "mm" in page.locator("#measures").inner_text()
        # The levels of grey, by dragging and by keys.
        before = grey(page)
        stroke(page, (0.3, 0.3), (0.3, 0.6))
        dragged = grey(page)
        page.keyboard.press("i")
        inverted = grey(page)
        assert abs(before - dragged) > 5
        assert abs(dragged - inverted) > 5
        # The table: all films, sorted, filtered, saved; the one that can't be read with the reason.
        page.locator("#all").click()
        page.locator("#all:enabled").wait_for()
        page.get_by_role("button", name="CTR").click()
        assert page.locator("th[aria-sort=ascending]").inner_text() == "CTR"
        names = page.locator(".film").all_inner_texts()
        assert names[2] == "<img src=x onerror=alert(1)>.png"
        with page.expect_download() as download:
            page.locator("#csv").click()
        download.value.save_as(tmp_path / "films.csv")
        table = list(csv.DictReader((tmp_path / "films.csv").open(newline="")))
        assert [line["film"] for line in table] == names
        assert float(table[0]["cardiothoracic_ratio"]) > 0
        assert "onerror=alert(1)>.png: " in table[2]["error"]
        page.locator("#filter").select_option("warnings")
        page.locator("h1").click()
        page.keyboard.press("n")
        page.locator("h1", has_text="<img src=x").wait_for()
        page.locator("#warnings", has_text="onerror=alert(1)>.png: ").wait_for()
        # A film of one's own, and a phone.
        page.locator("#files").set_input_files(films / "b.png")
        page.locator("h1", has_text="b.png").wait_for()
        page.locator("#screen[aria-busy=false]").wait_for()
        page.set_viewport_size({"width": 360, "height": 740})
        widths = page.evaluate("() => [document.documentElement.scrollWidth, innerWidth]")
        assert widths[0] <= widths[1]


def test_drawing_undoing_and_coming_back(page: Any, films: Path, tmp_path: Path) -> None:
    file = tmp_path / "data/masks/heart/b.png"
    with served(page, films, Drawing(tmp_path / "data", None, propose=True)) as (server, port):
        opened(page, port, "b.png")
        page.locator("#structures button", has_text="heart").click()
        stroke(page, (0.45, 0.1), (0.55, 0.1))
        eventually(file.is_file)
        page.locator("#saved.saved").wait_for()
        drawn = cxrkit.read_mask(file)
        assert drawn[:60].sum() > 100
        assert (tmp_path / "data/masks/left_lung/b.png").is_file()  # as it was proposed
        page.keyboard.press("Control+z")
        eventually(lambda: cxrkit.read_mask(file)[:60].sum() == 0)
        page.keyboard.press("Control+Shift+z")
        eventually(lambda: (cxrkit.read_mask(file) == drawn).all())
        # By keys alone: erase a line through the heart.
        page.locator("#overlay").focus()
        page.keyboard.press("e")
        for key in (" ", *["Shift+ArrowDown"] * 4, " "):
            page.keyboard.press(key)
        eventually(lambda: cxrkit.read_mask(file).sum() < drawn.sum())
        erased = cxrkit.read_mask(file)
        # A server that is away: the stroke stays in the browser, through a reload.
        page.route("**/masks/*", lambda route: route.abort() if route.request.method == "PUT" else route.fallback())
        page.keyboard.press("b")
        stroke(page, (0.45, 0.95), (0.55, 0.95))
        page.locator("#saved.problem").wait_for()
        page.reload()
        page.locator("#saved.problem").wait_for()
        assert (cxrkit.read_mask(file) == erased).all()
        page.unroute_all()
        eventually(lambda: cxrkit.read_mask(file)[240:].sum() > 100)
        page.locator("#saved.saved").wait_for()
        page.expects()  # the console has noted what failed
        # Somebody else saves the mask in between.
        (id,) = (one["id"] for one in server.get("/v1/films").json()["films"] if one["name"] == "b.png")
        base = server.get(f"/v1/films/{id}/masks").json()["states"]["heart"]["revision"]
        opened(page, port, "b.png")
        page.locator("#structures button", has_text="heart").click()
        server.put(f"/v1/films/{id}/masks/heart", json=change(box(shape=SHAPE), base, who="John"))
        stroke(page, (0.45, 0.05), (0.55, 0.05))
        page.locator("#conflict[open]", has_text="John").wait_for()
        page.locator("#conflict button[value=mine]").click()
        eventually(lambda: cxrkit.read_mask(file)[:40].sum() > 100)
        page.locator("#saved.saved").wait_for()
        page.expects()
        # Confirmed, and on to the next.
        page.keyboard.press("c")
        eventually(lambda: "b.png" in (tmp_path / "data/manifest.csv").read_text())
        page.locator("#saved.saved").wait_for()
        assert page.evaluate("() => Object.keys(localStorage).filter((key) => key.startsWith('cxrkit:')).length") == 0


def test_no_key_or_escape_costs_a_mask(page: Any, films: Path, tmp_path: Path) -> None:
    """What is pressed while the next film loads, or where a dialog asks, is nobody's mask and no decision."""
    data = tmp_path / "data"
    held: list[Any] = []
    with served(page, films, Drawing(data, None, propose=True)) as (server, port):
        ids = {one["name"]: one["id"] for one in server.get("/v1/films").json()["films"]}
        page.route(f"**/{ids['b.png']}/picture", lambda route: held.append(route))
        opened(page, port, "a.dcm")
        page.keyboard.press("c")
        page.locator("h1", has_text="b.png").wait_for()
        page.keyboard.press("c")
        held.pop().fallback()
        page.locator("#screen[aria-busy=false]").wait_for()
        page.locator("#saved.saved").wait_for()
        assert [line["id"] for line in csv.DictReader((data / "manifest.csv").open())] == ["a"]
        assert not (data / "masks/heart/b.png").exists()
        # A stroke that isn't lifted before the next film is asked for.
        page.locator("#structures button", has_text="heart").click()
        area = page.locator("#overlay").bounding_box()
        page.mouse.move(area["x"] + 0.45 * area["width"], area["y"] + 0.1 * area["height"])
        page.mouse.down()
        page.mouse.move(area["x"] + 0.55 * area["width"], area["y"] + 0.1 * area["height"], steps=4)
        page.keyboard.press("p")
        page.mouse.up()
        eventually(lambda: (data / "masks/heart/b.png").is_file())
        page.locator("h1", has_text="a.dcm").wait_for()
        page.locator("#screen[aria-busy=false]").wait_for()
        # What somebody else saves of another mask isn't overwritten by those who don't see it.
        page.locator("#saved.saved").wait_for()
        base = server.get(f"/v1/films/{ids['a.dcm']}/masks").json()["states"]["left_lung"]["revision"]
        server.put(f"/v1/films/{ids['a.dcm']}/masks/left_lung", json=change(box(shape=SHAPE), base, who="John"))
        with page.expect_response("**/measures"):
            stroke(page, (0.45, 0.1), (0.55, 0.1))
        page.locator("#structures button", has_text="left lung").click()
        stroke(page, (0.45, 0.1), (0.55, 0.1))
        page.locator("#conflict[open]", has_text="John").wait_for()
        page.keyboard.press("Escape")
        page.keyboard.press("Escape")
        page.locator("#conflict[open]", has_text="John").wait_for()
        page.locator("#conflict button[value=mine]").click()
        page.locator("#saved.saved").wait_for()
        assert cxrkit.read_mask(data / "masks/left_lung/a.png")[:60].sum() > 100
        page.expects()


def test_what_cannot_be_saved_keeps_nothing_else_waiting(page: Any, films: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with served(page, films, Drawing(data, None, propose=True)) as (server, port):
        (id,) = (one["id"] for one in server.get("/v1/films").json()["films"] if one["name"] == "a.dcm")
        opened(page, port, "b.png")
        (films / "b.png").rename(tmp_path / "b.png")
        page.locator("#structures button", has_text="heart").click()
        stroke(page, (0.45, 0.1), (0.55, 0.1))
        page.locator("#saved.problem").wait_for()
        page.locator(".film", has_text="a.dcm").click()
        page.locator("h1", has_text="a.dcm").wait_for()
        page.locator("#screen[aria-busy=false]").wait_for()
        # Nor is the answer's way back needed: who draws on is not told that somebody else has drawn.
        page.route(f"**/{id}/masks/heart", lambda route: (route.fetch(), route.abort()))
        file = data / "masks/heart/a.png"
        with page.expect_event("requestfailed"):
            stroke(page, (0.45, 0.1), (0.55, 0.1))
        assert file.is_file()
        stroke(page, (0.45, 0.9), (0.55, 0.9))
        page.unroute_all()
        page.evaluate("dispatchEvent(new Event('online'))")
        eventually(lambda: cxrkit.read_mask(file)[250:].sum() > 100)
        assert not page.locator("#conflict").is_visible()
        (tmp_path / "b.png").rename(films / "b.png")
        page.evaluate("dispatchEvent(new Event('online'))")
        eventually(lambda: (data / "masks/heart/b.png").is_file())
        page.locator("#saved.saved").wait_for()
        page.expects()


def test_odd_films_and_messages_keep_the_page_in_order(page: Any, tmp_path: Path) -> None:
    rows, columns = np.indices((150, 240))
    name = "a-film-with-a-name-that-is-longer-than-any-column-of-a-table-is-wide"
    write(tmp_path / f"films/{name}.dcm", (rows * 10 + columns * 3).astype(np.uint16), PixelSpacing=[1.0, 0.5])
    file = tmp_path / f"data/masks/heart/{name}.png"
    with served(page, tmp_path / "films", Drawing(tmp_path / "data", None, propose=False)) as (_, port):
        opened(page, port, name)
        # All of the name is seen, also beside the column of estimates.
        page.evaluate("document.querySelector('table').classList.add('judged')")
        shown = page.locator(".film span")
        assert shown.evaluate("(one) => one.scrollHeight <= one.clientHeight && one.scrollWidth <= one.clientWidth")
        # Pixels that are twice as high as they are wide: a round brush covers half as many rows as columns.
        before = page.locator("#screen").bounding_box()
        page.locator("#structures button", has_text="heart").click()
        page.route("**/masks/heart", lambda route: route.abort())
        stroke(page, (0.5, 0.5), (0.5, 0.501))
        page.locator("#unsaved", has_text="Kept in this browser").wait_for()
        assert page.locator("#screen").bounding_box() == before
        page.unroute_all()
        eventually(file.is_file)
        page.locator("#saved.saved").wait_for()
        drawn = np.nonzero(cxrkit.read_mask(file))
        height, width = (int(np.ptp(places)) + 1 for places in drawn)
        assert 1.7 < width / height < 2.4
        assert abs(drawn[0].mean() - 75) < 3
        assert abs(drawn[1].mean() - 120) < 3
        page.expects()


def test_a_token_is_asked_for(page: Any, films: Path) -> None:
    with served(page, films, limits=Limits("a-token-of-20-letters")) as (_, port):
        page.goto(f"http://127.0.0.1:{port}/")
        page.locator("#token").fill("a-token-of-20-letters")
        page.keyboard.press("Enter")
        page.locator(".film", has_text="a.dcm").wait_for()
        page.expects()
        page.goto(f"http://127.0.0.1:{port}/docs")
        page.get_by_text("POST /v1/segment").wait_for()


def test_polygons_holes_and_smooth_outlines(page: Any, films: Path) -> None:
    """The tools' functions on a mask of 20 × 30 pixels, beside another structure that must stay."""
    other = np.random.default_rng(0).random((20, 30)) < 0.5
    script = """async (runs) => {
      const masks = await import("/static/masks.js");
      const bits = masks.emptyBits(600, 2);
      masks.decodeRuns(runs, bits, 1);
      const count = () => bits.reduce((sum, value) => sum + (value & 1), 0);
      const found = {};
      masks.paintPolygon(bits, 30, 20, 0, [[4, 3], [14, 3], [14, 15], [4, 15]], true);
      found.square = count();
      masks.paintPolygon(bits, 30, 20, 0, [[7, 6], [10, 6], [10, 9], [7, 9]], false);
      found.ring = count();
      found.open = masks.fillHole(bits, 30, 20, 0, 20, 10);
      found.still = count();
      found.hole = masks.fillHole(bits, 30, 20, 0, 8, 7);
      found.filled = count();
      masks.paintPolygon(bits, 30, 20, 0, [[14, 8], [24, 8], [24, 9], [14, 9]], true);
      const before = bits.slice();
      const box = masks.smooth(bits, 30, 20, 0, 2);
      found.spur = bits.slice(8 * 30 + 17, 8 * 30 + 24).some((value) => value & 1);
      found.smoothed = count();
      masks.paste(bits, 30, box, masks.cut(before, 30, box), 0);
      found.undone = bits.every((value, index) => value === before[index]);
      found.runs = masks.encodeRuns(bits, 1);
      return found;
    }"""
    with served(page, films) as (_, port):
        page.goto(f"http://127.0.0.1:{port}/docs")
        found = page.evaluate(script, runs_of(other))
    assert (found["square"], found["ring"], found["open"], found["still"]) == (120, 111, None, 111)
    assert (found["hole"], found["filled"]) == ([7, 6, 10, 9], 120)
    assert not found["spur"]
    assert 105 < found["smoothed"] <= 120
    assert found["undone"]
    assert found["runs"] == runs_of(other)
