"""A film with its structures drawn on it: outlines, translucent fills, the cardiothoracic ratio, a legend."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cxrkit.data.preprocess import look_up
from cxrkit.errors import DataError
from cxrkit.report.colours import RGB, structure_colours, structure_label
from cxrkit.segmentation import CardiothoracicRatio, Extent

#: Share of the structure's colour in its interior.
VEIL = 0.18
#: Share of black in the edge that lines have where they are thick or white.
EDGE = 0.4
#: Films with a shorter side below this get neither legend nor numbers: text would hide what they show.
SMALLEST_WITH_TEXT = 192

#: Share of the film that masks must span for its grey values to be stretched to what is seen there.
LEAST_SEEN = 0.05
#: Pixels of the shorter side by which grey values are judged.
ENOUGH_SEEN = 256
#: Warnings that are written out.
_MOST_WARNINGS = 5

_Font = ImageFont.ImageFont | ImageFont.FreeTypeFont

_WHITE: RGB = (255, 255, 255)
_BLACK: RGB = (0, 0, 0)
_ORANGE: RGB = (255, 176, 0)


def draw_overlay(
    film: np.ndarray,
    masks: Mapping[str, np.ndarray],
    *,
    truth: Mapping[str, np.ndarray] | None = None,
    ratio: CardiothoracicRatio | None = None,
    legend: bool = True,
    warnings: Sequence[str] = (),
    quality: Mapping[str, float] | None = None,
) -> np.ndarray:
    """Draw structures on a film.

    Args:
        film: grey values `(H, W)`, uint8, uint16 or float, bright where it shows bone.
        masks: structure to bool `(H, W)`; each gets a coloured outline and a translucent fill.
        truth: structure to bool `(H, W)`; each gets a thin dashed white outline.
        ratio: its two widths are drawn as lines, with the number.
        legend: name the structures; left out on films too small for text.
        warnings: written at the top, inside an orange frame; small films have only the frame.
        quality: structure to the estimate of its mask's Dice coefficient, in [0, 1], for the legend.

    Returns:
        RGB uint8 `(H, W, 3)`.

    Raises:
        DataError: the film or a mask has another shape.
    """
    _check_shapes(film, masks, truth or {})
    colours = structure_colours(masks)
    canvas = cv2.cvtColor(to_grey(film, masks.values()), cv2.COLOR_GRAY2RGB)
    for name, mask in masks.items():
        _lay_veil(canvas, mask, colours[name])
    width = line_width(film.shape)
    for name, mask in masks.items():
        _draw_lines(canvas, _outlines(mask, cv2.CHAIN_APPROX_SIMPLE), colours[name], width)
    for mask in (truth or {}).values():
        dashes = [dash for line in _outlines(mask) for dash in _dashed(line, 4.0 * width + 2.0)]
        _draw_lines(canvas, dashes, _WHITE, max(1, round(0.75 * width)), closed=False)
    room_for_text = min(film.shape) >= SMALLEST_WITH_TEXT
    if ratio is not None:
        _draw_ratio(canvas, ratio, width)
    if room_for_text and (legend or ratio is not None):
        _write_texts(canvas, masks, colours if legend else {}, bool(truth) and legend, ratio, quality or {})
    if warnings:
        _frame(canvas, 2 * width)
        if room_for_text:
            _write_warnings(canvas, warnings)
    return canvas


def to_grey(film: np.ndarray, masks: Iterable[np.ndarray] = ()) -> np.ndarray:
    """Grey values of any type to uint8, stretched between the 0.5 % and 99.5 % quantiles of what is to be seen.

    That is what the masks, bool `(H, W)`, span in each row, so that a side marker far brighter than the film doesn't
    make it black; the whole film where there are no masks, or where they are too small to represent it.
    """
    step = max(1, min(film.shape) // ENOUGH_SEEN)
    sample = film[::step, ::step].astype(np.float32)
    low, high = np.percentile(sample[_spanned(sample.shape, [mask[::step, ::step] for mask in masks])], (0.5, 99.5))
    if high <= low:
        low, high = float(film.min()), float(film.max())
    if film.dtype in (np.uint8, np.uint16):  # a table of all values is shorter than a film
        return look_up(_stretch(np.arange(np.iinfo(film.dtype).max + 1), float(low), float(high)), film)
    return _stretch(film, float(low), float(high))


def _stretch(values: np.ndarray, low: float, high: float) -> np.ndarray:
    scaled = (values.astype(np.float32) - low) / max(high - low, 1e-12)
    return np.asarray(np.rint(np.clip(scaled, 0, 1) * 255), dtype=np.uint8)


def _spanned(shape: Sequence[int], masks: Iterable[np.ndarray]) -> np.ndarray:
    """What lies in a row between the first and the last pixel of any mask, or everything: bool `(H, W)`."""
    seen = np.zeros(tuple(shape), dtype=bool)
    for mask in masks:
        seen |= mask.astype(bool)
    spanned = np.logical_or.accumulate(seen, axis=1) & np.logical_or.accumulate(seen[:, ::-1], axis=1)[:, ::-1]
    if spanned.sum() >= LEAST_SEEN * seen.size:
        return np.asarray(spanned)
    return np.ones_like(seen)


def line_width(shape: Sequence[int]) -> int:
    """Pixels that an outline is thick, so that it looks alike on films of all sizes."""
    return max(1, round(min(shape[:2]) / 350))


def _check_shapes(film: np.ndarray, masks: Mapping[str, np.ndarray], truth: Mapping[str, np.ndarray]) -> None:
    if film.ndim != 2 or 0 in film.shape:
        raise DataError(f"The film to draw on has shape {film.shape}, not (H, W).", "Give one grey channel.")
    for role, group in (("mask", masks), ("true mask", truth)):
        for name, mask in group.items():
            if mask.shape != film.shape:
                raise DataError(
                    f"The {role} of {name} is {mask.shape}, the film {film.shape}.", "Give masks of the film's size."
                )


def _lay_veil(canvas: np.ndarray, mask: np.ndarray, colour: RGB) -> None:
    inside = mask.astype(np.uint8)
    left, top, width, height = cv2.boundingRect(inside)
    if width == 0:
        return
    box = np.s_[top : top + height, left : left + width]
    veiled = np.rint((1 - VEIL) * np.arange(256)[:, None] + VEIL * np.array(colour)).astype(np.uint8)
    canvas[box] = cv2.copyTo(cv2.LUT(canvas[box], veiled[None]), inside[box], canvas[box].copy())


def _outlines(mask: np.ndarray, points: int = cv2.CHAIN_APPROX_NONE) -> list[np.ndarray]:
    """Closed outlines of a mask, each int32 `(N, 1, 2)` of (column, row): every pixel, or only corners."""
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, points)
    return list(found)


def _dashed(line: np.ndarray, length: float, *, closed: bool = True) -> Iterator[np.ndarray]:
    """The dashes of a line: every other stretch of `length` pixels."""
    points = np.concatenate([line, line[:1]]) if closed else line
    steps = np.linalg.norm(np.diff(points[:, 0], axis=0), axis=1)
    number = np.floor(np.concatenate([[0.0], np.cumsum(steps)]) / length).astype(int)
    for stretch in range(0, int(number[-1]) + 1, 2):
        dash = points[number == stretch]
        if len(dash):
            yield dash


def _draw_lines(
    canvas: np.ndarray, lines: Sequence[np.ndarray], colour: RGB, width: int, *, closed: bool = True
) -> None:
    """Draw lines with a dark edge, which keeps them legible on bright bone; thin coloured ones need none."""
    if not lines:
        return
    if width > 1 or min(colour) > 150:
        points = np.concatenate(list(lines))[:, 0]
        margin = width + 3
        left, top = np.maximum(points.min(axis=0) - margin, 0)
        right, bottom = points.max(axis=0) + margin
        part = canvas[top:bottom, left:right]
        shade = part.copy()
        shifted = [line - np.array([left, top], dtype=np.int32) for line in lines]
        cv2.polylines(shade, shifted, closed, _BLACK, width + 2, cv2.LINE_AA)
        part[:] = cv2.addWeighted(shade, EDGE, part, 1 - EDGE, 0)
    cv2.polylines(canvas, list(lines), closed, colour, width, cv2.LINE_AA)


def _draw_ratio(canvas: np.ndarray, ratio: CardiothoracicRatio, width: int) -> None:
    heart_row, thorax_row = _ratio_rows(ratio, canvas.shape[0], width)
    for extent, row in ((ratio.heart, heart_row), (ratio.thorax, thorax_row)):
        for column, reached in ((extent.left, extent.left_row), (extent.right, extent.right_row)):
            plumb = np.array([[[column, place]] for place in range(min(row, reached), max(row, reached) + 1)])
            dots = list(_dashed(plumb.astype(np.int32), 2.0 * width + 1.0, closed=False))
            _draw_lines(canvas, dots, _WHITE, max(1, width // 2), closed=False)
            _draw_lines(canvas, [_segment(column, row - 4 * width, column, row + 4 * width)], _WHITE, width)
        _draw_lines(canvas, [_segment(extent.left, row, extent.right, row)], _WHITE, width)


def _segment(column: int, row: int, to_column: int, to_row: int) -> np.ndarray:
    return np.array([[[column, row]], [[to_column, to_row]]], dtype=np.int32)


def _ratio_rows(ratio: CardiothoracicRatio, height: int, width: int) -> tuple[int, int]:
    """The rows that the two lines are drawn in: near where they were measured, and apart from each other."""
    heart, thorax = _middle(ratio.heart), _middle(ratio.thorax)
    apart = 12 * width
    if abs(thorax - heart) < apart:
        thorax = heart + apart if heart + 4 * apart < height else heart - apart
    return heart, min(max(thorax, 0), height - 1)  # a film may be a few rows high


def _middle(extent: Extent) -> int:
    return round((extent.left_row + extent.right_row) / 2)


def _write_texts(
    canvas: np.ndarray,
    masks: Mapping[str, np.ndarray],
    colours: Mapping[str, RGB],
    truth: bool,
    ratio: CardiothoracicRatio | None,
    quality: Mapping[str, float],
) -> None:
    height, width = canvas.shape[:2]
    size = max(12, round(min(height, width) / 34))
    font = ImageFont.load_default(size)
    if colours:
        estimates = {name: f" (Dice about {dice:.2f})" for name, dice in quality.items()}
        rows: list[tuple[str, RGB, bool]] = [
            (structure_label(name) + estimates.get(name, ""), colour, False) for name, colour in colours.items()
        ]
        _write_legend(canvas, rows + [("truth", _WHITE, True)] * truth, font, size, masks)
    if ratio is not None:
        heart_row, thorax_row = _ratio_rows(ratio, height, line_width((height, width)))
        side = 1 if thorax_row > heart_row else -1  # away from the heart's line
        _write_ratio(canvas, ratio, round(thorax_row + side * size * 1.3), font, size)


def _write_legend(
    canvas: np.ndarray,
    rows: Sequence[tuple[str, RGB, bool]],
    font: _Font,
    size: int,
    masks: Mapping[str, np.ndarray],
) -> None:
    """A box with a colour and a name a line, in the corner where it hides least."""
    pad, swatch, leading = size * 0.6, size * 1.1, size * 1.45
    widest = max(font.getlength(label) for label, _, _ in rows)
    box_width, box_height = round(pad * 2.8 + swatch + widest), round(pad + leading * len(rows))
    x, y = _free_corner(masks, box_width, box_height, round(pad))
    with _plate(canvas, (x, y, x + box_width, y + box_height), size) as (pen, x, y):
        for number, (label, colour, dashed) in enumerate(rows):
            middle, left = y + pad / 2 + leading * (number + 0.5), x + pad
            thick = max(2, round(size / 5))
            for start, end in ((0.0, 0.42), (0.58, 1.0)) if dashed else ((0.0, 1.0),):
                pen.line((left + start * swatch, middle, left + end * swatch, middle), fill=(*colour, 255), width=thick)
            pen.text((left + swatch + pad * 0.8, middle), label, font=font, anchor="lm", fill=(255, 255, 255, 255))


def _free_corner(masks: Mapping[str, np.ndarray], width: int, height: int, margin: int) -> tuple[int, int]:
    """Column and row of a box in the corner that shows least of the structures; the lower ones first.

    Upper corners are where radiographers put the side marker.
    """
    rows, columns = next(iter(masks.values())).shape
    lower, right = rows - height - margin, columns - width - margin
    corners = [(margin, lower), (right, lower), (margin, margin), (right, margin)]

    def hidden(corner: tuple[int, int]) -> int:
        x, y = (max(0, place) for place in corner)
        return sum(int(mask[y : y + height, x : x + width].sum()) for mask in masks.values())

    return min(corners, key=hidden)


def _write_ratio(canvas: np.ndarray, ratio: CardiothoracicRatio, row: int, font: _Font, size: int) -> None:
    text = f"CTR {ratio.value:.2f}"
    centre = round((ratio.thorax.left + ratio.thorax.right) / 2)
    half_width, half_height = round(font.getlength(text) / 2 + size * 0.5), round(size * 0.75)
    box = (centre - half_width, row - half_height, centre + half_width, row + half_height)
    with _plate(canvas, box, size) as (pen, x, y):
        pen.text((x + half_width, y + half_height), text, font=font, anchor="mm", fill=(255, 255, 255, 255))


def _frame(canvas: np.ndarray, thick: int) -> None:
    for edge in (canvas[:thick], canvas[-thick:], canvas[:, :thick], canvas[:, -thick:]):
        edge[:] = _ORANGE


def _write_warnings(canvas: np.ndarray, warnings: Sequence[str]) -> None:
    """A line per warning from the upper left corner; what doesn't fit is counted or cut."""
    height, width = canvas.shape[:2]
    size = max(12, round(min(height, width) / 40))
    font = ImageFont.load_default(size)
    more = len(warnings) - _MOST_WARNINGS
    lines = [f"! {text}" for text in warnings[:_MOST_WARNINGS]] + ([f"! and {more} more"] if more > 0 else [])
    pad, leading = round(size * 0.6), round(size * 1.35)
    room = width - 4 * pad
    lines = [_cut(line, room, font) for line in lines]
    widest = round(max(font.getlength(line) for line in lines))
    with _plate(canvas, (pad, pad, 3 * pad + widest, 2 * pad + leading * len(lines)), size) as (pen, x, y):
        for number, line in enumerate(lines):
            middle = y + 0.5 * pad + leading * (number + 0.5)
            pen.text((x + pad, middle), line, font=font, anchor="lm", fill=(*_ORANGE, 255))


