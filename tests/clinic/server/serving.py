"""What the tests of the server share: films, a network that knows where everything is, and what answers requests."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest
import uvicorn
from fastapi.testclient import TestClient

import cxrkit
from cxrkit.metrics.cardiothoracic import cardiothoracic_ratio
from cxrkit.segmentation import WeightsSource
from cxrkit_clinic.server import running
from cxrkit_clinic.server.folder import Folder
from cxrkit_clinic.server.guard import ImpatientProtocol, Limits
from cxrkit_clinic.server.masks import runs_of
from cxrkit_clinic.server.routes import make_app
from cxrkit_clinic.server.settings import Door, Drawing, Network

SHAPE = (60, 48)
NETWORK = Network(device="cpu", workers=1, queue=8, timeout=20.0, max_size=1, max_pixels=1)
STRUCTURES = ("left_lung", "right_lung", "heart")


class Segmenter:
    """Finds the same masks on every film; one whose file holds `crash` or `hang` ends or stops its process."""

    structures, window = STRUCTURES, 1
    weights = WeightsSource(
        *(None, None, "/somewhere/known.safetensors", "ab" * 32, 1, "0.1.0"),
        members=(WeightsSource(None, None, "/elsewhere/one.safetensors", "cd" * 32, 1, "0.1.0"),),
    )
    predictor: Any = SimpleNamespace(weights=None)
    settings: ClassVar = {}

    def __call__(self, film: Any) -> cxrkit.Segmentation:
        film = film if isinstance(film, cxrkit.Film) else cxrkit.read_film(film)
        first = int(film.pixels[0, 0])
        if first == 251:
            os.kill(os.getpid(), signal.SIGKILL)
        if first == 252:
            time.sleep(30)
        rows, columns = (
            np.mgrid[: film.pixels.shape[0], : film.pixels.shape[1]] / np.array(film.pixels.shape)[:, None, None]
        )
        masks = {
            "left_lung": (abs(columns - 0.75) < 0.15) & (abs(rows - 0.5) < 0.3),
            "right_lung": (abs(columns - 0.25) < 0.15) & (abs(rows - 0.5) < 0.3),
            "heart": (abs(columns - 0.5) < 0.2) & (abs(rows - 0.6) < 0.2),
        }
        ratio = cardiothoracic_ratio(masks["heart"], masks["left_lung"], masks["right_lung"])
        return cxrkit.Segmentation(film, masks, {}, ratio, film.remarks, self.weights, {})


def film(path: Path, first: int = 0, shape: tuple[int, int] = SHAPE, depth: type = np.uint8) -> Path:
    """A picture of gradients whose first pixel is given."""
    rows, columns = np.indices(shape)
    pixels = ((rows * 3 + columns * 2) % (256 if depth is np.uint8 else 4096)).astype(depth)
    pixels[0, 0] = first
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    return path


@contextmanager
def listening(server: Any) -> Iterator[int]:
    """The port that a real server listens on, with what a client of tests has at hand."""
    door = socket.socket()
    door.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        make_app(server.service), http=ImpatientProtocol, ws="none", lifespan="off", log_config=None
    )
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [door]}, daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    try:
        yield door.getsockname()[1]
    finally:
        running.should_exit = True
        thread.join(10)
        door.close()


@contextmanager
def client(
    folder: Path | None = None, drawing: Drawing | None = None, limits: Limits | None = None, **network: Any
) -> Iterator[Any]:
    """A client of a server whose network is `Segmenter`; its attribute `service` is what answers."""
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setattr(cxrkit, "load", lambda *_, **__: Segmenter())
        # As a torch network on a CPU, which workers may share.
        patch.setattr(running, "side_by_side", lambda segmenter, count: (segmenter, True))
        films = None if folder is None else Folder(folder)
        door = Door(port=0)
        service = running.opened(stack, door, replace(NETWORK, **network), films, drawing)
        service.limits = limits or service.limits
        made: Any = TestClient(make_app(service), base_url="http://localhost:8080", raise_server_exceptions=False)
        made.service = service
        yield made


def post(client: Any, file: Path, address: str = "/v1/segment", name: str | None = None) -> Any:
    with file.open("rb") as content:
        return client.post(address, files={"film": (name or file.name, content)})


def change(mask: np.ndarray, base: int = 0, state: str = "corrected", who: str = "Jane") -> dict[str, Any]:
    """What the page sends of a mask."""
    height, width = mask.shape
    return {"runs": runs_of(mask), "height": height, "width": width, "base": base, "state": state, "who": who}


def box(*, left: int = 10, right: int = 20, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[10:30, left:right] = True
    return mask
