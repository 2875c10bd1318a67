"""Films that programs send, and films of a folder."""

from __future__ import annotations

import errno
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from prometheus_client.parser import text_string_to_metric_families

import cxrkit
from cxrkit_clinic.server import routes
from cxrkit_clinic.server.masks import mask_of, runs_of
from tests.clinic.films import write
from tests.clinic.server.serving import SHAPE, Segmenter, client, film, post


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    with client() as opened:
        yield opened


def test_the_answer_is_what_predict_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxrkit.inference.load", lambda *_, **__: Segmenter())
    path = film(tmp_path / "one.png")
    predictions = cxrkit.predict([path], None, tmp_path / "out", writers=["masks"], workers=1)
    printed = json.loads(json.dumps(predictions.as_json()))
    with client() as server:
        answer = post(server, path)
    assert answer.status_code == 200
    answered = answer.json()
    assert answered.keys() == printed.keys()
    # Where files lie, and what a next call compares, says nothing to somebody who sent a film.
    local = dict.fromkeys(("film", "folder", "name", "path", "made_with", "files"))
    assert answered["films"][0] | local == printed["films"][0] | local
    assert answered["films"][0]["film"] == "one.png"
    assert answered["weights"] == printed["weights"] | {
        "file": "known.safetensors",
        "members": [printed["weights"]["members"][0] | {"file": "one.safetensors"}],
    }


def test_files_of_writers_come_as_a_zip_or_one_by_one(server: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "film.dcm")
    answer = post(server, path, "/v1/segment?write=masks&write=dicom-sc")
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert sorted(archive.namelist()) == ["heart.png", "left_lung.png", "predictions.json", "right_lung.png", "sc.dcm"]
    (row,) = json.loads(archive.read("predictions.json"))["films"]
    assert sorted(row["files"]) == sorted(set(archive.namelist()) - {"predictions.json"})
    assert row["sop_uid"] == "1.2.3.4.5.6"
    mask = post(server, path, "/v1/segment?write=masks&file=heart.png")
    assert mask.headers["content-type"] == "image/png"
    assert cv2.imdecode(np.frombuffer(mask.content, np.uint8), 0).sum() / 255 == row["areas"]["heart"]
    absent = post(server, path, "/v1/segment?write=masks&file=../heart.png")
    assert absent.status_code == 404
    assert "heart.png, " in absent.json()["remedy"] or "heart.png" in absent.json()["remedy"]


def test_nothing_of_a_film_is_kept(server: Any, tmp_path: Path) -> None:
    post(server, film(tmp_path / "one.png"))
    post(server, tmp_path / "one.png", "/v1/picture")
    assert list(server.service.workplace.iterdir()) == []
    assert server.service.pool.taken == 0


def test_a_picture_keeps_its_16_bits(server: Any, tmp_path: Path) -> None:
    path = film(tmp_path / "deep.png", 4095, depth=np.uint16)
    content = post(server, path, "/v1/picture").content
    (length,) = struct.unpack_from("<I", content)
    about = json.loads(content[4 : 4 + length])
    assert (about["height"], about["width"], about["bits"]) == (*SHAPE, 16)
    pixels = np.frombuffer(content[4 + length :], "<u2").reshape(SHAPE)
    np.testing.assert_array_equal(pixels, cxrkit.read_film(path).pixels)


