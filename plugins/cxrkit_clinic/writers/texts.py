"""Texts of our own in DICOM objects: plain ASCII, whichever character set the patient's name needs."""

from __future__ import annotations

#: Characters that a text of any kind may have.
LONGEST = 1024

_SIGNS = str.maketrans({"×": "x", "°": " degrees", "–": "-", "−": "-", "…": "...", "²": "2", "\\": "/"})


def ascii_text(text: str, length: int = 64) -> str:
    """A text in a line of ASCII, its end cut off where it is longer than `length` characters.

    >>> ascii_text("tilted by 12°: 200 × 300")
    'tilted by 12 degrees: 200 x 300'
    """
    plain = " ".join(text.translate(_SIGNS).encode("ascii", "replace").decode().split())
    return plain if len(plain) <= length else f"{plain[: length - 3].rstrip()}..."
