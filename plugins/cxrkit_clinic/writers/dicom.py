"""The writers `dicom-seg`, `dicom-sr` and `dicom-sc`. What makes the objects is imported when one is built."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from datetime import datetime
from io import BytesIO
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from cxrkit import ConfigError, Segmentation, Writer

if TYPE_CHECKING:
    from cxrkit_clinic.writers.source import Source

#: What an object gives as the time of its making.
Dates = Annotated[
    Literal["film", "now"],
    Field(description="the object's content date: the film's own, so that a film always gives the same bytes; or now"),
]
Encoding = Annotated[
    Literal["binary", "labelmap"],
    Field(description="a bit per pixel and structure, which most viewers read; or a number per pixel, for newer ones"),
]

#: Times of writing that highdicom adds, and no object needs.
_TIMES = ("InstanceCreationDate", "InstanceCreationTime", "DateOfSecondaryCapture", "TimeOfSecondaryCapture")


class DicomWriter(Writer):
    """Writes one DICOM object into the film's study; declines films that aren't DICOM.

    Attributes:
        name: the writer's name.
        file: the name of the file.
    """

    name: ClassVar[str]
    file: ClassVar[str]

    def __init__(self, *, dates: Dates = "film") -> None:
        try:
            import highdicom  # noqa: F401
        except ImportError as error:
            raise ConfigError(
                f"--write {self.name}: highdicom, which makes DICOM objects, isn't installed.",
                "Run: pip install 'cxrkit[clinic]'",
            ) from error
        self.dates = dates

    def files(self, result: Segmentation) -> list[tuple[str, bytes]]:
        """The object."""
        from cxrkit_clinic.writers.source import source_of

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of oddities of the film, which aren't copied
            source = source_of(result, self.name)
            return [(self.file, _encoded(self.make(result, source), source, self.dates))]

    @abstractmethod
    def make(self, result: Segmentation, source: Source) -> Any:
        """The object, a `pydicom.Dataset`, as yet without patient and dates."""


class SegmentationWriter(DicomWriter):
    """`seg.dcm`: a DICOM segmentation with a segment for each structure that was found, in the film's own pixels.

    In a label map each pixel belongs to one structure: where several overlap, to the one that is most probable there.
    """

    name, file = "dicom-seg", "seg.dcm"

    def __init__(self, *, encoding: Encoding = "binary", dates: Dates = "film") -> None:
        super().__init__(dates=dates)
        self.encoding = encoding

    def make(self, result: Segmentation, source: Source) -> Any:
        """Declines a film on which nothing was found."""
        from cxrkit_clinic.writers.segmentation import segmentation

        return segmentation(result, source, self.encoding)


class ReportWriter(DicomWriter):
    """`sr.dcm`: a structured report (TID 1500) with cardiac and thoracic diameter, their ratio, and warnings.

    The diameters are drawn as lines on the film. They are in millimetres where the film has a pixel spacing.
    """

    name, file = "dicom-sr", "sr.dcm"

    def make(self, result: Segmentation, source: Source) -> Any:
        """A report of any film, also where there is no ratio."""
        from cxrkit_clinic.writers.report import report

        return report(result, source)


class CaptureWriter(DicomWriter):
    """`sc.dcm`: the overlay as a colour picture (secondary capture), for viewers that show no segmentations."""

    name, file = "dicom-sc", "sc.dcm"

    def make(self, result: Segmentation, source: Source) -> Any:
        """A picture of the film's own size."""
        from cxrkit_clinic.writers.capture import capture

        return capture(result, source)


def _encoded(made: Any, source: Source, dates: str) -> bytes:
    """The file of an object, with what all objects of a film have in common."""
    made.update(source.identity)
    now = f"{datetime.now():%Y%m%d %H%M%S}".split()
    made.ContentDate, made.ContentTime = now if dates == "now" else (source.date, source.time)
    for name in _TIMES:
        if name in made:
            delattr(made, name)
    for equipment in made.ContributingEquipmentSequence:
        del equipment.ContributionDateTime
    if "PixelData" in made:  # pictures without coordinates must have it, even if it isn't known
        made.PatientOrientation = [*source.orientation]
    buffer = BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