@given(arrays(bool, st.tuples(st.integers(1, 7), st.integers(1, 7))))
def test_runs_are_the_mask(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(mask_of(runs_of(mask), mask.shape), mask)


def test_runs_that_do_not_fill_the_film_are_refused() -> None:
    for runs in ([1, 2], [-1, 13], [12, 2**70], [6, 7]):
        with pytest.raises(cxrkit.DataError, match="don't fill"):
            mask_of(runs, (3, 4))


def bomb(path: Path) -> Path:
    """A PNG of 19,000 × 5,000 pixels in a few kilobytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 19_000, 5_000, 8, 0, 0, 0, 0)
    packed = zlib.compress(bytes(5_000 * 19_001), 1)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b""))
    return path


def test_films_that_cannot_be_used_say_why_and_the_server_goes_on(server: Any, tmp_path: Path) -> None:
    text = tmp_path / "notes.png"
    text.write_text("no picture")
    huge = film(tmp_path / "huge.png", shape=(1001, 1000))
    empty = tmp_path / "empty.png"
    empty.touch()
    for path, word in (
        (text, "notes.png"),
        (huge, "max-pixels"),
        (bomb(tmp_path / "bomb.png"), "max-pixels"),
        (empty, "empty"),
    ):
        answer = post(server, path)
        (failure,) = answer.json()["failures"]
        assert answer.status_code == 422
        assert word in failure["what"] + failure["remedy"]
        assert str(server.service.workplace) not in answer.text
    assert post(server, film(tmp_path / "one.png")).status_code == 200


def test_a_full_disk_under_an_upload_is_said(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(routes, "_copy", full)
        answer = post(server, film(tmp_path / "film.png"))
    assert answer.status_code == 507
    assert "No space left" in answer.json()["what"]
    assert post(server, film(tmp_path / "film.png")).status_code == 200


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("/", "film"),
        ("<script>alert(1)</script>.png", "script>.png"),
        ("a\u202egnp.png", "a\\u202egnp.png"),
        ("x" * 3000 + ".png", "x" * 200),
    ],
)
def test_a_name_is_only_ever_shown(server: Any, tmp_path: Path, name: str, shown: str) -> None:
    before = sorted(tmp_path.parent.iterdir())
    answer = post(server, film(tmp_path / "one.png"), name=name)
    assert answer.json()["films"][0]["film"] == shown
    assert answer.headers["content-type"] == "application/json"
    assert sorted(tmp_path.parent.iterdir()) == before


def test_requests_without_one_film_are_refused(server: Any, tmp_path: Path) -> None:
    content = film(tmp_path / "one.png").read_bytes()
    several = [("film", ("a.png", content)), ("film", ("b.png", content))]
    for status, sent in (
        (415, {"content": content, "headers": {"Content-Type": "image/png"}}),
        (415, {"content": b""}),
        (415, {"files": {"picture": ("a.png", content)}}),
        (400, {"files": several}),
        (415, {"content": b"--x\r\nbroken", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}),
        (400, {"content": b"nothing", "headers": {"Content-Type": "multipart/form-data"}}),
    ):
        answer = server.post("/v1/segment", **sent)
        assert answer.status_code == status, answer.text
        assert answer.json()["what"]
    unknown = post(server, tmp_path / "one.png", "/v1/segment?write=mask")
    assert unknown.status_code == 422
    assert "masks" in unknown.json()["remedy"]


def test_a_film_that_ends_or_stops_its_process_is_the_only_one_that_fails(tmp_path: Path) -> None:
    with client(timeout=1.0) as server:
        for first, how in ((251, "SIGKILL"), (252, "not finished after 1 s")):
            answer = post(server, film(tmp_path / f"{first}.png", first))
            assert answer.status_code == 422
            assert how in answer.json()["failures"][0]["what"]
            assert post(server, film(tmp_path / "good.png")).status_code == 200


def test_a_folder_lists_its_films_and_their_faults(tmp_path: Path) -> None:
    films = tmp_path / "films"
    film(films / "b/two.png")
    film(films / "one.png")
    (films / "broken.png").write_text("no picture")
    with client(films) as server:
        listed = {item["name"]: item["id"] for item in server.get("/v1/films").json()["films"]}
        assert list(listed) == ["b/two.png", "broken.png", "one.png"]
        masks = server.get(f"/v1/films/{listed['b/two.png']}/masks").json()
        expected = Segmenter()(cxrkit.read_film(films / "b/two.png")).masks
        for name, runs in masks["masks"].items():
            np.testing.assert_array_equal(mask_of(runs, SHAPE), expected[name])
        broken = server.get(f"/v1/films/{listed['broken.png']}/masks").json()
        assert "broken.png" in broken["failures"][0]["what"]
        film(films / "new.png")
        server.service.folder._listed = 0.0
        assert "new.png" in [item["name"] for item in server.get("/v1/films").json()["films"]]
        for id in ("0" * 16, "..%2F..%2Fone.png", "one.png"):
            assert server.get(f"/v1/films/{id}/masks").status_code == 404


def test_metrics_count_films_and_requests(tmp_path: Path) -> None:
    with client() as server:
        post(server, film(tmp_path / "one.png"))
        post(server, tmp_path / "one.png", "/v1/picture")
        server.get("/anything/made/up")
        families = text_string_to_metric_families(server.get("/metrics").text)
        samples = {(s.name, *sorted(s.labels.items())): s.value for family in families for s in family.samples}
    assert samples["cxrkit_films_total", ("outcome", "segmented")] == 1
    assert samples["cxrkit_films_waiting",] == 0
    assert not [key for key in samples if "made" in str(key)]
    assert samples["process_resident_memory_bytes",] > 1e6
