"""A picture of six films that the weights `lungs-heart` never saw: the two best, typical and worst masks.

    python examples/best-typical-worst.py WINGSPAN docs/images/lungs-heart.jpg

WINGSPAN holds images/ and masks/. The films are the test films of examples/splits/lungs-heart-2.json; what is best is
the mean Dice coefficient of both lungs and the heart with the masks that people drew, whose outlines are white.
"""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

import cxrkit
from cxrkit.metrics.overlap import dice

SPLIT = Path(__file__).parent / "splits" / "lungs-heart-2.json"
SIZE = 330


def main() -> None:
    """Score all, and draw six."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--weights", default="lungs-heart")
    asked = parser.parse_args()
    segmenter = cxrkit.load(asked.weights)
    test = [id.removeprefix("wingspan+") for id in json.loads(SPLIT.read_text())["test"] if id.startswith("wingspan+")]
    found = []
    for number, name in enumerate(test, 1):
        result = segmenter(asked.folder / "images" / f"{name}.png")
        drawn = {one: cxrkit.read_mask(asked.folder / "masks" / one / f"{name}.png") for one in result.masks}
        scores = {one: dice(result.masks[one], drawn[one]) for one in drawn}
        found.append((float(np.mean([*scores.values()])), name, result, drawn, scores))
        print(f"{number} of {len(test)}: {name} {found[-1][0]:.3f}", flush=True)
    found.sort(key=lambda one: -one[0])
    middle = len(found) // 2
    chosen = [("best", found[0]), ("typical", found[middle - 1]), ("worst", found[-2])]
    chosen += [("best", found[1]), ("typical", found[middle]), ("worst", found[-1])]
    figure = Figure(figsize=(9, 6.9), dpi=100, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    for axes, (what, (_, name, result, drawn, scores)) in zip(figure.subplots(2, 3).flat, chosen, strict=True):
        pixels = cv2.resize(result.film.pixels, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        small = {one: _small(mask) > 0 for one, mask in result.masks.items()}
        overlay = np.ascontiguousarray(cxrkit.draw_overlay(pixels, small, legend=False))
        for mask in drawn.values():
            outlines, _ = cv2.findContours(_small(mask), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(overlay, outlines, -1, (255, 255, 255), 1)
        axes.imshow(overlay)
        axes.set_axis_off()
        numbers = ", ".join(f"{label} {scores[one]:.3f}" for one, label in _LABELS.items())
        quality = min(result.quality.values(), default=None)
        estimated = "" if quality is None else f"; lowest estimate {quality:.2f}"
        axes.set_title(f"{what}: {name}\n{numbers}{estimated}", fontsize=7.5)
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    asked.picture.parent.mkdir(parents=True, exist_ok=True)
    Image.open(stream).convert("RGB").save(asked.picture, quality=85, optimize=True)
    print(f"{asked.picture}: {asked.picture.stat().st_size // 1000} kB")


_LABELS = {"left_lung": "left", "right_lung": "right", "heart": "heart"}


def _small(mask: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.resize(mask.astype(np.uint8), (SIZE, SIZE), interpolation=cv2.INTER_NEAREST))


if __name__ == "__main__":
    main()
