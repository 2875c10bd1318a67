"""Masks by their connected parts and holes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import numpy as np
from pydantic import Field

from cxrkit import Postprocess
from cxrkit.metrics.masks import without_holes, without_spots

_ONE_PIECE = ("left_lung", "right_lung", "heart")


class OnePiece(Postprocess):
    """A structure's largest part without small holes, as lungs and hearts are; others lose their small parts.

    In the reference masks of the 200 films of wingspan, each lung is one part without a hole, and so are all hearts
    but one, which has a few pixels apart and a hole of 0.005 %.
    """

    def __init__(
        self,
        *,
        structures: Annotated[tuple[str, ...], Field(description="structures that are one piece")] = _ONE_PIECE,
        largest_hole: Annotated[
            float, Field(ge=0, description="holes of up to this share of a structure that is one piece are filled")
        ] = 0.1,
        minimum_part: Annotated[
            float, Field(ge=0, le=1, description="other structures lose parts below this share of their largest")
        ] = 0.1,
    ) -> None:
        self.structures = structures
        self.largest_hole = largest_hole
        self.minimum_part = minimum_part

    def __call__(self, masks: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Masks by structure, bool `(H, W)` each."""
        return {
            name: without_holes(without_spots(mask, 1.0), self.largest_hole)
            if name in self.structures
            else without_spots(mask, self.minimum_part)
            for name, mask in masks.items()
        }


class FillHoles(Postprocess):
    """Every structure without holes; its parts are kept."""

    def __init__(
        self,
        *,
        largest_hole: Annotated[
            float | None, Field(ge=0, description="holes of up to this share of the structure are filled; null: all")
        ] = None,
    ) -> None:
        self.largest_hole = largest_hole

    def __call__(self, masks: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Masks by structure, bool `(H, W)` each."""
        largest = np.inf if self.largest_hole is None else self.largest_hole
        return {name: without_holes(mask, largest) for name, mask in masks.items()}


class Unchanged(Postprocess):
    """Masks as the threshold makes them."""

    def __call__(self, masks: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Masks by structure, bool `(H, W)` each."""
        return dict(masks)
