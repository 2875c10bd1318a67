"""Coded terms: the standard's where pydicom's tables have them, otherwise private ones of the scheme 99CXRKIT."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from cxrkit_clinic.writers.texts import ascii_text

SCHEME = "99CXRKIT"

CARDIAC_DIAMETER = Code("cardiac-diameter", SCHEME, "Cardiac diameter")
THORACIC_DIAMETER = Code("thoracic-diameter", SCHEME, "Thoracic diameter")
CARDIOTHORACIC_RATIO = Code("ct-ratio", SCHEME, "Cardiothoracic ratio")
ESTIMATED_DICE = Code("estimated-dice", SCHEME, "Estimated Dice coefficient of the mask")
PLAUSIBILITY = Code("plausibility", SCHEME, "Plausibility of the segmentation")
PLAUSIBLE = Code("plausible", SCHEME, "No warnings")
DOUBTFUL = Code("doubtful", SCHEME, "Warnings: check before use")
WARNING = Code("warning", SCHEME, "Warning")
PIXELS = Code("{pixels}", "UCUM", "pixels")
MILLIMETRES = Code("mm", "UCUM", "millimeter")
NO_UNITS = Code("1", "UCUM", "no units")

#: Context groups that structures are looked up in, by the number of each, and what kind of thing its terms are.
_GROUPS = {
    7192: codes.SCT.AnatomicalStructure,
    4: codes.SCT.AnatomicalStructure,
    7191: codes.SCT.Tissue,
    7193: codes.SCT.PhysicalObject,
    7194: codes.SCT.MorphologicallyAbnormalStructure,
}
_SIDES = {"left": codes.SCT.Left, "right": codes.SCT.Right}


@dataclass(frozen=True)
class CodedStructure:
    """A structure in codes.

    Attributes:
        category: whether it is anatomical, a device, a lesion.
        type: what it is.
        side: its laterality, where that isn't part of `type`.
    """

    category: Code
    type: Code
    side: Code | None = None


def coded(structure: str) -> CodedStructure:
    """The codes of a structure: of its whole name, else of the name without `left` or `right`, else a private one.

    >>> coded("left_lung").type.value, coded("left_lung").side.meaning, coded("aorta").type.value
    ('39607008', 'Left', '15825003')
    """
    words = structure.split("_")
    for side in (None, _SIDES.get(words[0])):
        keyword = "".join(word.capitalize() for word in (words if side is None else words[1:]))
        for number, category in _GROUPS.items():
            found = getattr(getattr(codes, f"cid{number}"), keyword, None)
            if found is not None:
                return CodedStructure(category, found, side)
    return CodedStructure(codes.SCT.AnatomicalStructure, Code(structure[:64], SCHEME, label_of(structure)))


def label_of(structure: str) -> str:
    """A structure's name for people, of at most 64 characters: `Left lung`."""
    return ascii_text(structure.replace("_", " ").capitalize())
