"""What the metrics take as a mask, and the parts that a mask is made of."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

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
    labels, count = ndimage.label(whole, structure=np.ones((3, 3), dtype=bool))
    if count <= 1:
        return whole
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    kept: Mask = (sizes >= max(1.0, minimum_part * float(sizes.max())))[labels]
    return kept
