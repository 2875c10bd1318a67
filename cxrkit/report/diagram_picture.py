"""A network's diagram as a picture (SVG).

Each block has a column, and each size of feature a row, so a line never crosses a block: to the next block it runs
through the gap between the two; to blocks further away along a lane above its row, then through the gap before each.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import takewhile

from cxrkit.report.diagram import Block, Diagram
from cxrkit.report.drawing import DISTINCT, INK

_BLOCK, _GAP, _LANE, _BELOW = 18, 14, 5, 26  # widths of a block and the gap beside it, a lane's height, room below
_LEFT, _TOP = 72, 44


@dataclass(frozen=True)
class _Place:
    """Where a block is: its centre, its height, and the lane that leads from it to others than the next."""

    x: float
    y: float
    height: float
    lane: float


def picture(diagram: Diagram) -> str:
    """From left to right as computed, lower where the resolution is; taller with more channels.

    The number below a block is that of its channels. Features without height and width have a row of their own.
    """
    titles = [f"{diagram.name}, one film of {diagram.size[0]}×{diagram.size[1]}", _numbers(diagram)]
    width = max(_LEFT + (_BLOCK + _GAP) * len(diagram.blocks) + _GAP, *(_LEFT + 8 * len(title) for title in titles))
    rows, places, bottom = _layout(diagram.blocks)
    names = _parts(diagram.blocks)
    colours = {name: DISTINCT[place % len(DISTINCT)] for place, name in enumerate(dict.fromkeys(names))}
    legend, height = _legend(colours, width, bottom + 12)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height:.0f}" '
        f'viewBox="0 0 {width} {height:.0f}" font-family="sans-serif" fill="{INK}">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{_LEFT}" y="20" font-size="14">{escape(titles[0])}</text>',
        f'<text x="{_LEFT}" y="37" font-size="11">{escape(titles[1])}</text>',
        *(f'<text x="4" y="{y + 4:.1f}" font-size="11" fill="#555">{size}</text>' for size, y in rows.items()),
        '<g fill="none" stroke-width="1.2" opacity="0.6">',
    ]
    for number, block in enumerate(diagram.blocks):
        for source in block.sources:
            way = _way(places[source], places[number], next_to=source == number - 1)
            parts.append(f'<path d="{way}" stroke="{colours[names[source]]}"/>')
    parts.append("</g>")
    for block, name, place in zip(diagram.blocks, names, places, strict=True):
        label = f"{'.'.join(block.path)}: {block.layers} → {'×'.join(map(str, block.shape))}"
        parts.append(
            f'<rect x="{place.x - _BLOCK / 2:g}" y="{place.y - place.height / 2:.1f}" width="{_BLOCK}" '
            f'height="{place.height:.1f}" rx="2" fill="{colours[name]}"><title>{escape(label)}</title></rect>'
            f'<text x="{place.x:g}" y="{place.y + place.height / 2 + 11:.1f}" font-size="9" text-anchor="middle">'
            f"{_channels(block)}</text>"
        )
    return "\n".join([*parts, *legend, "</svg>", ""])


def _numbers(diagram: Diagram) -> str:
    used = "" if diagram.used == diagram.weights else f" ({diagram.used:,} used outside training)"
    return f"{diagram.weights:,} weights{used}, {diagram.multiply_adds / 1e9:.2f} billion multiply-adds"


def _size(block: Block) -> tuple[int, ...]:
    """(height, width) of a block's output; () if it has none. Films are square, so transformers' layout is seen."""
    if len(block.shape) != 3:
        return ()
    return block.shape[:2] if _channels_last(block) else block.shape[1:]


def _channels(block: Block) -> int:
    if not block.shape:
        return 0
    return block.shape[-1] if len(block.shape) != 3 or _channels_last(block) else block.shape[0]


def _channels_last(block: Block) -> bool:
    return block.shape[0] == block.shape[1] != block.shape[2]


def _layout(blocks: Sequence[Block]) -> tuple[dict[str, float], list[_Place], float]:
    """The rows' labels with their middles, the blocks' places, and where the rows end."""
    ends: dict[int, int] = {}  # of each block with a lane, the last block that it leads to
    for number, block in enumerate(blocks):
        ends |= {source: number for source in block.sources if source < number - 1}
    rows: dict[str, float] = {}
    places: dict[int, _Place] = {}
    top: float = _TOP
    for size in sorted({_size(block) for block in blocks}, key=lambda size: (-math.prod(size or (0,)), size)):
        numbers = [number for number, block in enumerate(blocks) if _size(block) == size]
        lanes = _lanes({number: ends[number] for number in numbers if number in ends})
        heights = {number: 8 + 5 * math.log2(1 + _channels(blocks[number])) for number in numbers}
        first = top + _LANE * (1 + max(lanes.values(), default=-1))  # the lane nearest to the blocks
        middle = first + 2 * _LANE + max(heights.values()) / 2
        rows["×".join(map(str, size)) or "vectors"] = middle
        for number in numbers:
            x = _LEFT + _GAP + (_BLOCK + _GAP) * number + _BLOCK / 2
            places[number] = _Place(x, middle, heights[number], first - _LANE * lanes.get(number, 0))
        top = middle + max(heights.values()) / 2 + _BELOW
    return rows, [places[number] for number in range(len(blocks))], top


def _lanes(ends: Mapping[int, int]) -> dict[int, int]:
    """A lane, 0 nearest to the blocks, for each block that leads to others; none shares one with what it overlaps."""
    lanes: dict[int, int] = {}
    for start in sorted(ends, key=lambda start: ends[start] - start):
        taken = {lane for other, lane in lanes.items() if other < ends[start] and start < ends[other]}
        lanes[start] = next(lane for lane in range(len(ends)) if lane not in taken)
    return lanes


def _way(start: _Place, end: _Place, *, next_to: bool) -> str:
    """The path of a line from a block to another one."""
    gap, edge = end.x - _BLOCK / 2 - _GAP / 2, end.x - _BLOCK / 2
    if next_to and start.y == end.y:
        return f"M{start.x + _BLOCK / 2:g},{start.y:.1f} H{edge:g}"
    points = [(gap, end.y), (edge, end.y)]
    if next_to:
        points = [(start.x + _BLOCK / 2, start.y), (gap, start.y), *points]
    else:
        points = [(start.x, start.y - start.height / 2), (start.x, start.lane), (gap, start.lane), *points]
    return "".join(_rounded(points))


def _rounded(points: Sequence[tuple[float, float]], radius: float = 4) -> Iterator[str]:
    """A line through these points, whose corners are rounded."""
    yield f"M{points[0][0]:g},{points[0][1]:.1f}"
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        (x1, y1), (x2, y2) = (_towards(corner, other, radius) for other in (before, after))
        yield f" L{x1:g},{y1:.1f} Q{corner[0]:g},{corner[1]:.1f} {x2:g},{y2:.1f}"
    yield f" L{points[-1][0]:g},{points[-1][1]:.1f}"


def _towards(point: tuple[float, float], other: tuple[float, float], far: float) -> tuple[float, float]:
    share = min(0.5, far / (math.dist(point, other) or 1))
    return point[0] + share * (other[0] - point[0]), point[1] + share * (other[1] - point[1])


def _parts(blocks: Sequence[Block]) -> list[str]:
    """The part of the network that each block belongs to: the first name in its path that not all blocks share."""
    paths = [block.path for block in blocks]
    shared = len(list(takewhile(lambda names: len(set(names)) == 1, zip(*paths, strict=False))))
    parts = []
    for path in paths:
        depth = min(shared, len(path) - 1)
        parts.append(f"{path[depth - 1]}.{path[depth]}" if depth and path[depth].isdigit() else path[depth])
    return parts


def _legend(colours: Mapping[str, str], width: float, top: float) -> tuple[list[str], float]:
    """What each colour means, in as many lines as are needed from `top` on, and where they end."""
    parts, x, y = [], float(_LEFT), top
    for name, colour in colours.items():
        long = 34 + 6.5 * len(name)
        if x > _LEFT and x + long > width:
            x, y = _LEFT, y + 18
        parts.append(
            f'<rect x="{x:g}" y="{y:.1f}" width="10" height="10" rx="2" fill="{colour}"/>'
            f'<text x="{x + 14:g}" y="{y + 9:.1f}" font-size="11">{escape(name)}</text>'
        )
        x += long
    return parts, y + 24
