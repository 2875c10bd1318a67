"""Masks that are corrected on the page, and the dataset that they become."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import cxrkit
from cxrkit.plugins import registry
from cxrkit_clinic.server import dataset
from cxrkit_clinic.server.dataset import Drawings
from cxrkit_clinic.server.patients import patient_of
from cxrkit_clinic.server.settings import Drawing
from tests.clinic.films import write
from tests.clinic.server.serving import SHAPE, STRUCTURES, Segmenter, box, change, client, film


@pytest.fixture
def films(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        film(tmp_path / "films" / f"{name}.png", first=ord(name))
    return tmp_path / "films"


def drawing(root: Path, *, propose: bool = True, structures: tuple[str, ...] | None = None) -> Drawing:
    return Drawing(root / "data", structures, propose)


def ids(server: Any) -> dict[str, str]:
    return {item["name"]: item["id"] for item in server.get("/v1/films").json()["films"]}


def save(
    server: Any, id: str, structure: str, mask: np.ndarray, base: int = 0, state: str = "corrected", **more: Any
) -> Any:
    return server.put(f"/v1/films/{id}/masks/{structure}", json=change(mask, base, state, **more))


def confirm(server: Any, id: str) -> None:
    states = server.get(f"/v1/films/{id}/masks").json()["states"]
    for index, name in enumerate(STRUCTURES):
        base = states.get(name, {}).get("revision", 0)
        answer = save(server, id, name, box(left=5 + 12 * index, right=15 + 12 * index), base, "confirmed")
        assert answer.status_code == 200, answer.text


def folder_dataset(root: Path, **parameters: Any) -> Any:
    return registry().get("dataset", "folder").build(root, **parameters)


def test_each_stroke_is_a_dataset_that_trains_on_what_is_confirmed(tmp_path: Path, films: Path) -> None:
    data = tmp_path / "data"
    with client(films, drawing(tmp_path)) as server:
        listed = ids(server)
        answer = save(server, listed["a.png"], "heart", box())
        assert answer.json()["revision"] == 1
        assert (data / "images/a.png").read_bytes() == (films / "a.png").read_bytes()
        np.testing.assert_array_equal(cxrkit.read_mask(data / "masks/heart/a.png"), box())
        assert not (data / "images/b.png").exists()
        with pytest.raises(cxrkit.DataError, match="lists no films"):
            folder_dataset(data)
        (entry,) = folder_dataset(data, manifest="drawn.csv").entries()
        assert entry.lacking == ("left_lung", "right_lung")
        confirm(server, listed["b.png"])
        reads = folder_dataset(data)
        assert [entry.id for entry in reads.entries()] == ["b"]
        assert sorted(reads.read(reads.entries()[0]).masks) == sorted(STRUCTURES)
        # One more stroke, and the film has to be confirmed again.
        save(server, listed["b.png"], "heart", box(), base=1)
        assert "b.png" not in (data / "manifest.csv").read_text()
    lines = [json.loads(line) for line in (data / "journal.jsonl").read_text().splitlines()]
    strokes = [line for line in lines if "structure" in line]
    assert [(line["film"], line["state"], line["who"]) for line in strokes] == [
        ("a", "corrected", "Jane"),
        *[("b", "confirmed", "Jane")] * 3,
        ("b", "corrected", "Jane"),
    ]


def test_masks_begin_with_the_network_or_empty_and_stay_as_they_were_drawn(tmp_path: Path, films: Path) -> None:
    found = Segmenter()(cxrkit.read_film(films / "a.png")).masks
    for propose in (True, False):
        with client(films, drawing(tmp_path / str(propose), propose=propose)) as server:
            id = ids(server)["a.png"]
            save(server, id, "heart", box())
            answer = server.get(f"/v1/films/{id}/masks").json()
            drawn = [sum(runs[1::2]) for runs in answer["masks"].values()]
            expected = [int(found[name].sum()) * propose for name in STRUCTURES[:2]]
            assert drawn == [*expected, int(box().sum())]
            row = server.get(f"/v1/films/{id}/measures").json()["films"][0]
            assert row["areas"]["heart"] == box().sum()
            assert row["cardiothoracic_ratio"] is None  # the lungs aren't saved yet
            confirm(server, id)
            row = server.get(f"/v1/films/{id}/measures").json()["films"][0]
            assert row["extents"]["heart"]["left"] == 29


def test_the_second_of_two_people_is_warned(tmp_path: Path, films: Path) -> None:
    with client(films, drawing(tmp_path)) as server:
        id = ids(server)["a.png"]
        here = {"session": "12345678", "who": "Jane"}
        assert server.post(f"/v1/films/{id}/presence", json=here).json() == {"others": []}
        assert server.post(f"/v1/films/{id}/presence", json={"session": "abcdefgh"}).json() == {"others": ["Jane"]}
        save(server, id, "heart", box(), who="Jane")
        second = save(server, id, "heart", box(left=12), who="John")
        assert second.status_code == 409
        assert second.json()["current"]["who"] == "Jane"
        np.testing.assert_array_equal(cxrkit.read_mask(tmp_path / "data/masks/heart/a.png"), box())
        # Jane's answer was lost, and she sends the same again: no conflict, and no second revision.
        assert save(server, id, "heart", box()).json()["revision"] == 1
        assert save(server, id, "heart", box(left=12), base=1, who="John").json()["revision"] == 2


def test_a_full_disk_loses_nothing(tmp_path: Path, films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with client(films, drawing(tmp_path)) as server:
        id = ids(server)["a.png"]
        save(server, id, "heart", box())
        real = dataset.write_bytes
        for full in ("a.png", "manifest.csv", "drawn.csv"):

            def write_bytes(path: Path, content: bytes, full: str = full) -> None:
                if path.name == full:
                    raise dataset.StorageError(f"{path}: the disk is full.", "")
                real(path, content)

            base = server.get(f"/v1/films/{id}/masks").json()["states"]["heart"]["revision"]
            mask = box(left=2 + base)
            state = "confirmed" if full == "manifest.csv" else "corrected"
            with monkeypatch.context() as patch:
                patch.setattr(dataset, "write_bytes", write_bytes)
                first = save(server, id, "heart", mask, base, state)
            assert first.status_code in (200, 507)
            again = save(server, id, "heart", mask, base, state)
            assert again.status_code == 200
            assert again.json()["revision"] == base + 1
            np.testing.assert_array_equal(cxrkit.read_mask(tmp_path / "data/masks/heart/a.png"), mask)


def test_a_killed_server_goes_on_where_it_was(tmp_path: Path, films: Path) -> None:
    with client(films, drawing(tmp_path)) as server:
        id = ids(server)["a.png"]
        confirm(server, id)
        save(server, id, "heart", box(), base=1)
    journal = tmp_path / "data/journal.jsonl"
    # Killed after the film's first mask, in the middle of its line.
    lines = journal.read_text().splitlines()
    at = next(number for number, line in enumerate(lines) if '"left_lung"' in line and "film" in line)
    journal.write_text("\n".join(lines[:at]) + "\n" + lines[at][:20])
    with client(films, drawing(tmp_path)) as server:
        states = server.get(f"/v1/films/{id}/masks").json()["states"]
        assert {name: one["state"] for name, one in states.items()} == dict.fromkeys(STRUCTURES, "corrected")
        confirm(server, id)
    assert [entry.id for entry in folder_dataset(tmp_path / "data").entries()] == ["a"]


def test_an_earlier_dataset_is_corrected(tmp_path: Path) -> None:
    data = tmp_path / "data"
    film(data / "images/a.png")
    film(data / "images/b.png", 1)
    for folder, name, shape in (("Heart", "a", SHAPE), ("Heart", "b", (30, 24)), ("left_lung", "a", SHAPE)):
        file = data / "masks" / folder / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(cv2.imencode(".png", box(shape=shape).astype(np.uint8) * 255)[1].tobytes())
    with client(data / "images", drawing(tmp_path)) as server:
        assert [one["name"] for one in server.get("/v1/info").json()["structures"]] == ["left_lung", "heart"]
        listed = ids(server)
        other_size = server.get(f"/v1/films/{listed['b.png']}/masks").json()
        assert "24 × 30" in other_size["faults"]["heart"]
        assert "48 × 60" in other_size["faults"]["heart"]
        states = server.get(f"/v1/films/{listed['a.png']}/masks").json()["states"]
        assert states["heart"]["state"] == "confirmed"
        save(server, listed["a.png"], "heart", box(left=4), base=1, state="confirmed")
    assert sorted(path.name for path in (data / "masks").iterdir()) == ["Heart", "left_lung"]
    assert sorted(path.name for path in (data / "images").iterdir()) == ["a.png", "b.png"]
    reads = folder_dataset(data)
    np.testing.assert_array_equal(reads.read(reads.entries()[0]).masks["heart"], box(left=4))


def test_films_of_odd_and_equal_names_stay_apart(tmp_path: Path) -> None:
    films = tmp_path / "films"
    names = ("x.png", "one/x.png", "two/a b,c;'=(1).png", "2.25.1", "2.25.2")
    for number, name in enumerate(names):
        (films / name).parent.mkdir(parents=True, exist_ok=True)
        if name.startswith("2.25"):
            write(films / name, np.full(SHAPE, number, np.uint16) + np.arange(SHAPE[1], dtype=np.uint16))
        else:
            film(films / name, number)
    for _ in range(2):
        with client(films, drawing(tmp_path)) as server:
            for id in ids(server).values():
                confirm(server, id)
    reads = folder_dataset(tmp_path / "data")
    entries = list(reads.entries())
    assert len(entries) == len(names)
    firsts = [int(reads.read(entry).image[0, 0]) for entry in entries]
    assert sorted(firsts) == list(range(len(names)))
    assert len(list((tmp_path / "data/images").iterdir())) == len(names)


def test_a_film_is_known_again_wherever_it_lies_and_whatever_it_is_called(tmp_path: Path) -> None:
    films = tmp_path / "films"
    for number, name in enumerate(("x.png", "one/x.png", "two/x.png")):
        film(films / name, number)
    film(films / "three/y.png", 1)  # one film twice, in one folder, is two
    with client(films, drawing(tmp_path)) as server:
        for id in ids(server).values():
            confirm(server, id)
    assert len(list((tmp_path / "data/images").iterdir())) == 4
    with client(films / "one", drawing(tmp_path)) as server:
        (listed,) = server.get("/v1/films").json()["films"]
        assert {one["state"] for one in listed["masks"].values()} == {"confirmed"}
    (films / "two/x.png").rename(tmp_path / "z.png")
    for name in ("one", "three"):
        shutil.rmtree(films / name)
    (tmp_path / "z.png").rename(films / "z.png")
    with client(films, drawing(tmp_path)) as server:
        for id in ids(server).values():
            save(server, id, "heart", box(), base=1)
    assert len(list((tmp_path / "data/images").iterdir())) == 4


def test_another_folders_film_of_the_same_name_is_another_film(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "two")]
    for number, folder in enumerate(folders):
        film(folder / "x.png", number)
        film(folder / "a/x.png", 7)  # of the same content each, and as often
        film(folder / "b/x.png", 7)
    for base in (0, 1):  # the second time all are known again
        for number, folder in enumerate(folders):
            with client(folder, drawing(tmp_path)) as server:
                listed = server.get("/v1/films").json()["films"]
                states = {one["name"]: {state["revision"] for state in one["masks"].values()} for one in listed}
                assert states["x.png"] == ({base} if base else set())
                id = ids(server)["x.png"]
                assert save(server, id, "heart", box(left=2 + number), base).status_code == 200
                if not base and not number:
                    for name in ("a/x.png", "b/x.png"):
                        save(server, ids(server)[name], "heart", box(left=9))
                assert states["a/x.png"] == states["b/x.png"] == ({1} if base or number else set())
    entries = (reads := folder_dataset(tmp_path / "data", manifest="drawn.csv")).entries()
    assert len(entries) == 4
    for entry in entries:
        shown = reads.read(entry)
        first = int(shown.image[0, 0])
        np.testing.assert_array_equal(shown.masks["heart"], box(left=9 if first == 7 else 2 + first))


def test_a_film_that_cannot_be_read_for_a_while_is_known_again(tmp_path: Path, films: Path) -> None:
    with client(films, drawing(tmp_path)) as server:
        confirm(server, ids(server)["a.png"])
    (films / "a.png").rename(tmp_path / "a.png")
    (films / "a.png").symlink_to(tmp_path / "absent.png")
    with client(films, drawing(tmp_path)) as server:
        (first, _) = server.get("/v1/films").json()["films"]
        assert first["masks"] == {}
        (films / "a.png").unlink()
        (tmp_path / "a.png").rename(films / "a.png")
        (first, _) = server.get("/v1/films").json()["films"]
        assert {one["state"] for one in first["masks"].values()} == {"confirmed"}


@pytest.mark.parametrize(
    ("number", "is_somebody"),
    [
        *((name, True) for name in ("Nadia", "NAKAMURA", "Nancy", "PatientA", "TestB", "Nonella", "4711", "X1", "100")),
        *((name, False) for name in ("", "0", "000-0", "xXx", "ANONYMOUS", "Anonymised", "anonymized", "anon", "N/A")),
        *((name, False) for name in ("na", "null", "Unknown", "none", "REMOVED", "De-Identified", "test", "patient")),
    ],
)
def test_words_for_nobody_are_no_patient(tmp_path: Path, number: str, is_somebody: bool) -> None:
    write(tmp_path / "a.dcm", np.arange(64, dtype=np.uint16).reshape(8, 8), PatientID=number)
    assert (patient_of(tmp_path / "a.dcm") is not None) == is_somebody


def test_a_number_without_its_issuer_counts_with_all_that_are_the_same(tmp_path: Path) -> None:
    films = tmp_path / "films"
    given = {"a": ("1", "A"), "b": ("1", "B"), "c": ("2", "A"), "d": ("2", ""), "e": ("2", "B")}
    for place, (name, (number, issuer)) in enumerate(given.items()):
        pixels = np.arange(place, place + SHAPE[0] * SHAPE[1], dtype=np.uint16).reshape(SHAPE)
        write(films / f"{name}.dcm", pixels, PatientID=number, IssuerOfPatientID=issuer)
    with client(films, drawing(tmp_path)) as server:
        for id in ids(server).values():
            confirm(server, id)
    entries = folder_dataset(tmp_path / "data").entries()
    assert {entry.id: entry.group for entry in entries} == dict(zip("abcde", "abccc", strict=True))


def test_films_of_one_patient_stay_together(tmp_path: Path) -> None:
    films = tmp_path / "films"
    for name, patient in (
        ("b", "Q4711"),
        ("a", "Q4711"),
        ("c", "Q4712"),
        ("d", "ANONYMOUS"),
        ("e", "Anonymous"),
        ("f", ""),
    ):
        write(films / f"{name}.dcm", np.arange(SHAPE[0] * SHAPE[1], dtype=np.uint16).reshape(SHAPE), PatientID=patient)
    film(films / "g.png")
    for _ in range(2):
        with client(films, drawing(tmp_path)) as server:
            listed = ids(server)
            for name in ("b.dcm", *sorted(set(listed) - {"b.dcm"})):
                confirm(server, listed[name])
        entries = folder_dataset(tmp_path / "data").entries()
        assert {entry.id: entry.group for entry in entries} == dict(zip("abcdefg", "bbcdefg", strict=True))
    assert "Q471" not in (tmp_path / "data/manifest.csv").read_text() + (tmp_path / "data/journal.jsonl").read_text()


def test_what_does_not_fit_is_refused(tmp_path: Path, films: Path) -> None:
    with client(films, drawing(tmp_path)) as server:
        id = ids(server)["a.png"]
        assert save(server, id, "heart", box(shape=(50, 40))).status_code == 422
        empty = save(server, id, "heart", np.zeros(SHAPE, bool), state="confirmed")
        assert "empty" in empty.json()["what"]
        assert save(server, id, "liver", box()).status_code == 404
        assert save(server, "0" * 16, "heart", box()).status_code == 404
        short = change(box()) | {"runs": [1, 2]}
        for wrong in (short, {}, change(box()) | {"state": "right"}, change(box()) | {"who": "x" * 100}):
            answer = server.put(f"/v1/films/{id}/masks/heart", json=wrong)
            assert answer.status_code == 422
            assert answer.json()["what"]
        assert not (tmp_path / "data/masks").exists()


def test_datasets_that_are_in_use_or_somebody_elses_are_left_alone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with (
        Drawings(data, STRUCTURES),
        pytest.raises(cxrkit.ConfigError, match="another cxrkit"),
        Drawings(data, STRUCTURES),
    ):
        pass
    with Drawings(data, STRUCTURES):
        pass  # free again
    other = tmp_path / "other/manifest.csv"
    other.parent.mkdir()
    other.write_text("image,heart\n")
    with pytest.raises(cxrkit.ConfigError, match="manifest"), Drawings(other.parent, STRUCTURES):
        pass
    assert other.read_text() == "image,heart\n"
    for wrong in (("Left Lung",), ("../heart",), ("image",), ("heart", "heart"), ()):
        with pytest.raises(cxrkit.ConfigError, match="--structures"):
            Drawings(tmp_path, wrong)
