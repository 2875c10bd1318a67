"""What the exposure makes of a patient: scatter, photon noise, the film's grey scale, shutters and marker."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from cxrkit_plugins.datasets.phantom_canvas import FILM_WIDTH, Canvas

_WHITE = 4095


@dataclass(frozen=True, slots=True)
class Exposure:
    """How the film was taken.

    Attributes:
        scatter: scattered over direct radiation, behind the grid.
        photons: that reach a square millimetre through nothing; fewer are noisier.
        centre, contrast: the attenuation at the middle of the grey scale (as a quantile of the film's), and
            the slope there.
        gamma: of the display curve.
        peak: the brightest grey value, of 4095.
        shutters: widths of black borders (left, right, top, bottom), in parts of the film's side.
        marker: the letter that marks the side, or "".
    """

    scatter: float
    photons: float
    centre: float
    contrast: float
    gamma: float
    peak: float
    shutters: tuple[float, float, float, float]
    marker: str


def draw_exposure(rng: Generator) -> Exposure:
    """From soft to hard, dark to bright films; one in four has shutters in the picture."""
    shutters = rng.uniform(0.0, 0.055, 4) * (rng.random(4) < 0.7) if rng.random() < 0.25 else np.zeros(4)
    return Exposure(
        scatter=rng.uniform(0.10, 0.45),
        photons=10 ** rng.uniform(4.0, 5.0),
        centre=rng.uniform(0.42, 0.62),
        contrast=rng.uniform(1.0, 1.7),
        gamma=rng.uniform(0.75, 1.35),
        peak=rng.uniform(0.72, 1.0),
        shutters=tuple(shutters.tolist()),
        marker=str(rng.choice(["R", "R", "L", ""])),
    )


def expose(absorbed: np.ndarray, exposure: Exposure, canvas: Canvas, rng: Generator) -> np.ndarray:
    """From attenuation to a 12-bit film, uint16 `(size, size)`, bright where the patient is dense."""
    direct = np.exp(-absorbed)
    # Scatter is so smooth that a sixteenth of the pixels carries it.
    small = cv2.resize(np.minimum(direct, 0.25), None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    wide = cv2.GaussianBlur(small, (0, 0), 0.25 * 30.0 * canvas.pixels_per_mm, borderType=cv2.BORDER_REPLICATE)
    beam = direct + exposure.scatter * cv2.resize(wide, direct.shape[::-1], interpolation=cv2.INTER_LINEAR)
    photons = exposure.photons * (FILM_WIDTH / canvas.size) ** 2
    beam += np.sqrt(beam / photons) * rng.standard_normal(beam.shape, dtype=np.float32)
    density = -np.log(np.maximum(beam, 1e-4))
    low, centre, high = np.quantile(density[::4, ::4], (0.03, exposure.centre, 0.97))
    grey = 1.0 / (1.0 + np.exp(-4.0 * exposure.contrast * (density - centre) / (high - low)))
    film = exposure.peak * _WHITE * grey**exposure.gamma
    return shutter_and_mark(film, exposure)


def shutter_and_mark(film: np.ndarray, exposure: Exposure) -> np.ndarray:
    """The film as stored: black outside the collimated field, the side's letter in an upper corner."""
    size = film.shape[0]
    if exposure.marker:
        left_edge = 0.06 if exposure.marker == "R" else 0.90
        place = (round(left_edge * size), round(0.11 * size))
        thickness = max(1, round(size / 128))
        letter = np.zeros(film.shape, np.uint8)
        cv2.putText(letter, exposure.marker, place, cv2.FONT_HERSHEY_SIMPLEX, size / 420, 255, thickness, cv2.LINE_AA)
        film = np.maximum(film, letter * (0.95 * _WHITE / 255.0))
    left, right, top, bottom = (round(part * size) for part in exposure.shutters)
    film[:top], film[size - bottom :] = 0.0, 0.0
    film[:, :left], film[:, size - right :] = 0.0, 0.0
    return np.clip(np.rint(film), 0, 4095).astype(np.uint16)
