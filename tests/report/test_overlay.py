from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrkit.errors import DataError
from cxrkit.metrics.cardiothoracic import cardiothoracic_ratio
from cxrkit.report.colours import structure_colours
from cxrkit.report.overlay import SMALLEST_WITH_TEXT, draw_overlay, line_width, to_grey

KNOWN = ["left_lung", "right_lung", "heart", "left_clavicle", "right_clavicle"]


@pytest.mark.parametrize("shape", [(1, 5000), (3, 400), (400, 3)])
def test_films_of_a_few_rows_can_be_drawn(shape: tuple[int, int]) -> None:
    whole = np.ones(shape, dtype=bool)
    ratio = cardiothoracic_ratio(whole, whole, whole)
    drawn = draw_overlay(np.zeros(shape, np.uint8), {"heart": whole, "left_lung": whole}, ratio=ratio)
    assert drawn.shape == (*shape, 3)


def film(size: int, dtype: type = np.uint8) -> np.ndarray:
    """A ramp that uses the whole range of 8 bits, in any type."""
    ramp = np.tile(np.linspace(0, 255, size), (size, 1))
    return (ramp * 257).astype(dtype) if dtype is np.uint16 else ramp.astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_every_type_of_film_gives_an_rgb_picture_of_its_size(chest, dtype) -> None:
    drawn = draw_overlay(film(64, dtype), chest(64))
    assert drawn.shape == (64, 64, 3)
    assert drawn.dtype == np.uint8


def test_the_film_and_masks_are_left_as_they_are(chest) -> None:
    original, masks = film(256), chest(256)
    before = {name: mask.copy() for name, mask in masks.items()}
    draw_overlay(original, masks, truth=masks, ratio=cardiothoracic_ratio(**masks))
    assert np.array_equal(original, film(256))
    assert all(np.array_equal(masks[name], before[name]) for name in masks)


def test_inside_is_tinted_and_far_outside_is_grey(chest) -> None:
    drawn = draw_overlay(np.full((200, 200), 100, np.uint8) + np.eye(200, dtype=np.uint8), chest(200), legend=False)
    assert len(set(drawn[90, 60].tolist())) > 1, "the middle of the right lung has a colour"
    assert len(set(drawn[5, 100].tolist())) == 1, "above the lungs the film stays grey"


def test_outlines_have_the_structures_colours(chest) -> None:
    masks = chest(128)
    drawn = draw_overlay(film(128), masks, legend=False)
    for name, colour in structure_colours(masks).items():
        near = np.abs(drawn.astype(int) - np.array(colour)).sum(axis=2).min()
        assert near < 30, name


def test_truth_is_dashed_white_along_its_outline(chest) -> None:
    dark = np.zeros((256, 256), np.uint8)
    dark[0, 0] = 255
    drawn = draw_overlay(dark, {}, truth={"heart": chest(256)["heart"]}, legend=False)
    white = (drawn[2:] > 200).all(axis=2)
    outline = chest(256)["heart"] & ~np.roll(chest(256)["heart"], 1, axis=0)
    share = white.sum() / (2 * np.pi * 0.15 * 256)
    assert 0.2 < share < 0.9, "some of the outline, not all of it"
    assert (white & outline[2:]).any()


def test_the_ratio_is_drawn_between_the_borders_that_it_was_measured_at(chest) -> None:
    masks = chest(128)
    ratio = cardiothoracic_ratio(masks["heart"], masks["left_lung"], masks["right_lung"])
    assert ratio is not None
    plain = draw_overlay(film(128), masks, legend=False)
    lined = draw_overlay(film(128), masks, ratio=ratio, legend=False)
    columns = np.flatnonzero((plain != lined).any(axis=(0, 2)))
    assert abs(columns[0] - ratio.thorax.left) <= 3
    assert abs(columns[-1] - ratio.thorax.right) <= 3


def test_text_is_left_out_where_it_would_hide_the_film(chest) -> None:
    small, large = SMALLEST_WITH_TEXT - 1, SMALLEST_WITH_TEXT
    for size, same in ((small, True), (large, False)):
        with_legend, without = (draw_overlay(film(size), chest(size), legend=legend) for legend in (True, False))
        assert np.array_equal(with_legend, without) is same


