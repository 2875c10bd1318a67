"""How far a run's hearts are off where they border on a lung, which the film shows, and where they don't.

    python examples/ablations/heart-border.py RUN...

Of each test film the mean distance from the true outline to the drawn one, of the last weights, in % of the input's
side, and the mean of these over films. A point of the outline borders on a lung if one lies within 2.5 % of the side.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from channels import measure_each, test_films
from scipy.ndimage import distance_transform_edt

from cxrkit.metrics.surface import outline

_NEAR = 0.025


def compare(drawn: np.ndarray, heart: np.ndarray, lungs: np.ndarray) -> tuple[float, float, float]:
    """Masks `(H, W)`, drawn and true, to the share of the outline at the lungs, and the distances there and elsewhere.

    Distances are shares of the longer side; nan where the outline has no such part.
    """
    border, side = outline(heart), max(heart.shape)
    off = distance_transform_edt(~outline(drawn))[border] / side
    at_lungs = distance_transform_edt(~lungs)[border] <= _NEAR * side
    parts = (off[at_lungs], off[~at_lungs])
    there, elsewhere = (float(part.mean()) if part.size else float("nan") for part in parts)
    return float(at_lungs.mean()), there, elsewhere


def measure(path: Path) -> None:
    predicted, truth, channels = test_films(path)
    left, right, heart = (channels.index(name) for name in ("left_lung", "right_lung", "heart"))
    pairs = list(zip(predicted > 0.5, truth > 0.5, strict=True))
    drawn = [(found, true) for found, true in pairs if found[heart].any()]
    if missed := len(pairs) - len(drawn):
        print(f"{path}: {missed} films of {len(pairs)} have no heart drawn, and don't count here")
    if drawn:
        rows = [compare(found[heart], true[heart], true[left] | true[right]) for found, true in drawn]
        share, there, elsewhere = 100 * np.nanmean(rows, 0)
        print(f"{path}: {there:.2f} % at the lungs ({share:.0f} % of the outline), {elsewhere:.2f} % elsewhere")


if __name__ == "__main__":
    measure_each(measure)
