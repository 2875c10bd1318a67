"""The anatomy of the synthetic radiographs: numbers drawn for a patient, and outlines made from them.

All coordinates are millimetres on the film, `(x, y)`: x grows to the right of the picture, which is the
patient's **left**; y grows downwards. The origin is the middle of the thorax. Outlines are `(N, 2)` float
arrays. `side` is +1 for the patient's left and -1 for the right.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.random import Generator

LEFT, RIGHT = 1, -1


@dataclass(frozen=True, slots=True)
class Anatomy:
    """One patient. Lengths are millimetres.

    Attributes:
        half_width: of the inside of the thorax at its widest.
        apex, right_dome, left_dome: heights (y) of the lungs' tips and of the two halves of the diaphragm.
        angle_depth: of the costophrenic angles below the domes.
        cardiothoracic_ratio: width of the heart over the inner width of the thorax.
        heart_left_share: part of the heart's width that lies left of the midline.
        heart_height: from its top to its bottom.
        boot: 0 for a rounded heart, 1 for an apex that is lifted and points outwards.
        knob: radius of the aortic knob.
        spine_bend: sideways bow of the spine; `spine_half_width` is that of a vertebral body.
        rib_slope: drop of a posterior rib from the spine to the side.
        rib_width: height of a rib's shadow.
        clavicle_lift: of the lateral end above the medial one.
        thickness: of the chest, front to back, at the midline.
        fat: of the layer around the ribs.
        breast: thickness of each breast; 0 for none.
        gas: radius of the stomach's bubble under the left dome; 0 for none.
        lung_density: relative to water.
        detail_seed: of the small irregularities of outlines and vessels.
    """

    half_width: float
    apex: float
    right_dome: float
    left_dome: float
    angle_depth: float
    cardiothoracic_ratio: float
    heart_left_share: float
    heart_height: float
    boot: float
    knob: float
    spine_bend: float
    spine_half_width: float
    rib_slope: float
    rib_width: float
    clavicle_lift: float
    thickness: float
    fat: float
    breast: float
    gas: float
    lung_density: float
    detail_seed: int


def draw_anatomy(rng: Generator) -> Anatomy:
    """Draw a patient: adults of both sexes, from slim to obese, hearts from normal to enlarged."""
    size = rng.normal(1.0, 0.05)
    inspiration = rng.uniform(-1.0, 1.0)
    right_dome = 76.0 * size + 14.0 * inspiration
    return Anatomy(
        half_width=rng.uniform(124, 140) * size,
        apex=-rng.uniform(128, 142) * size,
        right_dome=right_dome,
        left_dome=right_dome + rng.uniform(6, 18),
        angle_depth=rng.uniform(24, 46),
        cardiothoracic_ratio=rng.uniform(0.41, 0.59),
        heart_left_share=rng.uniform(0.62, 0.72),
        heart_height=rng.uniform(112, 130) * size,
        boot=rng.uniform(0.0, 1.0),
        knob=rng.uniform(13, 20),
        spine_bend=rng.normal(0.0, 5.0),
        spine_half_width=rng.uniform(17, 21),
        rib_slope=rng.uniform(44, 72),
        rib_width=rng.uniform(8.5, 11.5),
        clavicle_lift=rng.uniform(2, 26),
        thickness=rng.uniform(185, 255),
        fat=rng.uniform(14, 34),
        breast=rng.uniform(18, 50) if rng.random() < 0.5 else 0.0,
        gas=rng.uniform(14, 26) if rng.random() < 0.65 else 0.0,
        lung_density=rng.uniform(0.22, 0.34),
        detail_seed=int(rng.integers(2**31)),
    )


# --- curves ------------------------------------------------------------------------------------------


@lru_cache(maxsize=32)
def _spline_weights(points: int, closed: bool, steps: int) -> np.ndarray:
    """The matrix that takes control points to points on their Catmull-Rom spline."""
    segments = points if closed else points - 1
    weights = np.zeros((segments * steps + (0 if closed else 1), points))
    for row in range(len(weights)):
        segment, t = min(row // steps, segments - 1), row / steps - min(row // steps, segments - 1)
        basis = (-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2)
        for offset, weight in zip((-1, 0, 1, 2), basis, strict=True):
            index = segment + offset
            weights[row, index % points if closed else min(max(index, 0), points - 1)] += weight / 2
    return weights


def smooth(control: np.ndarray, *, closed: bool = True, steps: int = 8) -> np.ndarray:
    """The Catmull-Rom spline through control points `(..., N, 2)`."""
    return np.asarray(_spline_weights(control.shape[-2], closed, steps) @ control)


def band(centre: np.ndarray, half_width: np.ndarray | float) -> np.ndarray:
    """The outline of a band along centre lines `(..., N, 2)`; `half_width` may differ along the line."""
    tangent = np.gradient(centre, axis=-2)
    tangent /= np.linalg.norm(tangent, axis=-1, keepdims=True) + 1e-9
    normal = np.stack((-tangent[..., 1], tangent[..., 0]), axis=-1)
    offset = normal * np.broadcast_to(np.asarray(half_width), centre.shape[:-1])[..., None]
    return np.concatenate((centre + offset, (centre - offset)[..., ::-1, :]), axis=-2)


def ellipse(centre: tuple[float, float], radii: tuple[float, float], points: int = 40) -> np.ndarray:
    """The outline of an upright ellipse."""
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.stack((centre[0] + radii[0] * np.cos(angle), centre[1] + radii[1] * np.sin(angle)), axis=1)


# --- organs ------------------------------------------------------------------------------------------


def spine_x(anatomy: Anatomy, y: np.ndarray | float) -> np.ndarray:
    """Where the middle of the spine is at height y."""
    return np.asarray(anatomy.spine_bend * np.cos(np.asarray(y) / 110.0))


def lung(anatomy: Anatomy, side: int) -> np.ndarray:
    """The lung field up to the mediastinum, before the heart is taken out of it."""
    a = anatomy
    dome = a.left_dome if side == LEFT else a.right_dome
    height = dome - a.apex
    w = a.half_width
    corner = dome + a.angle_depth
    points = [
        (0.42 * w, a.apex),
        (0.60 * w, a.apex + 0.055 * height),
        (0.765 * w, a.apex + 0.19 * height),
        (0.89 * w, a.apex + 0.42 * height),
        (0.96 * w, a.apex + 0.70 * height),
        (0.99 * w, dome),
        (0.995 * w, corner - 7.0),
        (0.975 * w, corner),
        (0.90 * w, dome + 0.50 * a.angle_depth),
        (0.72 * w, dome + 0.09 * a.angle_depth),
        (0.50 * w, dome),
        (0.30 * w, dome + 0.06 * a.angle_depth),
        (0.09 * w, dome + 0.20 * a.angle_depth),
        (0.08 * w, a.apex + 0.60 * height),
        (0.10 * w, a.apex + 0.30 * height),
        (0.16 * w, a.apex + 0.13 * height),
        (0.26 * w, a.apex + 0.03 * height),
    ]
    uneven = np.random.default_rng((a.detail_seed, side + 1)).normal(0.0, 2.0, (len(points), 2))
    return smooth((np.array(points) + uneven) * (side, 1.0))


def heart(anatomy: Anatomy) -> np.ndarray:
    """The heart's silhouette: right atrium, left ventricle with its apex, pulmonary trunk."""
    a = anatomy
    width = a.cardiothoracic_ratio * 2 * a.half_width
    left, right = width * a.heart_left_share, -width * (1 - a.heart_left_share)
    bottom = a.left_dome + 0.28 * a.angle_depth
    h = a.heart_height
    apex = bottom - (0.10 + 0.13 * a.boot) * h
    points = [
        (0.30 * right, bottom - h),
        (0.66 * right, bottom - 0.80 * h),
        (0.94 * right, bottom - 0.56 * h),
        (1.00 * right, bottom - 0.36 * h),
        (0.88 * right, bottom - 0.16 * h),
        (0.45 * right, bottom - 0.04 * h),
        (0.22 * left, bottom + 0.01 * h),
        (0.62 * left, bottom),
        (0.90 * left, apex + 0.07 * h),
        (1.00 * left, apex - 0.07 * h),
        (0.95 * left, apex - 0.20 * h),
        (0.80 * left, bottom - (0.53 - 0.03 * a.boot) * h),
        (0.57 * left, bottom - 0.76 * h),
        (0.41 * left, bottom - 0.94 * h),
        (0.05 * left, bottom - 1.02 * h),
    ]
    return smooth(np.array(points))


