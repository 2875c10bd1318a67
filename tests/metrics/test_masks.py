"""Parts and holes of masks, against SciPy."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from cxrkit.metrics.masks import count_holes, count_parts, second_part, without_holes, without_spots

masks = arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))
EIGHT = np.ones((3, 3), bool)


def sizes_of(mask: np.ndarray) -> np.ndarray:
    return np.sort(np.bincount(ndimage.label(mask, EIGHT)[0].ravel())[1:])


@given(masks)
def test_parts_are_those_that_scipy_finds(mask: np.ndarray) -> None:
    labels, _ = ndimage.label(mask, EIGHT)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    expected = (sizes >= max(1.0, 0.5 * sizes.max()))[labels]
    np.testing.assert_array_equal(without_spots(mask, 0.5), expected)
    ordered = sizes_of(mask)
    assert second_part(mask) == (ordered[-2] / ordered[-1] if len(ordered) > 1 else 0.0)


@given(masks)
def test_holes_are_those_that_scipy_fills(mask: np.ndarray) -> None:
    filled = without_holes(mask, largest_hole=np.inf)
    np.testing.assert_array_equal(filled, ndimage.binary_fill_holes(mask))
    np.testing.assert_array_equal(without_holes(filled), filled)


def test_a_large_hole_stays() -> None:
    ring = np.ones((10, 10), bool)
    ring[3:7, 3:7] = False
    np.testing.assert_array_equal(without_holes(ring), ring)
    assert without_holes(ring, largest_hole=0.2).all()


@given(masks)
def test_parts_and_holes_are_scipys(mask: np.ndarray) -> None:
    assert count_parts(mask) == ndimage.label(mask, EIGHT)[1]
    labels, found = ndimage.label(~mask)
    edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    assert count_holes(mask) == found - len(set(edge[edge > 0]))
