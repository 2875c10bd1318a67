"""What the patient of a synthetic radiograph takes out of the beam, organ by organ.

Thicknesses along the beam add up, as water and as bone beyond water, to an attenuation: the natural logarithm
of how much weaker the beam becomes.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from cxrkit_plugins.datasets import phantom_anatomy as parts
from cxrkit_plugins.datasets.phantom_anatomy import LEFT, RIGHT, Anatomy
from cxrkit_plugins.datasets.phantom_canvas import Canvas, largest_part, texture

#: Attenuation of water, per millimetre, at the energies of a chest film.
WATER = 0.0185


def masks(anatomy: Anatomy, canvas: Canvas) -> dict[str, np.ndarray]:
    """Left lung, right lung and heart, bool `(size, size)`, disjoint, and the two clavicles over them."""
    heart = canvas.mask(parts.heart(anatomy))
    between = heart | canvas.mask(parts.mediastinum(anatomy))
    return {
        "left_lung": largest_part(canvas.mask(parts.lung(anatomy, LEFT)) & ~between),
        "right_lung": largest_part(canvas.mask(parts.lung(anatomy, RIGHT)) & ~between),
        "heart": heart,
        "left_clavicle": canvas.mask(parts.clavicle(anatomy, LEFT)),
        "right_clavicle": canvas.mask(parts.clavicle(anatomy, RIGHT)),
    }


def attenuation(anatomy: Anatomy, canvas: Canvas, regions: dict[str, np.ndarray], rng: Generator) -> np.ndarray:
    """Natural logarithm of the attenuation, float32 `(size, size)`; 0 in air."""
    a = anatomy
    trunk = canvas.mask(parts.body(a))
    water = a.thickness * canvas.profile(trunk, 95.0) ** 0.8
    water *= 1.0 + 0.025 * texture(rng, canvas.size, coarsest=4, finest=16)
    water -= air(a, canvas, regions, rng)
    water += breasts(a, canvas)
    water = np.maximum(water, 12.0 * trunk)
    total = WATER * water + vessels(a, canvas, regions) + bones(a, canvas, regions)
    total -= 0.28 * canvas.shade(*((tube, 1.0) for tube in airway(a)), blur=1.5)
    return np.maximum(total, 0.0).astype(np.float32)


def air(anatomy: Anatomy, canvas: Canvas, regions: dict[str, np.ndarray], rng: Generator) -> np.ndarray:
    """Millimetres of water that the lungs and the stomach's gas lack."""
    a = anatomy
    heart, between = regions["heart"], canvas.mask(parts.mediastinum(a))
    seen = regions["left_lung"] | regions["right_lung"]
    # Lung also lies before and behind the heart and the great vessels.
    whole = canvas.mask(parts.lung(a, LEFT)) | canvas.mask(parts.lung(a, RIGHT))
    fields = seen | (whole & (heart | between))
    lungs = 0.62 * a.thickness * (0.30 + 0.70 * canvas.profile(fields, 70.0)) * fields
    solid = 88.0 * (0.45 + 0.55 * canvas.profile(heart, 34.0)) * heart
    middle = 100.0 * canvas.profile(between, 14.0)
    lungs = np.maximum(lungs - np.maximum(solid, middle), 0.12 * lungs)
    lungs = canvas.blur(lungs.astype(np.float32), 0.7)
    lungs *= (1.0 - a.lung_density) * (1.0 + 0.05 * texture(rng, canvas.size, coarsest=8, finest=128))
    if a.gas:
        place = (0.48 * a.half_width, a.left_dome + a.gas + 5.0)
        bubble = parts.ellipse(place, (1.25 * a.gas, 0.8 * a.gas))
        lungs += 2.0 * a.gas * canvas.blur(canvas.profile(canvas.mask(bubble), a.gas).astype(np.float32), 1.0)
    return np.asarray(lungs)


