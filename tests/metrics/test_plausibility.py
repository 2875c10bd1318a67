"""Signs that masks can't be trusted: a chest as it should be has none, and each distortion has its own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from cxrkit.metrics.plausibility import Findings, certainty, lung_tilt, warnings_of

Masks = dict[str, np.ndarray]


def chest(size: int = 200) -> Masks:
    """Lungs that are narrower below, the left one on the right of the picture, and a heart between them."""
    rows, columns = np.mgrid[:size, :size] / size

    def lung(column: float) -> np.ndarray:
        width = 0.15 - 0.25 * np.clip(rows - 0.4, 0, 1)
        return np.asarray(((rows - 0.45) / 0.3) ** 2 + ((columns - column) / width) ** 2 < 1)

    heart = ((rows - 0.58) / 0.13) ** 2 + ((columns - 0.53) / 0.15) ** 2 < 1
    return {"left_lung": lung(0.7), "right_lung": lung(0.3), "heart": heart}


def warned(masks: Masks, certain: float = 0.98) -> tuple[str, ...]:
    probabilities = {name: np.where(mask, certain, 0.01) for name, mask in masks.items()}
    return warnings_of(Findings(masks, probabilities, next(iter(masks.values())).shape))


def changed(**masks: np.ndarray) -> Masks:
    return chest() | masks


def spot(mask: np.ndarray) -> np.ndarray:
    mask = mask.copy()
    mask[180:195, 90:110] = True
    return mask


def test_a_chest_as_it_should_be_has_no_warning() -> None:
    assert warned(chest()) == ()


CASES: dict[str, tuple[Callable[[], Masks], str]] = {
    "empty": (lambda: changed(heart=np.zeros((200, 200), bool)), "heart: not found"),
    "cut off": (
        lambda: {name: np.roll(mask, 40, axis=1) * (np.arange(200) >= 40) for name, mask in chest().items()},
        "left lung: cut off",
    ),
    "second part": (lambda: changed(heart=spot(chest()["heart"])), "heart: found in two places"),
    "unequal": (
        lambda: changed(left_lung=chest()["left_lung"] & (np.arange(200)[:, None] < 70)),
        "times as large as the other",
    ),
    "quarter turn": (lambda: {name: np.rot90(mask) for name, mask in chest().items()}, "the lungs are tilted by 90"),
    "upside down": (lambda: {name: mask[::-1] for name, mask in chest().items()}, "is the film upside down"),
    "mirrored": (lambda: {name: mask[:, ::-1] for name, mask in chest().items()}, "not on the right of the picture"),
    "mirrored, seen by a network": (
        lambda: changed(heart=chest()["heart"][:, ::-1]),
        "points to the right side of the body: is the film mirrored",
    ),
    "opaque base": (
        lambda: changed(right_lung=chest()["right_lung"] & (np.arange(200)[:, None] < 100)),
        "right lung: cut short",
    ),
    "half empty": (lambda: changed(left_lung=hollow(chest()["left_lung"])), "left lung: half empty"),
    "heart aside": (lambda: changed(heart=np.roll(chest()["heart"], 70, axis=1)), "heart is not between the lungs"),
    "heart above": (lambda: changed(heart=np.roll(chest()["heart"], -80, axis=0)), "not beside the lungs' lower half"),
    "wide heart": (
        lambda: changed(heart=chest()["heart"] | chest()["left_lung"] | chest()["right_lung"] | (spot_row())),
        "ratio of 1.00 is outside",
    ),
    "small in frame": (lambda: {name: np.pad(mask, 150) for name, mask in chest().items()}, "lungs cover only"),
    "small film": (lambda: chest(100), "the film is small: 100 × 100"),
    "long film": (
        lambda: {name: np.pad(mask, ((0, 400), (0, 0))) for name, mask in chest().items()},
        "long and narrow: 200 × 600",
    ),
}


def hollow(mask: np.ndarray) -> np.ndarray:
    rows = np.arange(200)[:, None] // 10
    columns = np.arange(200) // 10
    return mask & ~((rows % 2 == 0) & (columns % 2 == 0)) & ~((rows % 4 == 1) & (columns % 2 == 1))


def spot_row() -> np.ndarray:
    row = np.zeros((200, 200), bool)
    row[118, 32:168] = True
    return row


@pytest.mark.parametrize("case", CASES)
def test_each_distortion_is_reported(case: str) -> None:
    make, expected = CASES[case]
    assert any(expected in text for text in warned(make())), warned(make())


def test_a_network_that_is_not_certain_is_reported() -> None:
    assert warned(chest(), certain=0.7) == tuple(
        f"{name}: the network is not certain" for name in ("left lung", "right lung", "heart")
    )


def test_checks_look_only_at_what_the_network_knows() -> None:
    assert warned({"heart": chest()["heart"]}) == ()
    assert warned({"aorta": spot(chest()["heart"])}) == ()
    assert warned({"aorta": np.zeros((200, 200), bool)}) == ("aorta: not found",)


def test_numbers_by_hand() -> None:
    left, right = (np.zeros((9, 9), bool) for _ in range(2))
    right[2, 2], left[4, 4] = True, True
    assert lung_tilt(left, right) == pytest.approx(45)
    assert certainty(np.array([[0.5, 1.0]]), np.array([[True, True]])) == 0.25