def _cut(line: str, room: float, font: _Font) -> str:
    if font.getlength(line) <= room:
        return line
    while line and font.getlength(line + "…") > room:
        line = line[:-1]
    return line.rstrip() + "…"


@contextmanager
def _plate(
    canvas: np.ndarray, box: tuple[int, int, int, int], size: int
) -> Iterator[tuple[ImageDraw.ImageDraw, int, int]]:
    """The background of text in a box (left, top, right, bottom), a pen to write there, and the box's corner for it.

    Only that part of the canvas becomes a picture of Pillow's and comes back: all of it takes longer than the text.
    """
    left, top = max(0, box[0]), max(0, box[1])
    part = canvas[top : box[3] + 1, left : box[2] + 1]
    picture = Image.fromarray(part) if part.size else Image.new("RGB", (1, 1))
    pen = ImageDraw.Draw(picture, "RGBA")
    corner, opposite = (box[0] - left, box[1] - top), (box[2] - left, box[3] - top)
    if size < 16:  # Pillow blends the corners of small round boxes twice
        pen.rectangle((*corner, *opposite), fill=(0, 0, 0, 150))
    else:
        pen.rounded_rectangle((*corner, *opposite), radius=round(size * 0.4), fill=(0, 0, 0, 150))
    yield pen, *corner
    if part.size:
        part[:] = np.asarray(picture)
