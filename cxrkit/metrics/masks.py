"""Masks that the metrics accept, and the connected parts of a mask."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from cxrkit.errors import DataError

Mask = NDArray[np.bool_]


def as_mask(values: ArrayLike, what: str = "mask") -> Mask:
    """A `(H, W)` array of bools, or of integers 0 and others, as bool.

    Args:
        values: the array.
        what: what to call it in an error.

    Raises:
        DataError: it isn't two-dimensional, or holds floats: probabilities would all count as marked.
    """
    array = np.asarray(values)
    if array.ndim != 2 or array.size == 0:
        raise DataError(f"The {what} has the shape {array.shape}, not (H, W).", "Pass one structure of one film.")
    if array.dtype != np.bool_ and not np.issubdtype(array.dtype, np.integer):
        raise DataError(
            f"The {what} holds {array.dtype} values, not a mask's bools.", "Threshold it first: probabilities >= 0.5."
        )
    return array.astype(bool, copy=False)


def as_bytes(mask: Mask) -> np.ndarray:
    """A mask as OpenCV takes it: uint8 `(H, W)`, 0 or 1, the same memory where that is possible."""
    return np.ascontiguousarray(mask).view(np.uint8)


def as_masks(**named: ArrayLike) -> tuple[Mask, ...]:
    """Masks of one shape, in the order given; the names are for errors.

    Raises:
        DataError: see `as_mask`; or their shapes differ.
    """
    masks = {name: as_mask(values, name.replace("_", " ")) for name, values in named.items()}
    if len({mask.shape for mask in masks.values()}) > 1:
        shapes = ", ".join(f"{name.replace('_', ' ')} {mask.shape}" for name, mask in masks.items())
        raise DataError(f"The masks differ in shape: {shapes}.", "Bring them to one size, that of the film.")
    return tuple(masks.values())


def without_spots(mask: ArrayLike, minimum_part: float = 0.1) -> Mask:
    """The mask without its small parts.

    Args:
        mask: bool `(H, W)`.
        minimum_part: parts (8-connected) of fewer pixels than this share of the largest are dropped; 0 keeps
            every part, 1 only the largest (and its equals).

    >>> mask = np.array([[1, 1, 1, 0, 1], [1, 1, 1, 0, 0], [0, 0, 0, 0, 0], [0, 1, 1, 1, 1]])
    >>> without_spots(mask, 0.5).astype(int)
    array([[1, 1, 1, 0, 0],
           [1, 1, 1, 0, 0],
           [0, 0, 0, 0, 0],
           [0, 1, 1, 1, 1]])
    """
    whole = as_mask(mask)
    box = box_of(whole)
    labels, sizes = parts_of(whole[box], 8)
    if len(sizes) <= 1:
        return whole
    large = sizes >= max(1.0, minimum_part * float(sizes.max()))
    kept = np.zeros_like(whole)
    kept[box] = np.concatenate([[False], large])[labels]
    return kept


def without_holes(mask: ArrayLike, largest_hole: float = 0.1) -> Mask:
    """The mask without its small holes.

    Args:
        mask: bool `(H, W)`.
        largest_hole: holes, enclosed on all sides, of up to this share of the mask are filled.

    >>> mask = np.array([[1, 1, 1, 1, 0, 0], [1, 0, 1, 1, 0, 1], [1, 1, 1, 1, 0, 0]])
    >>> without_holes(mask).astype(int)
    array([[1, 1, 1, 1, 0, 0],
           [1, 1, 1, 1, 0, 1],
           [1, 1, 1, 1, 0, 0]])
    """
    part = as_mask(mask)
    box = box_of(part)
    # The margin joins all that isn't enclosed; it has the label of its corner.
    labels, sizes = parts_of(~np.pad(part[box], 1), 4)
    if len(sizes) <= 1:
        return part
    small = np.concatenate([[False], sizes <= largest_hole * float(part.sum())])
    small[labels[0, 0]] = False
    filled = part.copy()
    filled[box] |= small[labels[1:-1, 1:-1]]
    return filled


def second_part(mask: ArrayLike) -> float:
    """The size of a mask's second part, in shares of its largest: from 0, where there is none, to 1."""
    whole = as_mask(mask)
    _, sizes = parts_of(whole[box_of(whole)], 8)
    if len(sizes) <= 1:
        return 0.0
    second, largest = np.sort(sizes)[-2:]
    return float(second / largest)


def count_parts(mask: ArrayLike) -> int:
    """How many parts (8-connected) a mask has; 0 if it is empty.

    >>> count_parts(np.array([[1, 0, 0, 1], [0, 1, 0, 1]]))
    2
    """
    whole = as_mask(mask)
    return len(parts_of(whole[box_of(whole)], 8)[1])


def count_holes(mask: ArrayLike) -> int:
    """How many holes a mask has: parts (4-connected) of what isn't marked that don't reach the edge of the film.

    >>> count_holes(np.array([[1, 1, 1, 1, 0], [1, 0, 1, 0, 1], [1, 1, 1, 1, 1]]))
    2
    """
    whole = as_mask(mask)
    # The margin joins all that reaches the edge.
    return len(parts_of(~np.pad(whole, 1), 4)[1]) - 1


def box_of(mask: Mask) -> tuple[slice, slice]:
    """Rows and columns that a mask spans; one of each if it is empty.

    On a film of 36 million pixels, labelling all takes a second.
    """
    left, top, width, height = cv2.boundingRect(as_bytes(mask))
    return slice(top, top + max(1, height)), slice(left, left + max(1, width))


def parts_of(mask: Mask, connectivity: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels `(H, W)` of a mask's connected parts, from 1, and their sizes in pixels `(N,)`."""
    # OpenCV is several times as fast as SciPy, but its statistics take longer than its labels.
    count, labels = cv2.connectedComponents(as_bytes(mask), connectivity=connectivity)
    return labels, np.bincount(labels.ravel(), minlength=count)[1:] if count > 2 else np.full(count - 1, mask.sum())
