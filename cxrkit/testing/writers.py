"""What cxrkit expects of every writer: plain file names, the same files every time, and nothing else changed.

Films come from arrays; a writer that declines those gets the same films with a DICOM header.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import SkipTest

import numpy as np

from cxrkit.engine.writing import make_files
from cxrkit.errors import CxrkitError, PluginError
from cxrkit.metrics.cardiothoracic import cardiothoracic_ratio
from cxrkit.segmentation import Film, FilmSource, Segmentation
from cxrkit.services import Writer
from cxrkit.testing.expectations import Check, ConformanceError, Subject, expect


def _film(dtype: str = "uint16", shape: tuple[int, int] = (240, 200), *, empty: bool = False) -> Segmentation:
    """A film of two lungs and a heart, or one on which nothing was found."""
    height, width = shape
    rows, columns = np.mgrid[:height, :width] / np.array([height, width])[:, None, None]
    centres = {"left_lung": (0.45, 0.72, 0.15), "right_lung": (0.45, 0.28, 0.15), "heart": (0.6, 0.54, 0.14)}
    masks, found = {}, {}
    for name, (row, column, radius) in centres.items():
        distance = np.hypot((rows - row) / 1.5, columns - column) / radius
        found[name] = (np.zeros_like(distance) if empty else np.clip(1.5 - distance, 0, 1)).astype(np.float32)
        masks[name] = found[name] > 0.5
    pixels = (3000 * rows + 50 * sum(found.values())).astype(dtype)
    ratio = cardiothoracic_ratio(masks["heart"], masks["left_lung"], masks["right_lung"])
    warnings = ("heart: not found",) if empty else ()
    return Segmentation(Film(pixels, None if empty else (0.14, 0.14)), masks, found, ratio, warnings)


class _Header(FilmSource):
    """A DICOM film without a file: the header of a frontal chest film of somebody."""

    dicom = True

    @property
    def header(self) -> Any:
        """A new one each time, since a writer may change it."""
        from pydicom.dataset import Dataset

        made = Dataset()
        made.SOPClassUID, made.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1", "2.25.1"
        made.StudyInstanceUID, made.SeriesInstanceUID = "2.25.2", "2.25.3"
        made.Modality, made.BodyPartExamined, made.ViewPosition = "CR", "CHEST", "PA"
        made.PatientName, made.PatientID, made.PatientBirthDate, made.PatientSex = "Doe^Jane", "1", "19700101", "F"
        made.StudyDate, made.StudyTime = "20240101", "120000"
        return made


def _written(writer: Writer, result: Segmentation) -> dict[str, bytes]:
    """The files of a film; none where the writer declines it, with and without a DICOM header."""
    files, declined = make_files([writer], result)
    if declined and find_spec("pydicom") is None:
        raise SkipTest(declined[0])
    if declined:
        files, _ = make_files([writer], replace(result, film=replace(result.film, source=_Header(Path("film.dcm")))))
    return files


@contextmanager
def _contract() -> Iterator[None]:
    """A broken contract and a defect fail the check; films that the writer fails on skip it."""
    try:
        yield
    except ConformanceError:
        raise
    except PluginError as error:
        raise ConformanceError(
            "(name, bytes) pairs with plain names, each once", error.what, "See `cxrkit.Writer.files`."
        ) from error
    except CxrkitError as error:
        raise SkipTest(f"it refuses a film that doesn't come from a file: {error.what}") from error


def files_have_plain_names(subject: Subject) -> None:
    """Names are of letters, digits, `_`, `-` and dots, each once; contents are bytes, and at least one file is made."""
    with _contract():
        files = _written(subject.build_if_usable(), _film())
        expect(bool(files) and all(files.values()), "files that aren't empty", str(sorted(files)), "Write something.")


def every_film_is_written(subject: Subject) -> None:
    """Films of 8 bits and of floats, tiny ones, and ones on which nothing was found, are written or declined."""
    writer: Writer = subject.build_if_usable()
    for result in (_film("uint8"), _film("float32"), _film(shape=(7, 9)), _film(empty=True)):
        with _contract():
            _written(writer, result)


def a_film_gives_the_same_files_every_time(subject: Subject) -> None:
    """Writing a film again, also with a new writer, gives the same bytes: results can be compared."""
    writer: Writer = subject.build_if_usable()
    with _contract():
        first = _written(writer, _film())
        _written(writer, _film(empty=True))
        again = (_written(writer, _film()), _written(subject.build_if_usable(), _film()))
        differ = sorted({name for other in again for name in first if other.get(name) != first[name]})
        expect(not differ, "the same files every time", f"others: {', '.join(differ)}", "Leave out times and chance.")


def it_leaves_the_result_as_it_is(subject: Subject) -> None:
    """The arrays of the result are not changed: the next writer gets them too."""
    result, untouched = _film(), _film()
    with _contract():
        _written(subject.build_if_usable(), result)
    for role, now, then in (
        ("pixels", {"film": result.film.pixels}, {"film": untouched.film.pixels}),
        ("masks", result.masks, untouched.masks),
        ("probabilities", result.probabilities, untouched.probabilities),
    ):
        same = now.keys() == then.keys() and all(np.array_equal(now[name], then[name]) for name in then)
        expect(same, f"{role} as they were", "changed ones", "Copy before you draw.")


CHECKS: tuple[Check, ...] = (
    files_have_plain_names,
    every_film_is_written,
    a_film_gives_the_same_files_every_time,
    it_leaves_the_result_as_it_is,
)
