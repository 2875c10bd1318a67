"""What a DICOM header says that speaks against an upright frontal chest film."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

#: Modalities of radiographs; OT, "other", is what converters write.
_RADIOGRAPHS = frozenset({"CR", "DX", "DR", "RG", "RF", "OT"})
#: Terms for body parts (PS3.16, annex L) other than the chest. Other words may be the chest in another language.
# fmt: off
_ELSEWHERE = frozenset({
    "ABDOMEN", "ANKLE", "ARM", "BREAST", "BUTTOCK", "CALF", "CSPINE", "ELBOW", "EXTREMITY", "EYE", "FINGER", "FOOT",
    "FOREARM", "HAND", "HEAD", "HIP", "HUMERUS", "JAW", "KNEE", "LEG", "LSPINE", "NECK", "PATELLA", "PELVIS",
    "SHOULDER", "SKULL", "SSPINE", "THIGH", "THUMB", "TOE", "WRIST",
})
# fmt: on
#: View positions (PS3.3 C.8.1.1) of lateral and oblique films.
_NOT_FRONTAL = frozenset({"LL", "RL", "LAT", "LATERAL", "LLO", "RLO", "LAO", "RAO", "LPO", "RPO"})
_LYING = frozenset({"LLD", "RLD"})
#: Where an upright film's rows and columns run to: the patient's left, and the feet (PS3.3 C.7.6.1.1.1).
_UPRIGHT = ("L", "F")
_MIRRORED = ("R", "F")
_TURNED_AND_MIRRORED = frozenset({("L", "H"), ("H", "R"), ("F", "L")})


def remarks(dataset: Any) -> tuple[str, ...]:
    """What of a header an upright frontal chest film wouldn't have, one short sentence each.

    What is left out, or is no word of the standard's kind, is no sign.
    """
    return tuple(f"the DICOM header says {found}" for found in (*_subject(dataset), *_view(dataset)))


def _subject(dataset: Any) -> Iterator[str]:
    modality = _words(dataset, "Modality")
    if modality and not _RADIOGRAPHS & {*modality}:
        yield f"modality {modality[0]}: no radiograph"
    part = _words(dataset, "BodyPartExamined")
    if part and {*part} <= _ELSEWHERE:
        yield f"body part {part[0]}: no chest"


def _view(dataset: Any) -> Iterator[str]:
    view, along = _words(dataset, "ViewPosition"), _words(dataset, "PatientOrientation")
    if view and view[0] in _NOT_FRONTAL:
        yield f"view {view[0]}: not frontal"
        return
    if view and view[0] in _LYING:
        yield f"view {view[0]}: not upright"
    if len(along) != 2 or not all(re.fullmatch("[LRHFAP]{1,3}", word) for word in along):
        return
    row, column = along
    run = f"rows run to {row}, columns to {column}"
    if {row[0], column[0]} & {"A", "P"}:
        yield f"that {run}: not frontal"
    elif (row[0], column[0]) == _MIRRORED:
        yield f"that the film is mirrored ({run}): left and right are exchanged"
    elif (row[0], column[0]) in _TURNED_AND_MIRRORED:
        yield f"that the film is turned and mirrored ({run})"
    elif (row[0], column[0]) != _UPRIGHT:
        yield f"that the film is turned ({run})"


def _words(dataset: Any, name: str) -> tuple[str, ...]:
    """The values of an attribute, upper case; none where it is left out, or one isn't of letters and digits."""
    try:
        found = dataset.get(name)
    except Exception:  # pydicom reads a value when it is asked for, and raises many kinds at odd ones
        return ()
    values = [found] if isinstance(found, str) else found if isinstance(found, Sequence) else []
    words = tuple(str(value).strip().upper() for value in values)
    return words if all(re.fullmatch(r"[A-Z0-9_ ]+", word) for word in words) else ()
