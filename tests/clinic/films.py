"""Films of clinics for tests: DICOM headers with all that they may lack or get wrong."""

from __future__ import annotations

import shutil
import subprocess
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from cxrkit import Segmentation, read_film
from cxrkit.metrics.cardiothoracic import cardiothoracic_ratio
from cxrkit.segmentation import WeightsSource

CR, DX, SECONDARY_CAPTURE = (f"1.2.840.10008.5.1.4.1.1.{last}" for last in ("1", "1.1", "7"))
WEIGHTS = WeightsSource("lungs-heart", "cxrkit 0.1.0", "lungs-heart.safetensors", "ab" * 32, 1000, "0.1.0")
SHAPE = (120, 96)


def write(path: Path, pixels: np.ndarray | None = None, **attributes: Any) -> Path:
    """A chest film of 12 bits as a CR unit writes it; attributes replace or add, `None` leaves one out."""
    if pixels is None:
        rows, columns = np.indices(SHAPE)
        pixels = (rows * 20 + columns * 15).astype(np.uint16)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = attributes.get("SOPClassUID") or CR, "1.2.3.4.5.6"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    film = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    values: dict[str, Any] = {
        "SpecificCharacterSet": None,
        "SOPClassUID": CR,
        "SOPInstanceUID": "1.2.3.4.5.6",
        "StudyInstanceUID": "1.2.3.4",
        "SeriesInstanceUID": "1.2.3.4.5",
        "PatientName": "Doe^Jane",
        "PatientID": "42",
        "PatientBirthDate": "19700131",
        "PatientSex": "F",
        "StudyDate": "20240102",
        "StudyTime": "101112.5",
        "AccessionNumber": "A1",
        "StudyID": "S1",
        "StudyDescription": "Chest PA",
        "ReferringPhysicianName": "Roe^Richard",
        "Modality": "CR",
        "BodyPartExamined": "CHEST",
        "PatientOrientation": ["L", "F"],
        "BurnedInAnnotation": "NO",
        "PhotometricInterpretation": "MONOCHROME2",
        **attributes,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values that the standard doesn't allow
        for name, value in values.items():
            if value is not None:
                setattr(film, name, value)
    film.Rows, film.Columns = pixels.shape
    film.SamplesPerPixel, film.PixelRepresentation = 1, 0
    film.BitsAllocated, film.BitsStored, film.HighBit = 16, 12, 11
    film.PixelData = pixels.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    film.save_as(path, enforce_file_format=True)
    return path


def segmented(path: Path, *missing: str) -> Segmentation:
    """A film as the core reads it, with two lungs and a heart that overlaps the left; without those in `missing`."""
    film = read_film(path)
    height, width = film.pixels.shape
    rows, columns = np.mgrid[:height, :width] / np.array([height, width])[:, None, None]
    centres = {"left_lung": (0.45, 0.72, 0.16), "right_lung": (0.45, 0.28, 0.16), "heart": (0.6, 0.62, 0.15)}
    found = {
        name: (np.clip(1.5 - np.hypot((rows - row) / 1.5, columns - column) / radius, 0, 1) * (name not in missing))
        for name, (row, column, radius) in centres.items()
    }
    masks = {name: probability > 0.5 for name, probability in found.items()}
    probabilities = {name: probability.astype(np.float32) for name, probability in found.items()}
    ratio = cardiothoracic_ratio(masks["heart"], masks["left_lung"], masks["right_lung"])
    warnings = (*film.remarks, *(f"{name.replace('_', ' ')}: not found" for name in missing))
    return Segmentation(film, masks, probabilities, ratio, warnings, WEIGHTS, {"threshold": 0.5})


def with_structure(result: Segmentation, name: str, mask: np.ndarray) -> Segmentation:
    """The same film with another structure."""
    return replace(
        result,
        masks={**result.masks, name: mask},
        probabilities={**result.probabilities, name: mask.astype(np.float32)},
    )


def faults(path: Path) -> list[str]:
    """What dciodvfy finds wrong with an object; skips the test where it isn't installed.

    Versions of 2022 don't know label maps, whose first segment, the background, has the number 0.
    """
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy isn't installed (Debian's package dicom3tools)")
    done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, check=False)
    lines = done.stderr.decode("utf-8", "replace").splitlines()
    unknown = ("Information Object Not found", "have SegmentSequence item number 1 (from one) with SegmentNumber of 0")
    label_map = any(unknown[0] in line for line in lines)
    return [line for line in lines if line.startswith("Error") and not (label_map and line.endswith(unknown))]
