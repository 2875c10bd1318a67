"""Dice and cardiothoracic ratio of the 38 test films of lungs-heart within black and white borders.

    python examples/lungs-heart-borders.py FOLDER   # wingspan, as docs/explanation/results.md describes it

Prints a line a border, once as `cxrkit predict` does it and once with the border kept.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

import cxrkit
from cxrkit.config import SplitConfig
from cxrkit.data.splits import make_split
from cxrkit.interfaces import Entry
from cxrkit.metrics.cardiothoracic import cardiothoracic_ratio
from cxrkit.metrics.overlap import dice

STRUCTURES = ("heart", "left_lung", "right_lung")


def framed(pixels: np.ndarray, share: float, value: int) -> np.ndarray:
    rows, columns = (round(share * side) for side in pixels.shape)
    return np.pad(pixels, ((rows, rows), (columns, columns)), constant_values=value)


def measure(root: Path, names: list[str], share: float, value: int, keep_borders: bool) -> str:
    segmenter = cxrkit.load("lungs-heart", keep_borders=keep_borders)
    lungs, hearts, errors = [], [], []
    for name in names:
        film = cv2.imread(str(root / "images" / f"{name}.png"), cv2.IMREAD_GRAYSCALE)
        truth = {
            structure: framed(cv2.imread(str(root / "masks" / structure / f"{name}.png"), 0), share, 0) > 127
            for structure in STRUCTURES
        }
        found = segmenter(framed(film, share, value))
        lungs.append(100 * dice(*(m["left_lung"] | m["right_lung"] for m in (found.masks, truth))))
        hearts.append(100 * dice(found.masks["heart"], truth["heart"]))
        true_ratio = cardiothoracic_ratio(*(truth[structure] for structure in STRUCTURES))
        if found.cardiothoracic_ratio is not None and true_ratio is not None:
            errors.append(abs(found.cardiothoracic_ratio.value - true_ratio.value))
    numbers = [f"{np.mean(x):.1f} ± {np.std(x, ddof=1):.1f}, worst {min(x):.1f}" for x in (lungs, hearts)]
    return f"lungs {numbers[0]} | heart {numbers[1]} | ratio off by {np.mean(errors):.3f} on {len(errors)} films"


def main() -> None:
    root = Path(sys.argv[1])
    entries = [Entry(path.stem, path.stem) for path in sorted((root / "images").glob("*.png"))]
    names = list(make_split(entries, SplitConfig(test_size=38), 0).test)[: int((sys.argv[2:] or ["38"])[0])]
    for keep_borders in (False, True):
        for share in (0.0, 0.1, 0.25, 0.5):
            for colour, value in (("black", 0), ("white", 255)):
                border = f"{share:.0%} {colour}{', kept' if keep_borders else ''}"
                print(f"{border}: {measure(root, names, share, value, keep_borders)}", flush=True)


if __name__ == "__main__":
    main()
