"""Diagrams of networks: which block reads which, whose parameters are counted, and what the picture shows."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from xml.etree import ElementTree

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cxrkit.interfaces import Model
from cxrkit.report.diagram import Block, Diagram, diagram
from cxrkit.report.diagram_picture import picture
from cxrkit_plugins.models.bcdu import BCDUNet
from cxrkit_plugins.models.fcn import FCN
from cxrkit_plugins.models.focal_attn_unet import FocalAttentionUNet
from cxrkit_plugins.models.smp import SegmentationModelsPytorch
from cxrkit_plugins.models.unetpp import UNetPlusPlus

SVG = "{http://www.w3.org/2000/svg}"


class PassOn(nn.Module):
    """Returns its input, among other things."""

    def forward(self, feature: Tensor, *, name: str = "") -> tuple[Tensor, str]:
        return feature, name


class Join(nn.Module):
    """Adds what it gets by position and by name."""

    def forward(self, first: Tensor, *, second: Tensor) -> Tensor:
        return first + second


class Forked(Model):
    """A feature of which one branch passes through `between` and the other doesn't; both are joined."""

    def __init__(self, between: nn.Module) -> None:
        super().__init__(("heart",))
        self.stem = nn.Conv2d(1, 2, 1)
        self.between = between
        self.branch = nn.Conv2d(2, 2, 1)
        self.other = nn.Conv2d(2, 2, 1)
        self.join = Join()
        self.head = nn.Conv2d(2, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        feature = self.stem(images)
        passed = self.between(feature)
        branch = self.branch(passed[0] if isinstance(passed, tuple) else passed)
        joined: Tensor = self.head(self.join(branch, second=self.other(feature)))
        return joined


def sources(model: Model) -> dict[str, list[str]]:
    """Of each block's first pass, the names of the blocks that it reads."""
    blocks = diagram(model, 32).blocks
    names = [".".join(block.path) for block in blocks]
    return {names[n]: [names[source] for source in blocks[n].sources] for n in reversed(range(len(blocks)))}


@pytest.mark.parametrize("between", [nn.Dropout(), nn.Sequential(nn.Dropout(), nn.Identity()), PassOn()], ids=str)
def test_a_block_that_returns_its_input_is_passed_by_only_one_branch(between) -> None:
    found = sources(Forked(between))
    assert found["between"] == ["stem"]
    assert (found["branch"], found["other"]) == (["between"], ["stem"])
    assert found["join"] == ["branch", "other"], "also what it gets by name"


def test_what_a_block_overwrites_is_its_output() -> None:
    assert sources(Forked(nn.ReLU(inplace=True)))["other"] == ["between"]


def test_bcdus_centre_reads_the_encoder_and_its_skip_the_dropout() -> None:
    blocks = diagram(BCDUNet(("heart",), base_channels=2), 32).blocks
    places = {".".join(block.path): number for number, block in reversed(list(enumerate(blocks)))}
    assert blocks[places["centre.0"]].sources == (places["encoder.2"],)
    assert blocks[places["dropout"]].sources == (places["encoder.2"],)
    assert places["dropout"] in blocks[places["decoder.0.lstm.forwards"]].sources
    assert places["encoder.2"] not in blocks[places["decoder.0.lstm.forwards"]].sources


class Bare(Model):
    """A layer that is used twice, one that isn't, a parameter without a module, and a head for training."""

    def __init__(self) -> None:
        super().__init__(("heart",))
        self.scale = nn.Parameter(torch.ones(2, 1, 1))
        self.stem = nn.Conv2d(1, 2, 1)
        self.twice = nn.Conv2d(2, 2, 1)
        self.heads = nn.ModuleList([nn.Conv2d(2, 1, 1), nn.Conv2d(2, 1, 1)])

    def forward(self, images: Tensor) -> Tensor:
        feature = self.twice(self.twice(self.stem(images) * self.scale))
        logits: Tensor = self.heads[1](feature)
        return logits + self.heads[0](feature) if self.training else logits


@pytest.mark.parametrize(
    ("make", "used", "unused"),
    [
        # 100,961: U-Net++ pruned to its first head, as its authors count it (Zhou 2018); 9,041,700 with all heads.
        (lambda: UNetPlusPlus(("heart",), inference_head=1), 100_961, 9_041_700 - 100_961),
        (lambda: UNetPlusPlus(("heart",), base_channels=2, depth=2), None, 0),
        (Bare, 4 + 6 + 3 + 2, 3),
    ],
    ids=["pruned", "whole", "bare"],
)
def test_what_training_alone_uses_is_listed_and_the_rest_adds_up(make: Callable[[], Model], used, unused) -> None:
    model = make()
    drawn = diagram(model, 32)
    assert drawn.weights == sum(parameter.numel() for parameter in model.parameters())
    assert drawn.weights == drawn.used + unused
    assert used in (None, drawn.used)
    assert sum(drawn.unused.values()) == unused
    lines = drawn.text().splitlines()[1:]
    counts = [int(found[1].replace(",", "")) for line in lines if (found := re.search(r"\s([\d,]+)$", line))]
    assert sum(counts) == drawn.weights
    assert (f"({drawn.used:,} used outside training)" in picture(drawn)) == (unused > 0)


def test_heads_for_training_alone_are_named() -> None:
    drawn = diagram(FocalAttentionUNet(("heart",), base_channels=2), 32)
    assert list(drawn.unused) == ["heads.0", "heads.1", "heads.2"]
    assert re.search(rf"not used outside training\n  heads\.0 +{drawn.unused['heads.0']:,}\n", drawn.text())
    assert "in no block" not in drawn.text()
    assert re.search(r"in no block +2$", diagram(Bare(), 32).text(), re.MULTILINE)


def test_a_wrapper_is_named_after_the_network_in_it() -> None:
    assert diagram(SegmentationModelsPytorch(("heart",)), 32).name == "u-resnet18 (SegmentationModelsPytorch)"
    wrapper = Forked(nn.ReLU())
    for name, _ in list(wrapper.named_children()):
        delattr(wrapper, name)
    wrapper.network = type("AttentionUnet", (nn.Conv2d,), {"__module__": "elsewhere.nets"})(1, 1, 1)
    wrapper.forward = lambda images: wrapper.network(images)
    assert diagram(wrapper, 32).name == "AttentionUnet (Forked)"
    assert diagram(Forked(nn.ReLU()), 32).name == "Forked"


def test_rows_are_labelled_with_the_blocks_sizes() -> None:
    drawn = diagram(FCN(("heart",), base_channels=1), 256)
    root = ElementTree.fromstring(picture(drawn))
    middles = rows(root)
    assert set(middles) == {"×".join(map(str, block.shape[1:])) for block in drawn.blocks}
    for block, (_, top, _, bottom) in zip(drawn.blocks, boxes(root), strict=True):
        assert middles["×".join(map(str, block.shape[1:]))] == pytest.approx((top + bottom) / 2, abs=0.2)


def test_transformers_features_have_their_channels_last() -> None:
    shapes = [(24, 16, 16), (16, 16, 96), (96,)]
    drawn = Diagram("Swin", (32, 32), tuple(Block(("a",), "Linear", shape, 1) for shape in shapes), 3, 3, {}, 1)
    root = ElementTree.fromstring(picture(drawn))
    assert list(rows(root)) == ["16×16", "vectors"]
    below = [text.text for text in root.iter(f"{SVG}text") if text.get("text-anchor") == "middle"]
    assert below == ["24", "96", "96"]


def rows(root: ElementTree.Element) -> dict[str | None, float]:
    """The rows' labels, and where the middles of their blocks are."""
    return {text.text: float(text.get("y", "")) - 4 for text in root.iter(f"{SVG}text") if text.get("x") == "4"}


def boxes(root: ElementTree.Element) -> list[tuple[float, float, float, float]]:
    """Left, top, right and bottom of the blocks."""
    found = [box for box in root.iter(f"{SVG}rect") if box.find(f"{SVG}title") is not None]
    sides = [[float(box.get(key, "")) for key in ("x", "y", "width", "height")] for box in found]
    return [(x, y, x + width, y + height) for x, y, width, height in sides]


def corners(way: str) -> list[tuple[float, float]]:
    """The corners of a path of lines whose corners are rounded."""
    points: list[tuple[float, float]] = []
    for numbers in re.findall(r"[MLQH]([^MLQH]+)", way):
        values = [float(number) for number in re.split("[ ,]", numbers.strip())]
        values = values if len(values) > 1 else [values[0], points[-1][1]]
        points += zip(values[::2], values[1::2], strict=True)
    return points


SHAPES = st.one_of(
    st.tuples(st.integers(1, 4096), st.sampled_from([32, 16, 13]), st.sampled_from([32, 16])),
    st.sampled_from([(), (64,), (49, 96), (2, 3, 4, 5)]),
)


@st.composite
def diagrams(draw: st.DrawFn) -> Diagram:
    blocks: list[Block] = []
    for number, shape in enumerate(draw(st.lists(SHAPES, max_size=14))):
        before = draw(st.sets(st.integers(0, number - 1), max_size=4)) if number else ()
        path = ("network", draw(st.sampled_from(["encoder", "a_rather_long_name_of_a_part", "0"])), str(number))
        blocks.append(Block(path, "Conv2d 3×3", shape, 1, tuple(sorted(before))))
    return Diagram("Any <net>", (32, 32), tuple(blocks), 9_000_000, 10, {"head": 1}, 10**12)


@given(diagrams())
@settings(max_examples=40, deadline=None)
def test_no_line_crosses_a_block_or_lies_on_another_blocks_line(drawn: Diagram) -> None:
    root = ElementTree.fromstring(picture(drawn))
    blocks = boxes(root)
    assert len(blocks) == len(drawn.blocks)
    edges = [(source, number) for number, block in enumerate(drawn.blocks) for source in block.sources]
    paths = [corners(path.get("d", "")) for path in root.iter(f"{SVG}path")]
    lanes: list[tuple[int, float, float, float]] = []
    for (source, number), points in zip(edges, paths, strict=True):
        for (x1, y1), (x2, y2) in pairwise(points):
            assert x1 == x2 or y1 == y2 or abs(x1 - x2) + abs(y1 - y2) <= 8.2, "rounded corners apart, no slopes"
            left, right, top, bottom = min(x1, x2), max(x1, x2), min(y1, y2), max(y1, y2)
            for box in blocks:
                inside = left < box[2] - 0.1 and right > box[0] + 0.1 and top < box[3] - 0.1 and bottom > box[1] + 0.1
                assert not inside, (source, number, box)
            lanes += [(source, y1, left, right)] if y1 == y2 and number - source > 1 and right - left > 20 else []
    for source, y, left, right in lanes:
        for other, y_other, left_other, right_other in lanes:
            assert source == other or y != y_other or right <= left_other or right_other <= left
    width, height = float(root.get("width", "")), float(root.get("height", ""))
    texts: Sequence[ElementTree.Element] = list(root.iter(f"{SVG}text"))
    for text in texts:
        # A letter is about 0.55 of the font's size wide.
        long = 0.55 * float(text.get("font-size", "")) * len(text.text or "")
        start = float(text.get("x", "")) - (long / 2 if text.get("text-anchor") == "middle" else 0)
        assert start >= 0
        assert start + long <= width
        assert float(text.get("y", "")) <= height
