from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cxrkit.config import ClaheConfig, PreprocessConfig
from cxrkit.data.preprocess import (
    FULL_SCALE,
    before_levels,
    clahe,
    film_levels,
    full_range,
    network_input,
    place,
    preprocess_film,
    preprocess_mask,
    resize_film,
    resize_mask,
    robust_levels,
    to_input,
)

SIDES = st.integers(1, 90)
SHAPES = st.tuples(SIDES, SIDES)
quickly = settings(deadline=None, max_examples=25)


def film(shape: tuple[int, int], seed: int = 0, dtype: type = np.uint16) -> np.ndarray:
    values = np.random.default_rng(seed).random(shape)
    return values.astype(dtype) if dtype is np.float32 else (values * np.iinfo(dtype).max).astype(dtype)


@quickly
@given(SHAPES, SHAPES, st.sampled_from([np.uint8, np.uint16, np.float32]), st.sampled_from(["area", "linear"]))
def test_resize_keeps_dtype_and_range_and_is_the_identity_at_the_same_size(
    shape: tuple[int, int], target: tuple[int, int], dtype: type, method: Literal["area", "linear"]
) -> None:
    pixels = film(shape, dtype=dtype)
    resized = resize_film(pixels, target, method)
    assert resized.shape == target
    assert resized.dtype == dtype
    assert pixels.min() - 1e-5 <= resized.min() <= resized.max() <= pixels.max() + 1e-5
    np.testing.assert_array_equal(resize_film(pixels, shape, method), pixels)


@quickly
@given(SHAPES, SHAPES)
def test_resized_masks_hold_only_what_was_there(shape: tuple[int, int], target: tuple[int, int]) -> None:
    mask = film(shape, dtype=np.float32) > 0.5
    resized = resize_mask(mask, target)
    assert resized.shape == target
    assert resized.dtype == np.bool_
    if mask.all() or not mask.any():
        assert (resized == mask.flat[0]).all()
    np.testing.assert_array_equal(resize_mask(mask, shape), mask)


def test_shrinking_does_not_alias() -> None:
    # Lines of one pixel, six to a block: linear interpolation would meet some and miss others.
    lines = np.zeros((96, 96), np.float32)
    lines[:, ::6] = 6
    assert np.ptp(resize_film(lines, (16, 16))) < 1e-5
    # Both ways at once: averaged along the side that shrinks, interpolated along the other.
    assert resize_film(lines, (200, 16)).shape == (200, 16)
    assert np.ptp(resize_film(lines, (200, 16))) < 1e-5


def test_linear_shrinking_is_linear_interpolation() -> None:
    # Of every 4 pixels a side, linear interpolation takes the mean of the middle 2.
    pixels = film((64, 48), dtype=np.float32)
    middle = pixels.reshape(16, 4, 12, 4)[:, 1:3, :, 1:3].mean((1, 3))
    np.testing.assert_allclose(resize_film(pixels, (16, 12), "linear"), middle, atol=1e-6)
    average = pixels.reshape(16, 4, 12, 4).mean((1, 3))
    np.testing.assert_allclose(resize_film(pixels, (16, 12), "area"), average, atol=1e-6)


@quickly
@given(SHAPES, st.floats(0.5, 3), st.floats(0.5, 3))
def test_both_ways_agree_unless_a_side_shrinks_to_less_than_half(
    shape: tuple[int, int], vertical: float, horizontal: float
) -> None:
    target = math.ceil(shape[0] * vertical), math.ceil(shape[1] * horizontal)
    pixels = film(shape)
    np.testing.assert_array_equal(resize_film(pixels, target, "area"), resize_film(pixels, target, "linear"))


def test_the_setting_decides_how_a_film_shrinks() -> None:
    pixels = film((256, 256))
    config = PreprocessConfig(size=32, clahe=None)
    for method in ("area", "linear"):
        square, _ = preprocess_film(pixels, config.model_copy(update={"resize": method}))
        levels = film_levels(pixels)
        np.testing.assert_array_equal(square, full_range(resize_film(levels, (32, 32), method)))  # type: ignore[arg-type]
    default, _ = preprocess_film(pixels, config)
    np.testing.assert_array_equal(default, full_range(resize_film(film_levels(pixels), (32, 32), "area")))