def mediastinum(anatomy: Anatomy) -> np.ndarray:
    """Great vessels and the tissue between the lungs, with the aortic knob on the patient's left."""
    a = anatomy
    top = a.apex - 25.0
    bottom = a.left_dome + a.angle_depth
    arch = a.apex + 0.33 * (a.left_dome - a.apex)
    points = [
        (-20.0, top),
        (-24.0, a.apex + 25.0),
        (-23.0, arch),
        (-28.0, arch + 35.0),
        (-16.0, bottom),
        (16.0, bottom),
        (28.0, arch + 45.0),
        (22.0, arch + 1.3 * a.knob),
        (22.0 + 0.55 * a.knob, arch + 0.5 * a.knob),
        (21.0 + 0.65 * a.knob, arch - 0.45 * a.knob),
        (21.0, arch - 1.3 * a.knob),
        (18.0, a.apex + 15.0),
        (20.0, top),
    ]
    uneven = np.random.default_rng((a.detail_seed, 3)).normal(0.0, 1.5, (len(points), 2))
    return smooth(np.array(points) + uneven)


def clavicle(anatomy: Anatomy, side: int) -> np.ndarray:
    """The S-shaped collar bone from the breast bone outwards, over the tip of the lung."""
    a = anatomy
    y = a.apex + 26.0
    lift = a.clavicle_lift
    centre = smooth(
        np.array(
            [
                (12.0, y + 5.0),
                (0.26 * a.half_width, y + 1.0 - 0.10 * lift),
                (0.55 * a.half_width, y - 3.0 - 0.55 * lift),
                (0.86 * a.half_width, y - 15.0 - 1.00 * lift),
                (1.14 * a.half_width, y - 15.0 - 1.00 * lift),
            ]
        )
        * (side, 1.0),
        closed=False,
    )
    taper = np.interp(np.linspace(0, 1, len(centre)), [0, 0.06, 0.14, 0.5, 0.95, 1.0], [4.0, 7.2, 6.8, 4.8, 6.0, 3.0])
    return band(centre, taper)


