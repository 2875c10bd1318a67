"""What a DICOM header says that speaks against an upright frontal chest film."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

#: Modalities of radiographs; OT, "other", is what converters write.
_RADIOGRAPHS = frozenset({"CR", "DX", "DR", "RG", "RF", "OT"})
#: Body parts by their defined terms (PS3.16, table L-1) that show no chest. Other words, in other languages say, aren't
#: known to be wrong.
# fmt: off
_ELSEWHERE = frozenset({
    "ABDOMEN", "ANKLE", "ARM", "BREAST", "BUTTOCK", "CALF", "CSPINE", "ELBOW", "EXTREMITY", "EYE", "FINGER", "FOOT",
    "FOREARM", "HAND", "HEAD", "HIP", "HUMERUS", "JAW", "KNEE", "LEG", "LSPINE", "NECK", "PELVIS", "SHOULDER", "SKULL",
    "SSPINE", "THIGH", "THUMB", "TOE", "WRIST",
})
# fmt: on
#: View positions (PS3.3 C.8.1.1) that aren't frontal; a decubitus, LLD or RLD, is.
_NOT_FRONTAL = frozenset({"LL", "RL", "LAT", "LATERAL", "LLO", "RLO", "LAO", "RAO", "LPO", "RPO"})


def remarks(dataset: Any) -> tuple[str, ...]:
    """What of a header a frontal chest film wouldn't have, one short sentence each; what it leaves out is no sign."""
    return tuple(f"the DICOM header says {found}" for found in (*_subject(dataset), *_view(dataset)))


def _subject(dataset: Any) -> Iterator[str]:
    modality = _text(dataset, "Modality")
    if modality and modality not in _RADIOGRAPHS:
        yield f"modality {modality}: no radiograph"
    part = _text(dataset, "BodyPartExamined")
    if part in _ELSEWHERE:
        yield f"body part {part}: no chest"


def _view(dataset: Any) -> Iterator[str]:
    view = _text(dataset, "ViewPosition")
    along_row, along_column = _directions(dataset)
    if view in _NOT_FRONTAL:
        yield f"view {view}: not frontal"
    elif along_row[:1] in ("A", "P"):
        yield f"that rows run to {along_row}: not frontal"
    # A row of an upright frontal film runs to the patient's left, a column to the feet (PS3.3 C.7.6.1.1.1).
    elif (along_row[:1], along_column[:1]) == ("R", "F"):
        yield "that the film is mirrored: left and right masks are exchanged"
    elif along_row and (along_row[0], along_column[:1]) != ("L", "F"):
        yield f"that the film is turned: rows run to {along_row}, columns to {along_column or '?'}"


def _directions(dataset: Any) -> tuple[str, str]:
    """Which way of the patient (Left, Right, Head, Feet, Anterior, Posterior) a row and a column run; "" if unsaid."""
    value = dataset.get("PatientOrientation")
    if value is None or isinstance(value, str) or len(value) != 2:
        return "", ""
    return str(value[0]).upper(), str(value[1]).upper()


def _text(dataset: Any, name: str) -> str:
    return str(dataset.get(name) or "").strip().upper()
