"""The writer suite passes sound writers and finds each fault."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from cxrkit import DataError, DeclinedError, Segmentation, Writer
from cxrkit.testing import check_writer

Judge = Callable[..., dict[str, str]]


class Sizes(Writer):
    """The area of each structure, as text."""

    def files(self, result: Segmentation) -> Iterator[tuple[str, bytes]]:
        for name, mask in result.masks.items():
            yield f"{name}.txt", str(int(mask.sum())).encode()


class OfDicom(Writer):
    """Needs a DICOM file."""

    def files(self, result: Segmentation) -> Iterator[tuple[str, bytes]]:
        if result.film.source is None or not result.film.source.dicom:
            raise DataError("This film isn't DICOM.", "Leave out --write of-dicom.")
        yield "result.dcm", bytes(result.film.source.header.SOPInstanceUID, "ascii")


def test_sound_writers_pass(failures: Judge, skips: Judge) -> None:
    assert failures("writer", Sizes) == {}
    assert skips("writer", Sizes) == {}
    assert failures("writer", OfDicom) == {}
    assert "isn't DICOM" in skips("writer", OfDicom)["files have plain names"]


class Declines(Writer):
    """Declines films that aren't DICOM, and those on which nothing was found."""

    def files(self, result: Segmentation) -> Iterator[tuple[str, bytes]]:
        if result.film.source is None or not result.film.source.dicom:
            raise DeclinedError("This film isn't DICOM.")
        if not any(result.areas.values()):
            raise DeclinedError("There is nothing on this film.")
        yield "result.dcm", bytes(str(result.film.source.header.SOPInstanceUID), "ascii")


def test_writers_of_dicom_films_are_tried_on_some() -> None:
    check_writer(Declines)


class StampedDicom(Declines):
    """Writes the time, but only of DICOM films."""

    def files(self, result: Segmentation) -> Iterator[tuple[str, bytes]]:
        yield from super().files(result)
        yield "time.txt", str(time.perf_counter_ns()).encode()


class Elsewhere(Writer):
    """Names a folder."""

    def files(self, result: Segmentation) -> Iterator[tuple[str, bytes]]:
        yield "../heart.txt", b"1"


class Text(Writer):
    """Gives text."""

    def files(self, result: Segmentation) -> Iterator[tuple[str, bytes]]:
        yield "heart.txt", "1"  # type: ignore[misc]


class Nothing(Writer):
    """Writes no file."""

    def files(self, result: Segmentation) -> Iterator[tuple[str, bytes]]:
        return iter(())


class NeedsRatio(Writer):
    """Takes for granted that heart and lungs were found."""

    def files(self, result: Segmentation) -> Iterator[tuple[str, bytes]]:
        assert result.cardiothoracic_ratio is not None
        yield "ratio.txt", str(result.cardiothoracic_ratio.value).encode()


class Stamped(Writer):
    """Writes the time."""

    def files(self, result: Segmentation) -> Iterator[tuple[str, bytes]]:
        yield "time.txt", str(time.perf_counter_ns()).encode()


class Scribbles(Writer):
    """Draws on the film itself."""

    def files(self, result: Segmentation) -> Iterator[tuple[str, bytes]]:
        result.film.pixels[:2] = 0
        result.masks["heart"][:] = True
        yield "film.raw", result.film.pixels.tobytes()


@pytest.mark.parametrize(
    ("writer", "check", "message"),
    [
        (Elsewhere, "files have plain names", "'../heart.txt'"),
        (Text, "files have plain names", "and bytes"),
        (Nothing, "files have plain names", "Write something"),
        (NeedsRatio, "every film is written", "AssertionError"),
        (StampedDicom, "a film gives the same files every time", "time.txt"),
        (Stamped, "a film gives the same files every time", "time.txt"),
        (Scribbles, "it leaves the result as it is", "Copy before you draw"),
    ],
)
def test_each_fault_is_found(failures: Judge, writer: type[Writer], check: str, message: str) -> None:
    assert message in failures("writer", writer)[check]
