"""The measurements of a film as a DICOM structured report."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
from highdicom.sr import (
    AlgorithmIdentification,
    ComprehensiveSR,
    CoordinatesForMeasurement,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    GraphicTypeValues,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    SourceImageForRegion,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from cxrkit import Segmentation
from cxrkit.segmentation import Extent
from cxrkit_clinic.writers import codes as own
from cxrkit_clinic.writers.source import MAKER, Source
from cxrkit_clinic.writers.texts import LONGEST, ascii_text


def report(result: Segmentation, source: Source) -> ComprehensiveSR:
    """Diameters, ratio, estimates of how good the masks are, and whether all this can be trusted.

    Args:
        result: whose ratio may be missing; the report says so.
        source: the film.
    """
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(source.uid("sr tracking"), "cxrkit cardiothoracic ratio"),
        finding_sites=[FindingSite(codes.cid4.Thorax)],
        algorithm_id=AlgorithmIdentification(
            name=MAKER,
            version=source.version,
            parameters=[f"{name}={value}" for name, value in source.parameters.items()],
            family=codes.DCM.ArtificialIntelligence,
        ),
        measurements=[*_measurements(result, source)],
        qualitative_evaluations=[*_evaluations(result)],
        source_images=[SourceImageForMeasurementGroup(*_film(source))],
    )
    for text in result.warnings:
        if ascii_text(text) != ascii_text(text, LONGEST):
            group[0].ContentSequence.append(
                TextContentItem(codes.DCM.Comment, ascii_text(text, LONGEST), RelationshipTypeValues.CONTAINS)
            )
    device = DeviceObserverIdentifyingAttributes(
        source.device_uid, name=MAKER, manufacturer_name=MAKER, model_name=MAKER, serial_number=source.weights
    )
    content = MeasurementReport(
        ObservationContext(observer_device_context=ObserverContext(codes.DCM.Device, device)),
        procedure_reported=codes.SCT.PlainRadiography,
        imaging_measurements=[group],
        title=codes.DCM.ImagingMeasurementReport,
    )
    return ComprehensiveSR(
        evidence=[source.image],
        content=content[0],
        series_instance_uid=source.uid("sr series"),
        series_number=901,
        sop_instance_uid=source.uid("sr"),
        instance_number=1,
        is_complete=True,
        series_description="cxrkit measurements (research use)",
        **source.equipment,
    )


def _film(source: Source) -> tuple[str, str]:
    return source.image.SOPClassUID, source.image.SOPInstanceUID


def _measurements(result: Segmentation, source: Source) -> Iterator[Measurement]:
    for structure, dice in result.quality.items():
        coded = own.coded(structure)
        sites = [FindingSite(coded.type, laterality=coded.side)]
        yield Measurement(own.ESTIMATED_DICE, value=dice, unit=own.NO_UNITS, finding_sites=sites)
    ratio = result.cardiothoracic_ratio
    if ratio is None:
        return
    for name, extent, site in (
        (own.CARDIAC_DIAMETER, ratio.heart, codes.cid7192.Heart),
        (own.THORACIC_DIAMETER, ratio.thorax, codes.cid4.Thorax),
    ):
        spacing = result.film.spacing
        yield Measurement(
            name,
            value=extent.width if spacing is None else round(extent.width * spacing[1], 2),
            unit=own.PIXELS if spacing is None else own.MILLIMETRES,
            finding_sites=[FindingSite(site)],
            referenced_coordinates=[
                CoordinatesForMeasurement(
                    GraphicTypeValues.POLYLINE, line(extent), SourceImageForRegion(*_film(source))
                )
            ],
        )
    yield Measurement(own.CARDIOTHORACIC_RATIO, value=round(ratio.value, 4), unit=own.NO_UNITS)


def line(extent: Extent) -> np.ndarray:
    """The two ends of a diameter, float `(2, 2)` of (column, row), where a film's upper left corner is (0, 0).

    It is horizontal, half-way between the rows that it was measured at, and as long as the diameter.
    """
    row = (extent.left_row + extent.right_row + 1) / 2
    return np.array([[extent.left, row], [extent.right + 1, row]], dtype=float)


def _evaluations(result: Segmentation) -> Iterator[QualitativeEvaluation]:
    if result.cardiothoracic_ratio is None:
        yield QualitativeEvaluation(own.CARDIOTHORACIC_RATIO, codes.DCM.MeasurementFailure)
    yield QualitativeEvaluation(own.PLAUSIBILITY, own.DOUBTFUL if result.warnings else own.PLAUSIBLE)
    for text in dict.fromkeys(map(ascii_text, result.warnings)):
        value = hashlib.sha256(text.encode()).hexdigest()[:12]
        yield QualitativeEvaluation(own.WARNING, Code(value, own.SCHEME, text))
