"""A picture of each structure, as PNG at the film's own size."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cxrkit import Segmentation, Writer
from cxrkit_plugins.writers.png import encode_png


class MasksWriter(Writer):
    """`heart.png`: a mask of each structure, 8 bits, 0 outside and 255 inside."""

    def files(self, result: Segmentation) -> Iterator[tuple[str, bytes]]:
        """A picture per structure."""
        for name, mask in result.masks.items():
            yield f"{name}.png", encode_png(mask.astype(np.uint8) * 255)


class ProbabilitiesWriter(Writer):
    """`heart-probability.png`: the probability of each structure, 16 bits, where 65535 is 1."""

    def files(self, result: Segmentation) -> Iterator[tuple[str, bytes]]:
        """A picture per structure."""
        for name, probability in result.probabilities.items():
            yield f"{name}-probability.png", encode_png(np.rint(probability * 65535).astype(np.uint16))
