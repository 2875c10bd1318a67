"""The server from its settings to its end."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import uvicorn

import cxrkit
from cxrkit.commands import (
    ConfigError,
    Workers,
    load_plugins,
    sensible_workers,
    side_by_side,
    structure_colours,
)
from cxrkit_clinic.server.dataset import Drawings, identity
from cxrkit_clinic.server.folder import Folder
from cxrkit_clinic.server.guard import ImpatientProtocol, Limits, names
from cxrkit_clinic.server.pool import Pool, Uploads
from cxrkit_clinic.server.routes import make_app
from cxrkit_clinic.server.service import Service
from cxrkit_clinic.server.settings import Door, Drawing, Network
from cxrkit_clinic.server.work import crashed, worker
from cxrkit_plugins.datasets.listing import name_structures

#: What the name of a folder for uploads begins with; the number of the process follows.
_UPLOADS = "cxrkit-uploads-"


def run(
    door: Door, network: Network, folder: Path | None, drawing: Drawing | None, tell: Callable[[str], None]
) -> None:
    """Serve until Ctrl-C.

    Raises:
        CxrkitError: a folder, an address or weights that can't be used.
    """
    with ExitStack() as stack:
        listening = stack.enter_context(_listening(door.host, door.port))
        films = None if folder is None else listed(folder, None if drawing is None else drawing.out, tell)
        tell("The network is being loaded ...")
        service = opened(stack, door, network, films, drawing)
        secured: dict[str, Any] = {}
        if door.certificate is not None:
            secured = {"ssl_certfile": str(door.certificate), "ssl_keyfile": str(door.key)}
        config = uvicorn.Config(
            make_app(service),
            http=ImpatientProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            server_header=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=3,
            **secured,
        )
        for name in ("uvicorn", "python_multipart"):  # what clients send badly is their answer's matter
            logging.getLogger(name).setLevel(logging.ERROR)
        host = f"[{door.host}]" if ":" in door.host else door.host
        tell(f"http{'s' if secured else ''}://{host}:{listening.getsockname()[1]} is the page. Ctrl-C ends it.")
        uvicorn.Server(config).run(sockets=[listening])


def opened(stack: ExitStack, door: Door, network: Network, films: Folder | None, drawing: Drawing | None) -> Service:
    """What answers requests; the stack closes it."""
    segmenter = cxrkit.load(network.weights, **network.loading)
    structures, drawings = tuple(segmenter.structures), None
    if drawing is not None:
        structures = drawing.structures or _of_dataset(drawing.out) or structures
        drawings = stack.enter_context(Drawings(drawing.out, structures, films))
    registry = load_plugins().registry
    count = network.workers or sensible_workers(8)
    shared, fork = side_by_side(segmenter, count)
    work = worker(shared, registry, network.most_pixels)
    workers = Workers(work, count, crashed, fork=fork, apart=True, patience=network.timeout)
    pool = Pool(stack.enter_context(workers), count, network.queue)
    stack.callback(pool.close)
    source, colours = segmenter.weights, structure_colours(structures)
    about = {
        "version": cxrkit.__version__,
        "weights": None if source is None else source.name or Path(source.file).name,
        "structures": [{"name": name, "colour": colours[name]} for name in structures],
        "folder": films is not None,
        "dataset": None if drawings is None or films is None else identity(drawings.root, films.root),
        "parallel": count,
        "max_bytes": network.most_bytes,
    }
    return Service(
        pool,
        registry,
        structures,
        about,
        Limits(door.token or "", names(door.allowed or ()), network.most_bytes, network.timeout),
        stack.enter_context(place_for_uploads()),
        Uploads(count + network.queue),
        films,
        drawings,
        propose=drawing is None or drawing.propose,
    )


@contextmanager
def place_for_uploads() -> Iterator[Path]:
    """A folder for the films that are being segmented; those of servers that were killed are removed."""
    for left in Path(tempfile.gettempdir()).glob(f"{_UPLOADS}*-*"):
        number = left.name.removeprefix(_UPLOADS).partition("-")[0]
        if number.isdecimal() and not _runs(int(number)):
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{_UPLOADS}{os.getpid()}-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _runs(process: int) -> bool:
    """Whether there is such a process, or there is no way to know."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens at an address.

    Raises:
        ConfigError: the port is in use, or this machine doesn't have the address.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        if os.name == "posix":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(128)
    except OSError as error:
        raise ConfigError(
            f"The server can't listen on {host}:{port}: {error.strerror or error}.", "Choose another --port or --host."
        ) from error
    return listening


def listed(folder: Path, out: Path | None, tell: Callable[[str], None]) -> Folder:
    """The films of a folder, without the dataset that lies below it; of that dataset, its films.

    A message says what else is in it.
    """
    if out is not None and folder.resolve() == out.resolve():
        folder = folder / "images"
    below = out is not None and folder.resolve() != (out / "images").resolve()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        films = Folder(folder, out if below else None)
    for warning in caught:
        tell(str(warning.message))
    tell(f"{folder}: {len(films.films())} films.")
    return films


def _of_dataset(root: Path) -> tuple[str, ...]:
    """The structures of a dataset that masks are added to."""
    return tuple(name_structures([path.name for path in sorted(root.glob("masks/*/"))], str(root / "masks")))
