"""Films from their sender to the archive, through a process that segments; with Orthanc where it is installed.

Loading the network takes most of the time, so that one node serves all tests.
"""

from __future__ import annotations

import io
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image

from cxrkit_clinic.node.receiver import Door, Receiver
from cxrkit_clinic.node.sending import destination_of
from cxrkit_clinic.node.service import Service
from cxrkit_clinic.node.spool import Spool
from cxrkit_clinic.node.worker import Recipe, Worker
from tests.clinic.node.ends import PATIENT, Archive, eventually, film, send
from tests.clinic.node.orthanc import free_port, missing, orthanc

#: A writer that misbehaves at films of certain heights, as a decoder or a network may.
TROUBLE = """
import os, signal, time
from cxrkit import Writer, hookimpl

class Trouble(Writer):
    def files(self, result):
        height = result.film.pixels.shape[0]
        if height == 101:
            os.kill(os.getpid(), signal.SIGKILL)
        if height == 102:
            time.sleep(1000)
        if height == 103:
            raise RuntimeError("of %s" % result.film.source.header.PatientName)
        return []

@hookimpl
def register_writers(register):
    register("trouble", Trouble, summary="misbehaves")
"""


class Node:
    """A node at work, its archives, and what it says."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        self.workers: list[Worker] = []
        self.spool, self.said, self.archive = folder / "spool", list[str](), Archive()
        self.port, self.stop = free_port(), threading.Event()
        self.orthanc_folder = folder
        self.recipe = recipe
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.destinations = [self.archive.address]
        self.failure: list[BaseException] = []
        self.listens = threading.Event()

    def work(self) -> None:
        where = [destination_of(text, "CXRKIT", None) for text in self.destinations]
        service = Service(self.spool, self.recipe, where, 1, 240.0, 3600, 30, 100, self.said.append)

        def listen(spool: Spool, made_with: str, arrived: Any) -> Receiver:
            receiver = Receiver(Door("127.0.0.1", self.port, "CXRKIT"), spool, made_with, arrived)
            self.listens.set()
            return receiver

        class Known(Worker):
            def __init__(known, *arguments: Any) -> None:  # noqa: N805
                super().__init__(*arguments)
                self.workers.append(known)

        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("cxrkit_clinic.node.service.Worker", Known)
                service.run(listen, self.stop)
        except BaseException as error:
            self.failure.append(error)
            self.listens.set()

    def lines(self) -> list[dict[str, Any]]:
        file = self.spool / "audit.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def outcome(self, before: int) -> dict[str, Any]:
        """The line of the log that comes after so many."""
        lines = eventually(lambda: self.lines() if len(self.lines()) > before else [], 300)
        assert len(lines) == before + 1
        found: dict[str, Any] = lines[-1]
        return found


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, Any]]:
    folder = tmp_path_factory.mktemp("node")
    info = folder / "site" / "trouble-1.dist-info"
    info.mkdir(parents=True)
    (folder / "site" / "trouble_writer.py").write_text(TROUBLE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: trouble\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[cxrkit]\ntrouble = trouble_writer\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder / "site"))
        patch.setenv("CXRKIT_CACHE", str(folder / "cache"))
        writers = [{"name": name} for name in ("dicom-seg", "dicom-sr", "trouble")]
        made = Node(folder, Recipe(loading={"device": "cpu"}, writers=writers, threads=1))
        with orthanc(folder, made.port) if not missing() else _nothing() as archive:
            if archive is not None:
                made.destinations += [f"ORTHANC@127.0.0.1:{archive.dicom}", f"{archive.web}/dicom-web"]
            made.thread.start()
            assert made.listens.wait(300)
            assert not made.failure, made.failure
            yield made, archive
            made.stop.set()
            made.thread.join(60)
            assert not made.thread.is_alive()
        made.archive.close()
        with pytest.raises(OSError), socket.create_connection(("127.0.0.1", made.port), 1):  # noqa: PT011
            pass


class _nothing:  # noqa: N801
    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        pass


def test_a_film_comes_back_as_segmentation_and_report(node: tuple[Node, Any]) -> None:
    running, _ = node
    before, had = len(running.lines()), dict(running.archive.objects)
    item = film()
    assert send(running.port, item) == [0x0000]
    line = running.outcome(before)
    assert line["outcome"] == "sent"
    assert "sr.dcm" in line["files"]  # of noise there may be no segmentation
    assert len(running.archive.objects) == len(had) + len(line["files"])
    assert send(running.port, item) == [0x0000]
    assert running.outcome(before + 1)["outcome"] == "duplicate"
    assert len(running.archive.objects) == len(had) + len(line["files"])


@pytest.mark.skipif(bool(missing()), reason=missing() or "-")
def test_orthanc_forwards_a_film_and_has_its_results_in_the_same_study(node: tuple[Node, Any], wingspan: Path) -> None:
    running, archive = node
    before = len(running.lines())
    first = sorted((wingspan / "images").iterdir())[0]
    pixels = np.asarray(Image.open(first))
    item = film(Rows=pixels.shape[0], Columns=pixels.shape[1], PixelData=pixels.tobytes(), PixelSpacing=[0.7, 0.7])
    buffer = io.BytesIO()
    item.save_as(buffer, enforce_file_format=True)
    stored = archive.ask("/instances", buffer.getvalue())
    forwarded = archive.ask("/modalities/cxrkit/store", stored["ID"].encode())
    assert forwarded["FailedInstancesCount"] == 0
    assert running.outcome(before)["outcome"] == "sent"
    study = f"/dicom-web/studies/{item.StudyInstanceUID}"
    series = {one["00080060"]["Value"][0]: one["0020000E"]["Value"][0] for one in archive.ask(f"{study}/series")}
    assert set(series) == {"DX", "SEG", "SR"}
    segmentation, report = (
        _retrieved(archive.ask(f"{study}/series/{series[kind]}", Accept='multipart/related; type="application/dicom"'))
        for kind in ("SEG", "SR")
    )
    assert (segmentation.Rows, segmentation.Columns) == pixels.shape
    assert {one.SegmentLabel for one in segmentation.SegmentSequence} != set()
    assert segmentation.PatientID == report.PatientID == item.PatientID
    assert "cardiothoracic ratio" in str(report).lower()


def _retrieved(answer: bytes) -> pydicom.Dataset:
    """The object in an answer of DICOMweb: that between the preamble and the last boundary."""
    start = answer.index(b"DICM") - 128
    return pydicom.dcmread(io.BytesIO(answer[start : answer.rindex(b"\r\n--")]))


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"BodyPartExamined": "HAND"}, "body part HAND: no chest"),
        ({"ViewPosition": "LL"}, "view LL: not frontal"),
        ({"Modality": "MG"}, "modality MG: no radiograph"),
        ({"ViewPosition": None, "ImageLaterality": "L"}, "side L and no view: not frontal"),
    ],
)
def test_no_ratio_is_sent_of_another_film(node: tuple[Node, Any], more: dict[str, Any], reason: str) -> None:
    running, _ = node
    before, had = len(running.lines()), dict(running.archive.objects)
    assert send(running.port, film(**more)) == [0x0000]
    line = running.outcome(before)
    assert (line["outcome"], line["reason"]) == ("skipped", f"the DICOM header says {reason}")
    assert running.archive.objects == had


@pytest.mark.parametrize(
    ("side", "reason"),
    [(101, "ended by SIGKILL"), (102, "not finished after 5 s"), (103, "RuntimeError: of ***")],
)
@pytest.mark.slow
def test_a_film_that_crashes_or_hangs_the_process_costs_itself_alone(
    node: tuple[Node, Any], side: int, reason: str
) -> None:
    running, _ = node
    before = len(running.lines())
    if side == 102:
        running.workers[0]._patience = 5.0
    assert send(running.port, film(side=side), film()) == [0x0000, 0x0000]
    lines = eventually(lambda: found if len(found := running.lines()) == before + 2 else [], 500)[before:]
    assert sorted(line["outcome"] for line in lines) == ["failed", "sent"]
    assert next(line["reason"] for line in lines if line["outcome"] == "failed").endswith(reason)


def test_hostile_objects_fail_with_a_reason_and_stop_nothing(node: tuple[Node, Any]) -> None:
    running, _ = node
    before = len(running.lines())
    hostile = [
        film(Rows=65535, Columns=65535),
        film(PixelData=b""),
        film(PixelData=None),
        film(BitsAllocated=64),
        film(PhotometricInterpretation=PATIENT),
        film(SamplesPerPixel=3),
        film(PixelData=bytes(64 * 64)),
        film(RescaleSlope="1e308", RescaleIntercept="-1e308"),
    ]
    statuses = send(running.port, *hostile, film())
    assert statuses[-1] == 0x0000
    taken = statuses.count(0x0000)
    lines = eventually(lambda: found if len(found := running.lines()) == before + len(statuses) else [], 300)[before:]
    assert [line["outcome"] for line in lines].count("sent") >= 1
    assert all(line.get("reason") for line in lines if line["outcome"] != "sent")
    assert taken >= 1
    text = (running.spool / "audit.jsonl").read_text() + "\n".join(running.said)
    assert not [secret for secret in (*PATIENT.split("^"), "MRN-0815", "ACC-7") if secret in text]
