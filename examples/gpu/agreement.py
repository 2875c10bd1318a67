"""Dice between nnU-Net's masks, those of our weights, and those drawn by hand, on the test films of a split.

    python examples/gpu/agreement.py control-masks.tar.gz FILMS examples/splits/wingspan-all.json WEIGHTS

The archive is what the stage `control` wrote; FILMS has `images/` and `masks/<structure>/`; WEIGHTS are a file or
a name, such as lungs-heart.
"""

from __future__ import annotations

import json
import sys
import tarfile
from pathlib import Path

import cv2
import numpy as np

import cxrkit
from cxrkit.metrics.overlap import dice

STRUCTURES = ("left_lung", "right_lung", "heart")
Masks = dict[str, np.ndarray]


def joined(masks: Masks) -> Masks:
    """Both lungs as one mask, and the heart."""
    return {"lungs": masks["left_lung"] | masks["right_lung"], "heart": masks["heart"]}


def main(archive: Path, films: Path, split: Path, weights: str) -> None:
    """Print means over films, and how the two systems' Dice coefficients correlate."""
    segment = cxrkit.load(weights)
    found: dict[str, list[tuple[float, float, float]]] = {"lungs": [], "heart": []}
    with tarfile.open(archive) as tar:
        for film in json.loads(split.read_text(encoding="utf-8"))["test"]:
            packed = tar.extractfile(f"{film}.png")
            assert packed is not None
            stacked = cv2.imdecode(np.frombuffer(packed.read(), np.uint8), cv2.IMREAD_GRAYSCALE) > 0
            theirs = joined(dict(zip(STRUCTURES, np.split(stacked, len(STRUCTURES)), strict=True)))
            ours = joined(segment(films / "images" / f"{film}.png").masks)
            drawn = joined({s: cxrkit.read_mask(films / "masks" / s / f"{film}.png") for s in STRUCTURES})
            for name, values in found.items():
                pairs = ((theirs, drawn), (ours, drawn), (theirs, ours))
                first, second, third = (dice(a[name], b[name]) for a, b in pairs)
                values.append((first, second, third))
    for name, values in found.items():
        scores = np.array(values)
        closer = int((scores[:, 2] > scores[:, :2].max(axis=1)).sum())
        print(
            f"{name}: nnU-Net {scores[:, 0].mean():.3f}, ours {scores[:, 1].mean():.3f}, "
            f"one against the other {scores[:, 2].mean():.3f}; correlation over films "
            f"{np.corrcoef(scores[:, 0], scores[:, 1])[0, 1]:.2f}; on {closer} of {len(scores)} films they are closer "
            "to each other than either to the drawn masks"
        )


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]), sys.argv[4])