@pytest.mark.parametrize("target", [(40, 40), (64, 64), (200, 200), (50, 130)])
def test_masks_stay_on_their_films(target: tuple[int, int]) -> None:
    disc = ((np.indices((320, 320)) - np.array([150, 170])[:, None, None]) ** 2).sum(0) < 90**2
    resized = resize_film(disc.astype(np.float32), target)
    weights = resized / resized.sum()
    rows, columns = np.indices(target)
    film_centre = (rows * weights).sum(), (columns * weights).sum()
    mask_centre = np.argwhere(resize_mask(disc, target)).mean(0)
    np.testing.assert_allclose(mask_centre, film_centre, atol=0.2)


@quickly
@given(hnp.arrays(np.float32, (5, 7), elements=st.floats(-1e6, 1e6, width=32)))
def test_full_range_is_monotone_and_fills_the_range(pixels: np.ndarray) -> None:
    scaled = full_range(pixels)
    assert scaled.dtype == np.uint16
    order = np.argsort(pixels, axis=None)
    assert (np.diff(scaled.flat[order].astype(int)) >= 0).all()
    ends = (scaled.min(), scaled.max())
    assert ends == ((0, FULL_SCALE) if pixels.min() < pixels.max() else (0, 0))


@quickly
@given(SHAPES, st.sampled_from([8, 16]), st.floats(0.5, 40), st.integers(1, 12), st.integers(0, 9))
def test_clahe_is_repeatable_and_stays_in_range(
    shape: tuple[int, int], bits: int, clip_limit: float, tiles: int, seed: int
) -> None:
    pixels = film(shape, seed)
    config = ClaheConfig(bits=bits, clip_limit=clip_limit, tiles=tiles)  # type: ignore[arg-type]
    before = pixels.copy()
    out = clahe(pixels, config)
    assert out.shape == shape
    assert out.dtype == np.uint16
    np.testing.assert_array_equal(pixels, before)
    np.testing.assert_array_equal(clahe(pixels, config), out)


@quickly
@given(st.sampled_from([8, 16]), st.integers(0, 99))
def test_clahe_with_one_tile_is_monotone(bits: int, seed: int) -> None:
    # With one tile there is one mapping of grey values, and it must not turn any two around.
    pixels = film((40, 40), seed)
    out = clahe(pixels, ClaheConfig(bits=bits, tiles=1))  # type: ignore[arg-type]
    order = np.argsort(pixels, axis=None)
    assert (np.diff(out.flat[order].astype(int)) >= 0).all()


def test_clahe_raises_contrast_and_a_higher_limit_raises_it_more() -> None:
    rows, columns = np.indices((128, 128))
    faint = (30_000 + 900 * np.sin(rows / 5) * np.cos(columns / 7)).astype(np.uint16)
    deviation = {limit: clahe(faint, ClaheConfig(bits=8, clip_limit=limit)).std() for limit in (2.0, 8.0, 40.0)}
    assert faint.std() < deviation[2.0] < deviation[8.0] <= deviation[40.0]


def test_16_bit_clahe_hardly_acts_on_few_grey_values_and_8_bit_clahe_does() -> None:
    # OpenCV clips each of 65,536 bins at one pixel, so an 8-bit film keeps its greys; see `clahe`.
    smooth = (1 + np.sin(np.arange(128) / 9)[:, None] * np.cos(np.arange(128) / 14)) / 2
    few = full_range((60 + smooth * 40).astype(np.uint8)) // 4
    change = {bits: np.abs(clahe(few, ClaheConfig(bits=bits)).astype(int) - few).mean() for bits in (8, 16)}  # type: ignore[arg-type]
    assert change[16] < 0.25 * change[8]


@quickly
@given(SHAPES, st.integers(16, 64), st.sampled_from(["pad", "stretch"]))
def test_placement_lies_in_the_square_and_restore_gives_the_original_shape(
    shape: tuple[int, int], size: int, fit: str
) -> None:
    placement = place(shape, None, size, fit)
    top, left, height, width = placement.content
    assert min(top, left) >= 0
    assert min(height, width) >= 1
    assert top + height <= size
    assert left + width <= size
    assert max(height, width) == size
    maps = film((2, 3, size, size), dtype=np.float32)  # type: ignore[arg-type]
    restored = placement.restore(maps)
    assert restored.shape == (2, 3, *shape)
    assert restored.dtype == np.float32
    assert -1e-6 <= restored.min() <= restored.max() <= 1 + 1e-6


def test_pad_keeps_the_aspect_ratio_centred() -> None:
    assert place((100, 50), None, 64).content == (0, 16, 64, 32)
    assert place((50, 100), None, 64).content == (16, 0, 32, 64)
    assert place((50, 100), None, 64, "stretch").content == (0, 0, 64, 64)


