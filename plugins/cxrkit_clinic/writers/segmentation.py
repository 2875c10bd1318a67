"""Masks as a DICOM segmentation."""

from __future__ import annotations

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentationTypeValues, SegmentDescription
from highdicom.seg import Segmentation as DicomSegmentation
from highdicom.sr import CodedConcept
from pydicom.sr.codedict import codes

from cxrkit import DeclinedError, Segmentation
from cxrkit_clinic.writers.codes import coded, label_of
from cxrkit_clinic.writers.source import MAKER, Source
from cxrkit_clinic.writers.texts import ascii_text


def segmentation(result: Segmentation, source: Source, encoding: str) -> DicomSegmentation:
    """A segment for each structure that was found.

    Args:
        result: masks of the film's own size.
        source: the film.
        encoding: `binary` or `labelmap`.

    Raises:
        DeclinedError: nothing was found.
    """
    found = [name for name, area in result.areas.items() if area]
    if not found:
        raise DeclinedError(
            "dicom-seg wrote nothing: no structure was found on the film.", "Check the film and its warnings."
        )
    remarks = [f"not found: {label_of(name)}" for name in result.areas if name not in found]
    masks = np.stack([result.masks[name] for name in found])
    if encoding == "labelmap":
        overlap = np.count_nonzero(masks.sum(axis=0, dtype=np.uint16) > 1)
        remarks += [f"{overlap} overlapping pixels are the likelier structure's"] * bool(overlap)
        pixels = label_map(masks, np.stack([result.probabilities[name] for name in found]))[None]
    else:
        pixels = np.moveaxis(masks, 0, -1)[None].astype(np.uint8)
    made = DicomSegmentation(
        source_images=[source.image],
        pixel_array=pixels,
        segmentation_type=SegmentationTypeValues(encoding.upper()),
        segment_descriptions=[_description(number, name, source) for number, name in enumerate(found, 1)],
        series_instance_uid=source.uid("seg series", encoding),
        series_number=900,
        sop_instance_uid=source.uid("seg", encoding),
        instance_number=1,
        content_label="CXRKIT",
        content_description=ascii_text("; ".join(remarks)) or None,
        series_description="cxrkit segmentation (research use)",
        omit_empty_frames=False,
        **source.equipment,
    )
    for sequence in (made.DimensionOrganizationSequence, made.DimensionIndexSequence):
        for item in sequence:
            item.DimensionOrganizationUID = source.uid("seg dimensions", encoding)
    return made


def label_map(masks: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """The number of each pixel's structure from 1, 0 outside, uint8 or uint16 `(H, W)`.

    Args:
        masks: bool `(N, H, W)`.
        probabilities: `(N, H, W)`; the highest one decides where masks overlap, the first of equal ones.

    >>> label_map(np.array([[[1, 1, 0]], [[0, 1, 1]]], bool), np.array([[[0.9, 0.6, 0]], [[0, 0.8, 0.9]]]))
    array([[1, 2, 2]], dtype=uint8)
    """
    likeliest = np.where(masks, probabilities, -1).argmax(axis=0) + 1
    return np.asarray(likeliest * masks.any(axis=0), np.uint8 if len(masks) < 256 else np.uint16)


def _description(number: int, structure: str, source: Source) -> SegmentDescription:
    term = coded(structure)
    description = SegmentDescription(
        segment_number=number,
        segment_label=label_of(structure),
        segmented_property_category=term.category,
        segmented_property_type=term.type,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=AlgorithmIdentificationSequence(
            name=MAKER,
            family=codes.DCM.ArtificialIntelligence,
            version=source.version,
            parameters=source.parameters,
        ),
    )
    if term.side is not None:
        kind = description.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [CodedConcept.from_code(term.side)]
    return description
