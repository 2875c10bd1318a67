"""Draw what a viewer shows of a film's `seg.dcm` and `sr.dcm`: segments, and diameters with their lengths.

    python examples/clinic/show-results.py FILM.dcm FOLDER OUT.png

Everything is read from the objects in FOLDER; of the film, only the grey values are used.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import highdicom
import numpy as np

import cxrkit

film, folder, out = map(Path, sys.argv[1:])
segmentation = highdicom.seg.segread(folder / "seg.dcm")
source = segmentation.SourceImageSequence[0].ReferencedSOPInstanceUID
segments = segmentation.get_pixels_by_source_instance([source])[0] > 0
labels = [segmentation.get_segment_description(number).segment_label for number in segmentation.segment_numbers]
picture = cxrkit.draw_overlay(
    cxrkit.read_film(film).pixels, {label: segments[..., index] for index, label in enumerate(labels)}
)

group = highdicom.sr.srread(folder / "sr.dcm").content.get_image_measurement_groups()[0]
thick = max(1, picture.shape[0] // 300)
for number, measurement in enumerate(group.get_measurements()):
    unit = measurement.unit.value.removeprefix("1")
    text = f"{measurement.name.meaning}: {measurement.value:g} {unit}"
    place = (6 * thick, (number + 1) * 16 * thick)
    cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.35 * thick, (255, 255, 255), max(1, thick // 2))
    for line in measurement.referenced_coordinates:
        cv2.polylines(picture, [np.rint(line.value).astype(np.int32)], False, (255, 255, 255), thick)
cv2.imwrite(str(out), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
