"""Synthetic radiographs: anatomy, determinism and difficulty."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrkit import Entry, Sample
from cxrkit.errors import ConfigError, DataError
from cxrkit.testing.conformance import check_dataset
from cxrkit_plugins.datasets.phantom import PhantomDataset
from cxrkit_plugins.datasets.phantom_anatomy import LEFT, RIGHT, draw_anatomy, lung
from cxrkit_plugins.datasets.phantom_canvas import Canvas, Pose

STRUCTURES = ("left_lung", "right_lung", "heart", "left_clavicle", "right_clavicle")


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    dataset = PhantomDataset(count=40, size=128, clavicles=True)
    return [dataset.read(entry) for entry in dataset.entries()]


def centre(mask: np.ndarray) -> tuple[float, float]:
    rows, columns = np.nonzero(mask)
    return float(rows.mean()), float(columns.mean())


def width(mask: np.ndarray) -> int:
    return int(np.ptp(np.flatnonzero(mask.any(axis=0)))) + 1


def best_threshold_dice(image: np.ndarray, mask: np.ndarray) -> float:
    """The best Dice that any one grey value can reach, whichever side of it is called structure."""
    order = np.argsort(image, axis=None)
    hits = np.cumsum(mask.ravel()[order])
    chosen = np.arange(1, mask.size + 1)
    total = hits[-1]
    below = 2 * hits / (chosen + total)
    above = 2 * (total - hits) / (mask.size - chosen + total)
    return float(max(below.max(), above.max()))


def test_fulfils_the_contract() -> None:
    check_dataset("phantom", parameters={"size": 64, "count": 5, "clavicles": True})


def test_ids_and_groups() -> None:
    entries = PhantomDataset(count=5, films_per_patient=2).entries()

    assert [entry.id for entry in entries] == [f"phantom-{n:04d}" for n in range(5)]
    assert [entry.group for entry in entries] == [f"patient-{n:04d}" for n in (0, 0, 1, 1, 2)]
    assert len({entry.group for entry in PhantomDataset(count=7).entries()}) == 7


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 2**31 - 1), number=st.integers(0, 99_999), size=st.integers(32, 160), clavicles=st.booleans()
)
def test_every_film_is_whole(seed: int, number: int, size: int, clavicles: bool) -> None:
    dataset = PhantomDataset(count=100_000, size=size, seed=seed, clavicles=clavicles)
    sample = dataset.read(Entry(f"phantom-{number:04d}", "any"))

    assert sample.image.shape == (size, size)
    assert sample.image.dtype == np.uint16
    assert 1000 < sample.image.max() <= 4095
    assert sample.spacing == pytest.approx((358.4 / size, 358.4 / size))
    assert tuple(sample.masks) == dataset.structures == STRUCTURES[: 5 if clavicles else 3]
    for mask in sample.masks.values():
        assert mask.dtype == np.bool_
        assert mask.shape == (size, size)
        assert mask.any()


def test_films_depend_on_seed_and_number_alone() -> None:
    dataset = PhantomDataset(count=4, size=64, seed=3)
    forwards = [dataset.read(entry) for entry in dataset.entries()]
    longer = PhantomDataset(count=9, size=64, seed=3, clavicles=True)
    backwards = [longer.read(entry) for entry in reversed(longer.entries())][::-1]

    for first, second in zip(forwards, backwards, strict=False):
        np.testing.assert_array_equal(first.image, second.image)
        for name, mask in first.masks.items():
            np.testing.assert_array_equal(mask, second.masks[name])
    other = PhantomDataset(count=1, size=64, seed=4)
    assert (other.read(other.entries()[0]).image != forwards[0].image).mean() > 0.5
    assert (forwards[0].image != forwards[1].image).mean() > 0.5


def test_sizes_show_the_same_patient() -> None:
    small, large = PhantomDataset(size=64, seed=5), PhantomDataset(size=128, seed=5)
    for entry in small.entries()[:4]:
        lung, same = small.read(entry).masks["left_lung"], large.read(entry).masks["left_lung"]
        assert lung.mean() == pytest.approx(same.mean(), rel=0.05)


def test_left_and_right_are_the_patients(samples: list[Sample]) -> None:
    for sample in samples:
        row = {name: centre(mask)[0] for name, mask in sample.masks.items()}
        column = {name: centre(mask)[1] for name, mask in sample.masks.items()}
        assert column["right_lung"] < column["heart"] < column["left_lung"]
        assert column["right_clavicle"] < column["left_clavicle"]
        assert max(row["left_clavicle"], row["right_clavicle"]) < row["left_lung"] < row["heart"]
    # The heart lies more to the patient's left, and takes room from the lung there.
    offsets = [
        centre(sample.masks["heart"])[1]
        - (centre(sample.masks["left_clavicle"])[1] + centre(sample.masks["right_clavicle"])[1]) / 2
        for sample in samples
    ]
    assert np.mean(offsets) > 0.03 * 128
    assert np.mean([s.masks["left_lung"].sum() < s.masks["right_lung"].sum() for s in samples]) > 0.9


def left_dome_below_right_one(seed: int) -> int:
    """By how many of 256 pixels."""
    anatomy = draw_anatomy(np.random.default_rng(seed))
    canvas = Canvas(256, Pose(turn=0.0, shift=(0.0, 0.0), scale=0.9))
    bottoms = {}
    for side in (LEFT, RIGHT):
        column = 128 + round(side * 0.5 * anatomy.half_width * canvas.pixels_per_mm)
        bottoms[side] = np.flatnonzero(canvas.mask(lung(anatomy, side))[:, column]).max()
    return int(bottoms[LEFT] - bottoms[RIGHT])


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31 - 1))
def test_right_dome_is_never_lower(seed: int) -> None:
    assert left_dome_below_right_one(seed) >= 0


def test_right_dome_is_mostly_higher() -> None:
    assert np.mean([left_dome_below_right_one(seed) > 0 for seed in range(40)]) > 0.9


def test_lungs_and_heart_are_disjoint_and_clavicles_lie_over_lungs(samples: list[Sample]) -> None:
    for sample in samples:
        left, right, heart = (sample.masks[name] for name in STRUCTURES[:3])
        assert not (left & right).any()
        assert not ((left | right) & heart).any()
        assert (sample.masks["left_clavicle"] & left).any()
        assert (sample.masks["right_clavicle"] & right).any()


def test_cardiothoracic_ratio_covers_normal_and_enlarged_hearts(samples: list[Sample]) -> None:
    ratios = [
        width(sample.masks["heart"]) / width(sample.masks["left_lung"] | sample.masks["right_lung"])
        for sample in samples
    ]
    assert min(ratios) > 0.38
    assert max(ratios) < 0.62
    assert np.ptp(ratios) > 0.12


def test_lungs_are_darker_than_the_heart(samples: list[Sample]) -> None:
    for sample in samples:
        lungs = sample.masks["left_lung"] | sample.masks["right_lung"]
        assert np.median(sample.image[lungs]) < np.median(sample.image[sample.masks["heart"]])


def test_no_threshold_segments_the_lungs(samples: list[Sample]) -> None:
    dice = [
        best_threshold_dice(sample.image, sample.masks["left_lung"] | sample.masks["right_lung"]) for sample in samples
    ]
    assert np.mean(dice) < 0.8
    # A sanity check of the measure itself: what is drawn with one grey value, one threshold finds.
    lungs = samples[0].masks["left_lung"]
    assert best_threshold_dice(lungs.astype(np.uint16), lungs) == pytest.approx(1.0)


def test_exposures_differ(samples: list[Sample]) -> None:
    medians = [np.median(sample.image) for sample in samples]
    assert np.ptp(medians) > 800


def test_films_of_one_patient_share_the_anatomy() -> None:
    dataset = PhantomDataset(count=40, size=128, films_per_patient=2)
    samples = [dataset.read(entry) for entry in dataset.entries()]

    def shape(sample: Sample) -> float:
        lungs = sample.masks["left_lung"] | sample.masks["right_lung"]
        return float(sample.masks["heart"].sum() / lungs.sum())

    shapes = np.array([shape(sample) for sample in samples]).reshape(-1, 2)
    within, between = np.abs(np.diff(shapes, axis=1)).mean(), shapes.mean(axis=1).std()
    assert within < 0.2 * between
    for first, second in zip(samples[::2], samples[1::2], strict=True):
        assert (first.image != second.image).mean() > 0.5


def test_a_root_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"makes its films") as caught:
        PhantomDataset(tmp_path)
    assert "data=folder" in caught.value.remedy


@pytest.mark.parametrize("name", ["phantom-0003", "phantom-x", "phantom--1", "jsrt-0000", "phantom"])
def test_a_film_of_another_dataset_is_reported(name: str) -> None:
    with pytest.raises(DataError, match="no such film") as caught:
        PhantomDataset(count=3).read(Entry(name, name))
    assert "phantom-0002" in caught.value.remedy
