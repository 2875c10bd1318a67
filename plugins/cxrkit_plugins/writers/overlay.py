"""The film with its structures drawn on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from cxrkit import Segmentation, Writer, draw_overlay
from cxrkit_plugins.writers.png import encode_png


class OverlayWriter(Writer):
    """`overlay.png`: the film with outlines, the cardiothoracic ratio, warnings, and how good masks may be."""

    def __init__(self, *, legend: Annotated[bool, Field(description="name the structures")] = True) -> None:
        self.legend = legend

    def files(self, result: Segmentation) -> Iterator[tuple[str, bytes]]:
        """One picture, RGB."""
        drawn = draw_overlay(
            result.film.pixels,
            result.masks,
            ratio=result.cardiothoracic_ratio,
            legend=self.legend,
            warnings=result.warnings,
            quality=result.quality,
        )
        yield "overlay.png", encode_png(drawn)
