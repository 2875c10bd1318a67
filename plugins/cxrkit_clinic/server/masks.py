"""Masks as the page sends and gets them: the lengths of their runs, row by row."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from cxrkit.commands import DataError


def runs_of(mask: np.ndarray) -> list[int]:
    """The lengths of alternating runs of a bool mask `(H, W)`, row by row; the first is outside, and may be 0.

    >>> runs_of(np.array([[False, True], [True, False]])), runs_of(np.ones((1, 3), bool))
    ([1, 2, 1], [0, 3])
    """
    flat = mask.ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    lengths: list[int] = np.diff(edges, prepend=0, append=flat.size).tolist()
    return [0, *lengths] if flat[0] else lengths


def mask_of(runs: Sequence[int], shape: tuple[int, int]) -> np.ndarray:
    """The bool mask `(H, W)` of such runs.

    Raises:
        DataError: they don't fill it.
    """
    if min(runs, default=0) < 0 or sum(runs) != shape[0] * shape[1]:
        raise DataError(
            f"The runs of the mask don't fill the film's {shape[1]} × {shape[0]} pixels.", "Send all runs, from 0."
        )
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(shape)


def png_of(mask: np.ndarray) -> bytes:
    """A bool mask as PNG of 8 bits, 0 outside and 255 inside."""
    # The fastest compression: a stroke waits for it, and masks compress well anyway.
    written = cv2.imencode(".png", mask.astype(np.uint8) * 255, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]
    return bytes(written)