def breasts(anatomy: Anatomy, canvas: Canvas) -> np.ndarray | float:
    """Millimetres of water of the breasts: a soft upper rim and a clear lower one."""
    a = anatomy
    if not a.breast:
        return 0.0
    total = np.zeros((canvas.size, canvas.size), np.float32)
    for side in (LEFT, RIGHT):
        place = (side * 0.69 * a.half_width, a.right_dome - 14.0)
        outline = parts.ellipse(place, (0.49 * a.half_width, 40.0 + 0.7 * a.breast))
        total += 0.8 * a.breast * canvas.profile(canvas.mask(outline), 60.0).astype(np.float32)
    return canvas.blur(total, 2.0)


def airway(anatomy: Anatomy) -> tuple[np.ndarray, ...]:
    """The windpipe and the two main bronchi that it divides into."""
    carina = anatomy.apex + 80.0
    y = np.linspace(carina - 150.0, carina, 20)
    middle = np.stack((parts.spine_x(anatomy, y) * 0.5 - 1.0, y), axis=1)
    end = middle[-1] - (0.0, 5.0)
    right = parts.smooth(end + np.array([(0.0, 0.0), (-12.0, 13.0), (-25.0, 36.0)]), closed=False)
    left = parts.smooth(end + np.array([(0.0, 0.0), (14.0, 12.0), (36.0, 31.0)]), closed=False)
    return parts.band(middle, 8.5), parts.band(right, 6.5), parts.band(left, 5.5)


def vessels(anatomy: Anatomy, canvas: Canvas, regions: dict[str, np.ndarray]) -> np.ndarray:
    """Attenuation of the pulmonary vessels, which branch from the two hila and thin out to the rim."""
    a = anatomy
    rng = np.random.default_rng(a.detail_seed)
    field = np.zeros((canvas.size, canvas.size), np.uint8)
    hila = np.zeros(field.shape, np.float32)
    for side in (LEFT, RIGHT):
        hilum = np.array([side * 30.0, a.apex + 0.52 * (a.right_dome - a.apex) - (8.0 if side == LEFT else 0.0)])
        mains = branches(rng, hilum + rng.normal(0, (4, 13), (16, 2)), np.linspace(-1.30, 1.35, 16), side, 105.0)
        twigs = fork(rng, mains, 4, side, 52.0)
        tips = fork(rng, twigs, 2, side, 26.0)
        canvas.strokes(field, tips, 0.9, 0.5)
        canvas.strokes(field, twigs, 1.4, 0.6)
        canvas.strokes(field, mains[:, 4:], 2.2, 0.7)
        canvas.strokes(field, mains[:, :6], 3.6, 0.8)
        canvas.strokes(field, mains[:, :4], 5.5, 0.95)
        hila += canvas.shade((parts.ellipse((hilum[0] + 6.0 * side, hilum[1]), (15.0, 26.0)), 1.0), blur=9.0)
    inside = canvas.blur((regions["left_lung"] | regions["right_lung"]).astype(np.float32), 2.0)
    return (0.36 * canvas.blur(field.astype(np.float32) / 255.0, 0.45) + 0.40 * hila) * inside


def branches(rng: Generator, starts: np.ndarray, angles: np.ndarray, side: int, length: float) -> np.ndarray:
    """Wandering lines `(B, 10, 2)` from `starts` `(B, 2)`; angle 0 points outwards, positive ones down."""
    steps = 9
    bends = rng.normal(0, 0.17, (len(starts), steps)).cumsum(axis=1)
    headings = angles[:, None] + bends
    stride = length / steps * rng.uniform(0.6, 1.1, (len(starts), 1))
    moves = np.stack((side * np.cos(headings), np.sin(headings)), axis=-1) * stride[..., None]
    return np.concatenate((starts[:, None], starts[:, None] + moves.cumsum(axis=1)), axis=1)


def fork(rng: Generator, lines: np.ndarray, count: int, side: int, length: float) -> np.ndarray:
    """`count` branches off each of the lines, at sharp angles to either hand."""
    parents = np.repeat(np.arange(len(lines)), count)
    at = rng.integers(2, lines.shape[1] - 1, len(parents))
    starts = lines[parents, at]
    along = lines[parents, at + 1] - starts
    heading = np.arctan2(along[:, 1], side * along[:, 0])
    turns = rng.uniform(0.35, 0.9, len(parents)) * rng.choice([-1, 1], len(parents))
    return branches(rng, starts, heading + turns, side, length)