def wall(anatomy: Anatomy, y: np.ndarray | float) -> np.ndarray:
    """Half the inner width of the rib cage at height y."""
    a = anatomy
    span = a.right_dome - a.apex
    heights = a.apex + span * np.array([-0.12, 0.0, 0.07, 0.22, 0.45, 0.70, 1.0, 1.3])
    shares = [0.20, 0.45, 0.62, 0.79, 0.90, 0.965, 1.0, 0.985]
    return np.asarray(np.interp(y, heights, np.array(shares) * a.half_width))


def ribs(anatomy: Anatomy, side: int, *, front: bool) -> np.ndarray:
    """Centre lines `(R, N, 2)` of the ribs, from the spine outwards, or of their front parts, from the side in."""
    a = anatomy
    t = np.linspace(0, 1, 24)
    lines = []
    spacing = (a.right_dome + 48.0 - a.apex) / 9.6
    for number in range(1 if front else 0, 7 if front else 11):
        start = a.apex - 6.0 + number * spacing * (1 + 0.006 * number)
        slope = a.rib_slope * (0.40 + 0.07 * number)
        side_y = start + slope
        reach = (float(wall(a, side_y)) + 1.5) * (1.0 if number < 9 else 1.66 - 0.09 * number)
        if front:
            drop = 0.7 * spacing + 9.0 * number
            inner = reach * (0.40 + 0.035 * number)
            x = inner + (reach - inner) * np.cos(t * np.pi / 2)
            y = side_y + drop * np.sin(t * np.pi / 2) ** 1.2
        else:
            x = 19.0 + (reach - 19.0) * np.sin(t * np.pi / 2) ** 0.9
            y = start - 0.22 * spacing * np.sin(np.pi * np.minimum(t * 1.3, 1.0)) + slope * (x / reach) ** 2.2
            x = x + side * spine_x(a, start) * (1 - t)
        lines.append(np.stack((side * x, y), axis=1))
    return np.array(lines)


def body(anatomy: Anatomy) -> np.ndarray:
    """The outline of neck, shoulders, upper arms and trunk; it runs out of the film above and below."""
    a = anatomy
    trunk = a.half_width + a.fat
    shoulder = a.apex - 2.0
    half = [
        (50.0 + 0.3 * a.fat, -320.0),
        (50.0 + 0.3 * a.fat, shoulder - 48.0),
        (66.0 + 0.5 * a.fat, shoulder - 26.0),
        (0.9 * trunk, shoulder - 16.0 - 0.6 * a.clavicle_lift),
        (trunk + 42.0, shoulder + 10.0),
        (trunk + 68.0, shoulder + 70.0),
        (trunk + 74.0, shoulder + 140.0),
        (trunk + 30.0, shoulder + 118.0),
        (trunk + 4.0, shoulder + 104.0),
        (trunk + 1.0, shoulder + 160.0),
        (trunk + 3.0, a.right_dome + 30.0),
        (trunk + 0.3 * a.fat, 340.0),
    ]
    right = smooth(np.array(half), closed=False)
    return np.concatenate((right, right[::-1] * (-1.0, 1.0)))
