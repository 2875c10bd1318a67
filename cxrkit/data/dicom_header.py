"""The attributes of a DICOM header: those that a film needs, and those that are left out where they make no sense."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cxrkit.errors import DataError

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
#: Millimetres that a pixel of a film may measure, and how much taller than wide, or wider than tall, it may be.
_SPACING = (0.01, 20.0)
_ELONGATED = 5.0


class Header:
    """A DICOM header that is asked for values, which files give in every form.

    Attributes:
        path: the file.
        dataset: its `pydicom.Dataset`.
        remarks: what has been left out so far because it makes no sense, one short sentence each.
    """

    def __init__(self, path: Path, dataset: Any) -> None:
        self.path, self.dataset = path, dataset
        self.remarks: list[str] = []

    def whole(self, name: str, default: int | None = None, least: int = 0, most: int = 65535) -> int:
        """A whole number that the film can't be read without.

        Raises:
            DataError: it is missing and has no default, or isn't one number in [least, most].
        """
        try:
            found = self._numbers(name)
        except Exception as error:
            raise self._needed(name, f"can't be read ({_short(error)})") from error
        if not found and default is not None:
            return default
        if len(found) != 1 or not found[0].is_integer() or not least <= found[0] <= most:
            shown = " and ".join(f"{number:g}" for number in found)
            raise self._needed(name, f"is {shown}" if found else "is missing")
        return int(found[0])

    def numbers(self, name: str) -> tuple[float, ...]:
        """Finite numbers; none, and a remark, where the values are others."""
        try:
            return self._numbers(name)
        except Exception as error:
            self.leave_out(name, _short(error))
            return ()

    def words(self, name: str) -> tuple[str, ...]:
        """The values, upper case; none where it is left out, or one isn't of letters and digits."""
        try:
            found = self.dataset.get(name)
        except Exception as error:  # pydicom reads a value when it is asked for, and raises many kinds at odd ones
            self.leave_out(name, _short(error))
            return ()
        values = [found] if isinstance(found, str) else [*found] if isinstance(found, Sequence) else found
        if found is not None and not (isinstance(values, list) and all(isinstance(value, str) for value in values)):
            self.leave_out(name, _short(found))
            return ()
        words = tuple(value.strip().upper() for value in values or ())
        return words if all(re.fullmatch(r"[A-Z0-9_ ]+", word) for word in words) else ()

    def leave_out(self, name: str, why: object) -> None:
        """Remember that an attribute makes no sense."""
        self.remarks.append(f"the DICOM header's {name} makes no sense and is left out ({why})")

    def _numbers(self, name: str) -> tuple[float, ...]:
        found = self.dataset.get(name)
        if found is None:
            return ()
        values = [*found] if isinstance(found, Sequence) and not isinstance(found, str | bytes) else [found]
        if values in ([], [""]):
            return ()
        try:
            numbers = tuple(float(value) for value in values)
        except (TypeError, ValueError):
            numbers = (math.nan,)
        if not all(math.isfinite(number) for number in numbers):
            raise ValueError(_short(found))
        return numbers

    def _needed(self, name: str, fault: str) -> DataError:
        return DataError(
            f"{self.path}: the DICOM header's {name} {fault}; the pixels can't be read without it.",
            "Export the film again, or correct that attribute.",
        )


def spacing_of(header: Header) -> tuple[float, float] | None:
    """(row, column) millimetres per pixel: PixelSpacing, else ImagerPixelSpacing; None where neither makes sense."""
    for name in ("PixelSpacing", "ImagerPixelSpacing"):
        found = header.numbers(name)
        if not found:
            continue
        low, high = _SPACING
        if len(found) == 2 and all(low <= side <= high for side in found) and _plausible(found[0] / found[1]):
            return found[0], found[1]
        header.leave_out(name, " × ".join(f"{side:g}" for side in found) + " mm")
    return None


def aspect_of(header: Header) -> float | None:
    """Height of a pixel over its width as PixelAspectRatio says; None where it doesn't, or makes no sense."""
    found = header.numbers("PixelAspectRatio")
    if not found:
        return None
    if len(found) == 2 and min(found) > 0 and _plausible(found[0] / found[1]):
        return found[0] / found[1]
    header.leave_out("PixelAspectRatio", ":".join(f"{side:g}" for side in found))
    return None


def _plausible(aspect: float) -> bool:
    return 1 / _ELONGATED <= aspect <= _ELONGATED


def signs_of_another_view(header: Header) -> tuple[str, ...]:
    """What of a header an upright frontal chest film wouldn't have, one short sentence each.

    What is missing, or is no word of the standard's kind, is no sign.
    """
    return (*signs_of_another_subject(header), *_said(_placing(header)))


def signs_of_another_subject(header: Header) -> tuple[str, ...]:
    """Those of them that say that it isn't a frontal film of the chest at all."""
    return _said(_subject(header))


def _said(signs: Iterator[str]) -> tuple[str, ...]:
    return tuple(f"the DICOM header says {found}" for found in signs)


def _subject(header: Header) -> Iterator[str]:
    modality = header.words("Modality")
    if modality and not _RADIOGRAPHS & {*modality}:
        yield f"modality {modality[0]}: no radiograph"
    part = header.words("BodyPartExamined")
    if part and {*part} <= _ELSEWHERE:
        yield f"body part {part[0]}: no chest"
    view, along = header.words("ViewPosition"), _orientation(header)
    side = header.words("ImageLaterality") or header.words("Laterality")
    if view and view[0] in _NOT_FRONTAL:
        yield f"view {view[0]}: not frontal"
    elif along and {along[0][0], along[1][0]} & {"A", "P"}:
        yield f"that {_run(along)}: not frontal"
    elif side and side[0] in ("L", "R") and not (view and view[0]) and not along:
        yield f"side {side[0]} and no view: not frontal"


def _placing(header: Header) -> Iterator[str]:
    """Signs that a frontal film isn't upright."""
    view, along = header.words("ViewPosition"), _orientation(header)
    if view and view[0] in _NOT_FRONTAL:
        return
    if view and view[0] in _LYING:
        yield f"view {view[0]}: not upright"
    ends = (along[0][0], along[1][0]) if along else _UPRIGHT
    if {*ends} & {"A", "P"}:
        return
    if ends == _MIRRORED:
        yield f"that the film is mirrored ({_run(along)}): left and right are exchanged"
    elif ends in _TURNED_AND_MIRRORED:
        yield f"that the film is turned and mirrored ({_run(along)})"
    elif ends != _UPRIGHT:
        yield f"that the film is turned ({_run(along)})"


def _orientation(header: Header) -> tuple[str, ...]:
    """What rows and columns run to, such as L and F; nothing where the header doesn't say."""
    along = header.words("PatientOrientation")
    return along if len(along) == 2 and all(re.fullmatch("[LRHFAP]{1,3}", word) for word in along) else ()


def _run(along: tuple[str, ...]) -> str:
    return f"rows run to {along[0]}, columns to {along[1]}"


def _short(value: object) -> str:
    text = " ".join(str(value).split()) if isinstance(value, Exception) else str(value)
    text = "".join(sign if sign.isprintable() else "?" for sign in text)
    return text if len(text) <= 60 else f"{text[:59]}…"