def test_the_legend_stands_in_a_corner_without_structures() -> None:
    mask = np.ones((400, 400), bool)
    mask[:200, 200:] = False
    with_legend = draw_overlay(film(400), {"heart": mask})
    changed = (with_legend != draw_overlay(film(400), {"heart": mask}, legend=False)).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert rows.max() < 200
    assert columns.min() >= 200


def test_the_legend_says_how_good_masks_may_be() -> None:
    mask = np.ones((400, 400), bool)
    plain, estimated, other = (
        draw_overlay(film(400), {"heart": mask}, quality=quality) for quality in (None, {"heart": 0.91}, {"aorta": 0.9})
    )
    assert (plain != estimated).any()
    assert (plain == other).all(), "an estimate of what isn't drawn"


def test_empty_masks_and_no_masks_are_drawn_without_complaint() -> None:
    nothing = np.zeros((240, 240), bool)
    for masks in ({}, {"heart": nothing}):
        assert draw_overlay(film(240), masks, truth={"heart": nothing}).shape == (240, 240, 3)


def test_shapes_that_differ_are_reported() -> None:
    with pytest.raises(DataError, match=r"mask of heart is \(32, 32\), the film \(64, 64\)"):
        draw_overlay(film(64), {"heart": np.zeros((32, 32), bool)})
    with pytest.raises(DataError, match="true mask of heart"):
        draw_overlay(film(64), {}, truth={"heart": np.zeros((32, 32), bool)})
    with pytest.raises(DataError, match=r"\(64, 64, 3\)"):
        draw_overlay(np.zeros((64, 64, 3), np.uint8), {})


def test_lines_grow_with_the_film() -> None:
    assert [line_width((side, side)) for side in (64, 512, 1024, 2048)] == [1, 1, 3, 6]


def test_grey_values_are_stretched_and_a_flat_film_stays_finite() -> None:
    grey = to_grey(np.linspace(1000, 3000, 10_000).reshape(100, 100))
    assert (grey.min(), grey.max()) == (0, 255)
    assert to_grey(np.full((8, 8), 7, np.uint16)).max() == 0


def test_a_saturated_marker_does_not_make_the_film_black(chest) -> None:
    dark = (np.linspace(0, 4095, 256)[:, None] * np.ones(256)).astype(np.uint16)
    marked = dark.copy()
    marked[30:60, 20:50] = 65535  # over 1 % of the film, beside the chest but within the box around it
    masks = chest(256)
    inside = np.zeros((256, 256), bool)
    inside[100:160, 60:180] = True
    assert to_grey(marked)[inside].mean() < 20, "the whole film's quantiles see the marker"
    assert to_grey(marked, masks.values())[inside].mean() > 80
    tiny = np.zeros((256, 256), bool)
    tiny[3:5, 3:5] = True
    assert np.array_equal(to_grey(dark, [tiny]), to_grey(dark)), "a speck tells nothing of the film"


@pytest.mark.parametrize("size", [100, 400])
def test_warnings_are_framed_and_written_where_there_is_room(chest, size: int) -> None:
    plain = draw_overlay(film(size), chest(size))
    drawn = draw_overlay(film(size), chest(size), warnings=["heart: not found, " * 20] * 8)
    assert (drawn[0] == drawn[0, 0]).all(), "a frame"
    assert len(set(drawn[0, 0].tolist())) == 3, "of a colour"
    inner = (plain != drawn)[10:-10, 10:-10].any()
    assert inner == (size >= SMALLEST_WITH_TEXT)


@given(st.lists(st.sampled_from([*KNOWN, "aorta", "trachea", "spine"]), unique=True, min_size=1, max_size=7))
@settings(deadline=None, max_examples=50)
def test_known_structures_always_have_the_same_colour_and_no_two_share_one(names: list[str]) -> None:
    colours = structure_colours(names)
    everything = structure_colours(KNOWN)
    assert all(colours[name] == everything[name] for name in names if name in KNOWN)
    assert len(set(colours.values())) == len(names)
