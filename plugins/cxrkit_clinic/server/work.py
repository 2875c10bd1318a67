"""What is done with a film, in a worker: its picture, what the network finds, and the files that writers make."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

import cxrkit
from cxrkit.commands import (
    CxrkitError,
    DataError,
    Failure,
    Predictions,
    at_most_pixels,
    build_writers,
    make_files,
    ratio_of,
    row_of,
)
from cxrkit.segmentation import WeightsSource
from cxrkit_clinic.server.masks import runs_of

#: Share of the pixels that are darker, and brighter, than what the page shows at first.
_TAILS = (0.5, 99.5)


@dataclass(frozen=True)
class Task:
    """What is wanted of a film.

    Attributes:
        path: its file.
        name: what messages call it.
        picture: whether its pixels are wanted, rather than its masks.
        runs: whether the masks are wanted as runs.
        writers: whose files are wanted.
        structures: the masks that are wanted; None: the network's.
        drawn: structure to a mask's file, which stands instead of what the network finds.
        propose: whether the network is asked for the masks that aren't drawn; otherwise they are empty.
    """

    path: Path
    name: str
    picture: bool = False
    runs: bool = False
    writers: tuple[str, ...] = ()
    structures: tuple[str, ...] | None = None
    drawn: Mapping[str, Path] = field(default_factory=dict)
    propose: bool = True


@dataclass(frozen=True)
class Answer:
    """What came of a task.

    Attributes:
        body: as JSON has it; of masks what `predict --json` prints, where a film that can't be used is a failure.
        content: the pixels of a picture, row by row, in the machine's byte order where they have 16 bits.
        files: of the writers.
        failed: whether the film can't be used.
    """

    body: dict[str, Any]
    content: bytes = b""
    files: Mapping[str, bytes] = field(default_factory=dict)
    failed: bool = False


def worker(segmenter: cxrkit.Segmenter, registry: Any, most_pixels: int) -> Callable[[Task], Answer]:
    """What does tasks; whatever is raised is the film's failure."""

    def work(task: Task) -> Answer:
        try:
            with at_most_pixels(most_pixels, "Scale the film down, or start the server with a higher --max-pixels."):
                film = cxrkit.read_film(task.path, window=segmenter.window)
            if task.picture:
                return _picture(film)
            return _segmented(film, task, segmenter, registry)
        except CxrkitError as error:
            return failed(task, error.what, error.remedy)
        except MemoryError:
            return failed(task, f"{task.name}: there is not enough memory for it.", "Use fewer --workers.")
        except Exception as error:  # the others must still be segmented
            what = f"{task.name}: a defect of cxrkit or a plugin: {type(error).__name__}: {error}"
            return failed(task, what, "Please report it with this film.")

    return work


def crashed(task: Task, how: str) -> Answer:
    """The answer of a task whose process ended."""
    remedy = "Export the film again: a decoder or plugin crashes on it, or it takes too long."
    return failed(task, f"{task.name}: the process that segmented it ended unexpectedly ({how}).", remedy)


def failed(task: Task, what: str, remedy: str) -> Answer:
    """The answer of a film that can't be used; it has the film's name instead of its path on this machine."""
    failure = Failure(task.name, what.replace(str(task.path), task.name), remedy)
    return Answer(Predictions((), (failure,)).as_json(), failed=True)


def _picture(film: cxrkit.Film) -> Answer:
    pixels = film.pixels
    if pixels.dtype == np.float32:
        low, high = float(pixels.min()), float(pixels.max())
        pixels = np.rint((pixels - low) * (65535 / (high - low))).astype(np.uint16)
    window = np.percentile(pixels[::4, ::4], _TAILS)
    body = {
        "height": pixels.shape[0],
        "width": pixels.shape[1],
        "bits": 8 * pixels.itemsize,
        "window": [float(window[0]), max(float(window[1]), float(window[0]) + 1)],
        "spacing": film.spacing,
        "aspect": aspect_of(film),
    }
    return Answer(body, np.ascontiguousarray(pixels).tobytes())


def aspect_of(film: cxrkit.Film) -> float:
    """The height of a film's pixels over their width; 1 where nothing is known."""
    return film.spacing[0] / film.spacing[1] if film.spacing else film.aspect or 1.0


def _segmented(film: cxrkit.Film, task: Task, segmenter: cxrkit.Segmenter, registry: Any) -> Answer:
    shape = film.pixels.shape
    drawn, faults = _drawn(task, shape)
    wanted = segmenter.structures if task.structures is None else task.structures
    if task.propose and not set(wanted) <= {*drawn, *faults}:
        result = segmenter(film)
    else:
        result = cxrkit.Segmentation(film, {}, {}, None, film.remarks, segmenter.weights)
    if task.structures is not None:
        nothing = np.zeros(shape, bool)
        masks = {name: drawn.get(name, result.masks.get(name, nothing)) for name in wanted}
        result = replace(result, masks=masks, cardiothoracic_ratio=ratio_of(masks))
    files, declined = make_files(build_writers(task.writers, registry), result)
    digest = hashlib.sha256(task.path.read_bytes()).hexdigest()
    row = row_of(result, Path(task.name), Path(), "", tuple(files), digest, "")
    row = replace(row, folder="", path="", declined=declined)
    weights = None if result.weights is None else _without_folder(result.weights)
    body = Predictions((row,), (), weights).as_json()
    if task.runs:
        body["masks"] = {name: runs_of(mask) for name, mask in result.masks.items()}
        body["height"], body["width"], body["faults"] = *shape, faults
    return Answer(body, files=files)


def _without_folder(weights: WeightsSource) -> WeightsSource:
    """Weights without where they lie on this machine."""
    members = tuple(_without_folder(one) for one in weights.members)
    return replace(weights, file=Path(weights.file).name, members=members)


def _drawn(task: Task, shape: tuple[int, ...]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The masks that were drawn before, and what is wrong with those that can't be corrected."""
    masks: dict[str, np.ndarray] = {}
    faults: dict[str, str] = {}
    for name, path in task.drawn.items():
        try:
            mask = cxrkit.read_mask(path)
        except DataError as error:
            faults[name] = f"{error.what} {error.remedy}"
            continue
        if mask.shape == shape:
            masks[name] = mask
        else:
            sizes = [f"{width} × {height}" for height, width in (mask.shape, shape)]
            faults[name] = f"{path}: the mask is {sizes[0]} pixels, but its film is {sizes[1]}. Move the mask away."
    return masks, faults