def test_pixels_that_are_not_square_become_so_and_come_back() -> None:
    # 100 rows of 0.2 mm and 100 columns of 0.1 mm: twice as tall as wide.
    film = np.tile(np.arange(100, dtype=np.uint16), (100, 1))
    for known in ({"spacing": (0.2, 0.1)}, {"aspect": 2.0}):
        _, placement = preprocess_film(film, PreprocessConfig(size=64), **known)
        assert placement.content == (0, 16, 64, 32)
        assert placement.restore(np.zeros((1, 64, 64), np.float32)).shape == (1, 100, 100)
    assert place((100, 100), (0.2, 0.1), 64).spacing == pytest.approx((20 / 64, 10 / 32))
    assert place((100, 100), (0.1432, 0.1434), 64) == replace(
        place((100, 100), None, 64), original_spacing=(0.1432, 0.1434)
    )
    assert place((100, 100), (0.2, 0.1), 64, "stretch").content == (0, 0, 64, 64)


def test_spacing_follows_the_resize() -> None:
    assert place((100, 50), (0.2, 0.2), 50).spacing == pytest.approx((0.4, 0.4))
    assert place((100, 50), (0.2, 0.3), 50, "stretch").spacing == pytest.approx((0.4, 0.3))
    assert place((100, 50), None, 50).spacing is None


def test_restore_undoes_the_placement() -> None:
    same = place((64, 64), None, 64)
    maps = film((64, 64), dtype=np.float32)
    np.testing.assert_array_equal(same.restore(maps), maps)
    disc = ((np.indices((240, 160)) - 80) ** 2).sum(0) < 50**2
    placement = place(disc.shape, None, 120)
    back = placement.restore(preprocess_mask(disc, placement).astype(np.float32)) > 0.5
    assert (back ^ disc).sum() < 0.03 * disc.sum()
    with pytest.raises(ValueError, match="expected"):
        placement.restore(np.zeros((3, 64, 64)))


def test_padding_takes_no_part_in_film_or_mask() -> None:
    pixels = film((80, 40)) // 2 + 20_000
    config = PreprocessConfig(size=64)
    square, placement = preprocess_film(pixels, config, spacing=(0.1, 0.1))
    assert square.shape == (64, 64)
    assert square.dtype == np.uint16
    content = square[placement.region]
    assert content.shape == (64, 32)
    outside = np.ones((64, 64), dtype=bool)
    outside[placement.region] = False
    assert (square[outside] == 0).all()
    narrow, _ = preprocess_film(pixels, config.model_copy(update={"fit": "stretch"}))
    assert narrow.shape == (64, 64)
    mask = preprocess_mask(np.ones((80, 40), dtype=bool), placement)
    np.testing.assert_array_equal(mask, ~outside)
    with pytest.raises(ValueError, match="expected"):
        preprocess_mask(np.ones((40, 80), dtype=bool), placement)


def test_borders_are_left_out_on_the_way_in_and_filled_on_the_way_back() -> None:
    pixels = film((80, 60)) // 2 + 20_000
    framed = np.pad(pixels, ((20, 40), (70, 10)))
    config = PreprocessConfig(size=64, remove_borders=True)
    square, placement = preprocess_film(framed, config, spacing=(0.1, 0.2))
    plain, plain_placement = preprocess_film(pixels, config, spacing=(0.1, 0.2))
    np.testing.assert_array_equal(square, plain)
    assert placement.spacing == plain_placement.spacing, "millimetres are those of the film, not of its border"
    maps = np.random.default_rng(0).random((2, 64, 64), dtype=np.float32)
    back, inside = placement.restore(maps), (slice(20, 100), slice(70, 130))
    assert back.shape == (2, 140, 140)
    np.testing.assert_array_equal(back[:, *inside], plain_placement.restore(maps))
    assert np.count_nonzero(back) == np.count_nonzero(back[:, *inside])
    mask = np.zeros(framed.shape, dtype=bool)
    mask[inside] = film((80, 60), 1) > 30_000
    np.testing.assert_array_equal(preprocess_mask(mask, placement), preprocess_mask(mask[inside], plain_placement))
    kept, whole = preprocess_film(framed, PreprocessConfig(size=64))
    assert not np.array_equal(kept, square)
    assert whole.inner_shape == framed.shape


