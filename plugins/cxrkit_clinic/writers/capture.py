"""The overlay as a DICOM secondary capture."""

from __future__ import annotations

from fractions import Fraction

from highdicom.enum import CoordinateSystemNames
from highdicom.sc import SCImage
from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from cxrkit import Segmentation, draw_overlay
from cxrkit_clinic.writers.source import Source


def capture(result: Segmentation, source: Source) -> SCImage:
    """The film with outlines, ratio and warnings, 8 bits RGB at the film's size.

    Nothing of the header but what warnings mention is drawn; what the film's own pixels show stays.
    """
    film = result.film
    made = SCImage(
        pixel_array=draw_overlay(
            film.pixels,
            result.masks,
            ratio=result.cardiothoracic_ratio,
            warnings=result.warnings,
            quality=result.quality,
        ),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system=CoordinateSystemNames.PATIENT,
        patient_orientation=("L", "F"),
        study_instance_uid=source.image.StudyInstanceUID,
        series_instance_uid=source.uid("sc series"),
        series_number=902,
        sop_instance_uid=source.uid("sc"),
        instance_number=1,
        pixel_spacing=film.spacing,
        series_description="cxrkit overlay (research use)",
        **source.equipment,
    )
    if source.of_chest:
        made.BodyPartExamined = "CHEST"
    else:
        made.Laterality = ""
    if film.spacing is None and film.aspect is not None:
        made.PixelAspectRatio = [*Fraction(film.aspect).limit_denominator(1000).as_integer_ratio()]
    if source.burned_in is not None:
        made.BurnedInAnnotation = source.burned_in
    made.DerivationDescription = "Outlines of segmented structures drawn on the film"
    made.SourceImageSequence = [_reference(source)]
    for name in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        if name in source.image:
            setattr(made, name, source.image[name].value)
    return made


def _reference(source: Source) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = source.image.SOPClassUID, source.image.SOPInstanceUID
    purpose = codes.DCM.SourceImageForImageProcessingOperation
    item.PurposeOfReferenceCodeSequence = [CodedConcept.from_code(purpose)]
    return item
