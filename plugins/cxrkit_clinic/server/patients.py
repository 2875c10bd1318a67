"""Whose film it is, as its DICOM header says."""

from __future__ import annotations

import re
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError

#: What stands for a patient who isn't known, or mustn't be: it would make one patient of many.
_NOBODY = re.compile(
    r"[0\W_]*|[x\W_]*|anon|anonymous|anonymi[sz]ed|unknown|none|removed|de-?identified|test|n/?a|null|patient", re.I
)
_WITHOUT_SUFFIX = ("", ".dcm", ".dicom", ".ima")


def patient_of(film: Path) -> tuple[str, str] | None:
    """The patient's number and who issued it; None of a film that isn't DICOM, or says nothing of that."""
    wanted = ["PatientID", "IssuerOfPatientID"]
    try:
        try:
            header = pydicom.dcmread(film, stop_before_pixels=True, specific_tags=wanted)
        except InvalidDicomError:
            if film.suffix.lower() not in _WITHOUT_SUFFIX and not film.suffix[1:].isdecimal():
                return None
            header = pydicom.dcmread(film, stop_before_pixels=True, specific_tags=wanted, force=True)
        number, issuer = (str(header.get(name) or "").strip() for name in wanted)
    except Exception:  # pydicom raises many kinds at odd headers; reading the film will say what is wrong
        return None
    return None if _NOBODY.fullmatch(number) else (number, issuer)