def test_a_bright_marker_does_not_use_up_the_range() -> None:
    pixels = film((64, 64)) // 8
    marked = pixels.copy()
    marked[:4, :4] = FULL_SCALE
    clipped = full_range(marked, 0.01)[4:]
    assert np.abs(clipped.astype(int) - full_range(pixels, 0.01)[4:].astype(int)).mean() < 0.02 * FULL_SCALE
    assert full_range(marked)[4:].max() < 0.2 * FULL_SCALE
    assert (clipped.min(), clipped.max()) == (0, FULL_SCALE)
    few = np.zeros((64, 64), np.uint8)
    few[0, 0] = 9
    assert full_range(few, 0.01).max() == FULL_SCALE, "a film of hardly more than one grey value keeps it"


@pytest.mark.parametrize("share", [0.001, 0.01, 0.04, 0.1])
@pytest.mark.parametrize("depth", [1, 20])
def test_robust_levels_ignore_labels_of_any_size(share: float, depth: int) -> None:
    config = PreprocessConfig(size=64, clahe=None, levels="robust")
    pixels = (film((64, 64)) // depth).astype(np.uint16)
    labelled = pixels.copy()
    labelled[: math.ceil(64 * share**0.5), : math.ceil(64 * share**0.5)] = FULL_SCALE
    plain, marked = (preprocess_film(one, config)[0].astype(int)[22:] for one in (pixels, labelled))
    assert np.abs(plain - marked).mean() < 0.02 * FULL_SCALE
    assert (marked.min(), marked.max()) == (0, FULL_SCALE)


def test_robust_levels_are_those_within_borders_of_any_shape() -> None:
    pixels = 20_000 + film((64, 64)) // 4
    collimated, row = pixels.copy(), np.arange(64)
    collimated[np.hypot(row[:, None] - 32, row - 32) > 30] = 0
    inside = np.hypot(row[:, None] - 32, row - 32) < 28
    plain, framed = (robust_levels(full_range(one)).astype(int)[inside] for one in (pixels, collimated))
    assert np.abs(plain - framed).mean() < 0.02 * FULL_SCALE


def test_robust_levels_of_a_film_of_hardly_more_than_its_ends() -> None:
    two = np.zeros((64, 64), np.uint16)
    two[:, 40:] = FULL_SCALE
    assert np.array_equal(robust_levels(two), two)
    assert not robust_levels(np.zeros((8, 8), np.uint16)).any()


@quickly
@given(hnp.arrays(np.uint16, SHAPES), st.sampled_from([0.0, 0.01, 0.2]))
def test_robust_levels_are_monotone(pixels: np.ndarray, clip: float) -> None:
    full = full_range(pixels)
    order = np.argsort(full, axis=None, kind="stable")
    assert (np.diff(robust_levels(full, clip).ravel()[order].astype(int)) >= 0).all()


@pytest.mark.parametrize("levels", ["range", "robust"])
@pytest.mark.parametrize("clahe", [None, ClaheConfig(bits=8), ClaheConfig()], ids=["none", "8", "16"])
@pytest.mark.parametrize("standardise", [True, False])
def test_a_film_as_it_was_taken_becomes_the_same_input(
    levels: Any, clahe: ClaheConfig | None, standardise: bool
) -> None:
    config = PreprocessConfig(size=64, levels=levels, clahe=clahe, standardise=standardise)
    pixels = film((90, 70))
    pixels[:9, :20] = FULL_SCALE
    square, placement = preprocess_film(pixels, config)
    taken, same_place = preprocess_film(pixels, before_levels(config))
    assert placement == same_place
    images = to_input(taken, standardise=False)[0]
    expected = to_input(square, placement, standardise=standardise)
    np.testing.assert_array_equal(network_input(images, placement.content, config), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_exposure_does_not_matter_without_clahe(dtype: type) -> None:
    config = PreprocessConfig(size=32, clahe=None)
    pixels = film((32, 32), dtype=np.uint8).astype(dtype)
    reference, _ = preprocess_film(pixels, config)
    dimmed, _ = preprocess_film((pixels.astype(np.float32) * 0.25 + 3).astype(np.float32), config)
    assert (reference.min(), reference.max()) == (0, FULL_SCALE)
    assert np.abs(reference.astype(int) - dimmed.astype(int)).max() <= 1


@quickly
@given(SHAPES, st.integers(0, 99))
def test_inputs_are_standardised_over_the_content(shape: tuple[int, int], seed: int) -> None:
    square, placement = preprocess_film(film(shape, seed), PreprocessConfig(size=32))
    plain = to_input(square, placement, standardise=False)
    assert plain.shape == (1, 32, 32)
    assert plain.dtype == np.float32
    assert 0 <= plain.min() <= plain.max() <= 1
    standard = to_input(square, placement, standardise=True)
    assert standard.dtype == np.float32
    content = standard[0][placement.region]
    if np.ptp(square[placement.region]):
        assert abs(content.mean()) < 1e-4
        assert abs(content.std() - 1) < 1e-3
        np.testing.assert_allclose(np.corrcoef(plain.ravel(), standard.ravel())[0, 1], 1, atol=1e-5)
    else:
        assert not standard.any()


def test_a_constant_film_becomes_zero_not_nan() -> None:
    for value in (0, 30_000, FULL_SCALE):
        out = to_input(np.full((16, 16), value, np.uint16), standardise=True)
        assert (out == 0).all()


DEPTHS = {
    "8 bits in 16": lambda grey: grey.astype(np.uint16),
    "16 bits": lambda grey: grey.astype(np.uint16) * 257,
    "12 bits with an offset": lambda grey: grey.astype(np.uint16) * 16 + 5,
    "float": lambda grey: grey.astype(np.float32),
    "signed float": lambda grey: grey.astype(np.float32) - 1000,
}


@pytest.mark.parametrize("clahe", [None, ClaheConfig(bits=8), ClaheConfig(bits=16)], ids=["plain", "8", "16"])
@pytest.mark.parametrize("depth", DEPTHS)
def test_a_film_gives_the_same_whatever_its_numbers_are_stored_as(depth: str, clahe: ClaheConfig | None) -> None:
    grey = (np.random.default_rng(3).random((95, 71)).cumsum(0) * 5).astype(np.uint8)
    config = PreprocessConfig(size=40, clahe=clahe, remove_borders=True)
    expected, _ = preprocess_film(grey, config)
    found, _ = preprocess_film(DEPTHS[depth](grey), config)
    np.testing.assert_array_equal(found, expected)


def test_floats_in_0_to_1_differ_by_their_rounding_at_most() -> None:
    grey = (np.random.default_rng(3).random((95, 71)).cumsum(0) * 5).astype(np.uint8)
    config = PreprocessConfig(size=40, clahe=None)
    expected, _ = preprocess_film(grey, config)
    found, _ = preprocess_film((grey / 255).astype(np.float32), config)
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= 1


def test_reducing_does_not_round_to_the_grey_values_of_the_film() -> None:
    grey = np.tile(np.array([[0, 1], [2, 8]], np.uint8), (20, 20))
    grey[:4], grey[4:8] = 255, 0
    square, _ = preprocess_film(grey, PreprocessConfig(size=20, clahe=None))
    assert square[-1, -1] == round((0 + 1 + 2 + 8) / 4 / 255 * FULL_SCALE)
    before, _ = preprocess_film(grey, PreprocessConfig(size=20, clahe=None, resize_as="stored"))
    assert before[-1, -1] == 3 * 257, "as runs of before have it"


@pytest.mark.parametrize("label", [65535, -30000], ids=["label", "padding"])
def test_a_few_values_far_from_all_others_do_not_squeeze_the_film(label: int) -> None:
    rows, columns = np.mgrid[:100, :100]
    plain = (np.sin(rows / 13) * np.cos(columns / 17) * 2000 + 2040).astype(np.float32)
    plain[0, 0], plain[0, 1] = 0, 4095
    labelled = plain.copy()
    labelled[40:50, 40:60] = label
    labelled[39, 40:46] = (label + 2000) / 2  # a soft edge
    config = PreprocessConfig(size=100, clahe=None)
    expected, found = preprocess_film(plain, config)[0], preprocess_film(labelled, config)[0]
    there = np.ones((100, 100), bool)
    there[39:50, 40:60] = False
    assert np.abs(found.astype(int) - expected.astype(int))[there].max() < 0.03 * FULL_SCALE
    assert (found[42:48, 42:58] == (FULL_SCALE if label > 0 else 0)).all()


def test_a_marker_at_the_end_of_a_film_that_uses_a_quarter_of_the_range_stays_where_it_is() -> None:
    grey = np.random.default_rng(0).integers(0, 64, (50, 50)).astype(np.uint8)
    grey[:3, :3] = 255
    np.testing.assert_array_equal(film_levels(grey), (grey / np.float64(255)).astype(np.float32))