def bones(anatomy: Anatomy, canvas: Canvas, regions: dict[str, np.ndarray]) -> np.ndarray:
    """Attenuation of ribs, clavicles, spine, shoulder blades and upper arms, beyond that of water."""
    a = anatomy
    half = a.rib_width / 2
    ribs = np.zeros((canvas.size, canvas.size), np.float32)
    others = spine(a, canvas)
    for side in (LEFT, RIGHT):
        back, front = parts.ribs(a, side, front=False), parts.ribs(a, side, front=True)
        # A rib is a tube of dense bone: its rims are brighter than its middle.
        ribs += 0.33 * canvas.shade((parts.band(back, half), 1.0), (parts.band(back, 0.66 * half), 0.55), blur=0.35)
        ribs += 0.19 * canvas.shade(
            (parts.band(front, 1.2 * half), 1.0), (parts.band(front, 0.9 * half), 0.65), blur=0.7
        )
        bone = parts.clavicle(a, side)
        core = bone.mean(axis=0) + (bone - bone.mean(axis=0)) * (1.0, 0.92)
        others += 0.40 * canvas.shade((bone, 1.0), (core, 0.65), blur=0.35)
        others += shoulder(a, canvas, side)
    # Where there is more than lung in the beam, its scatter drowns the ribs.
    lungs = canvas.blur((regions["left_lung"] | regions["right_lung"]).astype(np.float32), 4.0)
    return others + ribs * (0.25 + 0.75 * lungs)


def shoulder(anatomy: Anatomy, canvas: Canvas, side: int) -> np.ndarray:
    """Shoulder blade and head of the upper arm."""
    a = anatomy
    w, top = a.half_width, a.apex + 4.0
    points = [(0.80 * w, top + 22.0), (0.90 * w, top + 88.0), (1.03 * w, top + 118.0), (1.16 * w, top + 40.0)]
    blade = parts.smooth(np.array(points) * (side, 1.0))
    inner = blade.mean(axis=0) + (blade - blade.mean(axis=0)) * 0.94
    socket = parts.smooth(
        np.array([(0.92 * w, top + 16.0), (1.10 * w, top + 2.0), (1.28 * w, top + 6.0)]), closed=False
    )
    head = parts.ellipse((side * (1.32 * w), top + 24.0), (24.0, 26.0))
    shaft = parts.band(np.array([(1.36 * w, top + 40.0), (1.46 * w, top + 180.0)]) * (side, 1.0), 13.0)
    field = canvas.shade((blade, 0.45), (inner, 0.25), (parts.band(socket * (side, 1.0), 6.0), 0.6), blur=0.8)
    return 0.45 * (field + canvas.shade((shaft, 0.7), (head, 0.8), blur=0.8))


def spine(anatomy: Anatomy, canvas: Canvas) -> np.ndarray:
    """Vertebral bodies with their end plates, pedicles and spinous processes."""
    a = anatomy
    heights = np.cumsum(np.r_[a.apex - 62.0, np.linspace(19.0, 30.0, 17)])
    bodies: list[np.ndarray] = []
    plates: list[np.ndarray] = []
    eyes: list[np.ndarray] = []
    processes: list[np.ndarray] = []
    for y, pitch in zip(heights[:-1], np.diff(heights), strict=True):
        x = float(parts.spine_x(a, y))
        w, h = a.spine_half_width * (0.8 + 0.012 * pitch), 0.41 * pitch
        corners = [(-w, -h), (0, -h), (w, -h), (0.86 * w, 0), (w, h), (0, h), (-w, h), (-0.86 * w, 0)]
        outline = parts.smooth(np.array(corners, float))
        bodies.append(outline + np.array((x, y)))
        plates.append(outline * (0.90, 0.80) + np.array((x, y)))
        eyes.extend(parts.ellipse((x + hand * 0.62 * w, y - 0.2 * h), (3.4, 5.0), 16) for hand in (-1, 1))
        processes.append(parts.ellipse((x, y + 0.7 * h), (3.2, 7.0), 16))
    column = canvas.shade(
        (np.array(bodies), 0.95),
        (np.array(plates), 0.75),
        (np.array(eyes), 0.95),
        (np.array(processes), 0.95),
        blur=1.0,
    )
    return 0.22 * column
