"""How much lower HD95 is where the distances of both directions are taken together, as MedPy does.

    python examples/pooled-hd95.py FOLDER   # films and masks, as `cxrkit train --data` takes them

Compares the masks of the weights that come with cxrkit with the true ones, at the films' own size.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from scipy.spatial import KDTree

import cxrkit
from cxrkit.metrics.surface import outline, surface_distances
from cxrkit.plugins import registry


def pooled_hausdorff_95(a: np.ndarray, b: np.ndarray) -> float:
    """The 95th percentile of both directions' distances together, of bool masks `(H, W)` that aren't empty."""
    first, second = np.argwhere(outline(a)), np.argwhere(outline(b))
    return float(np.percentile(np.concatenate([KDTree(second).query(first)[0], KDTree(first).query(second)[0]]), 95))


def main(folder: Path) -> None:
    """Print the ratio of both over all masks of a folder."""
    segmenter = cxrkit.load()
    dataset = registry().get("dataset", "folder").build(folder)
    ratios = []
    for entry in dataset.entries():
        sample = dataset.read(entry)
        found = segmenter(sample.image).masks
        for name in set(found) & set(sample.masks):
            ours = surface_distances(found[name], sample.masks[name]).hausdorff_95 if found[name].any() else 0.0
            if ours:
                ratios.append(pooled_hausdorff_95(found[name], sample.masks[name]) / ours)
    low, median, high = np.percentile(ratios, [0, 50, 100])
    print(f"{len(ratios)} masks: pooled over cxrkit's HD95: median {median:.3f}, from {low:.3f} to {high:.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
