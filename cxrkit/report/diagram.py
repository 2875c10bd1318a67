"""A network's blocks in the order in which a film passes through them, as a tree of text and as a picture."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from html import escape
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cxrkit.engine.forward import pad_to_multiple
from cxrkit.engine.rehearsal import count_multiply_adds
from cxrkit.errors import PluginError
from cxrkit.interfaces import Model
from cxrkit.report.drawing import DISTINCT


@dataclass(frozen=True)
class Block:
    """A part of a network that isn't divided further: a layer, or a module of layers.

    Attributes:
        path: the names of the modules that lead to it.
        layers: what it consists of, such as `2 × Conv2d 3×3, 2 × BatchNorm2d, 2 × ReLU`.
        shape: of its output for one film, without the batch: (channels, height, width), or another.
        parameters: how many numbers it has.
        sources: the positions of the blocks whose outputs it gets, directly or through operations without a block.
    """

    path: tuple[str, ...]
    layers: str
    shape: tuple[int, ...]
    parameters: int
    sources: tuple[int, ...] = ()


@dataclass(frozen=True)
class Diagram:
    """A network at a size.

    Attributes:
        name: the network's class.
        size: (height, width) of the film, as the network is shown it.
        blocks: in the order of the computation.
        parameters: of the whole network; `trained`: those that training changes.
        multiply_adds: of one film, in convolutions and matrix products.
    """

    name: str
    size: tuple[int, int]
    blocks: tuple[Block, ...]
    parameters: int
    trained: int
    multiply_adds: int

    def text(self) -> str:
        """A line for each block below the modules that it is part of, with its output's shape and its parameters."""
        rows = [(f"{self.name}, one film of {self.size[0]}×{self.size[1]}", "output", "parameters")]
        above: tuple[str, ...] = ()
        for block in self.blocks:
            *modules, name = block.path
            shared = next((i for i, pair in enumerate(zip(above, modules, strict=False)) if len(set(pair)) > 1), None)
            start = min(len(above), len(modules)) if shared is None else shared
            rows += [("  " * depth + module, "", "") for depth, module in enumerate(modules[start:], start)]
            above = tuple(modules)
            shape = "×".join(map(str, block.shape))
            rows.append((f"{'  ' * len(modules)}{name}: {block.layers}", shape, f"{block.parameters:,}"))
        first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
        return "\n".join(f"{row[0]:<{first}}  {row[1]:>{second}}  {row[2]:>12}".rstrip() for row in rows)

    def svg(self) -> str:
        """A picture: from left to right as computed, lower where the resolution is; taller with more channels."""
        step, row, margin = 26, 70, 60
        drawn = [number for number, block in enumerate(self.blocks) if len(block.shape) == 3]
        levels = {n: round(math.log2(max(1, self.size[0] / self.blocks[n].shape[1]))) for n in drawn}
        parts_of = list(dict.fromkeys(self.blocks[n].path[0] for n in drawn))
        colours = {name: DISTINCT[place % len(DISTINCT)] for place, name in enumerate(parts_of)}
        deepest = max(levels.values(), default=0)
        width = max(2 * margin + step * len(drawn), margin + 90 * len(parts_of), 420)
        height = 2 * margin + row * (deepest + 1) + 20
        places = {n: (margin + step * x + 9, margin + row * levels[n] + row / 2) for x, n in enumerate(drawn)}
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif">',
            '<rect width="100%" height="100%" fill="white"/>',
            f'<text x="{margin}" y="24" font-size="14">{escape(self._title())}</text>',
        ]
        for level in sorted(set(levels.values())):
            y = margin + row * level + row / 2
            size = f"{self.size[0] >> level}×{self.size[1] >> level}"
            parts.append(f'<text x="4" y="{y + 4:.0f}" font-size="11" fill="#555">{size}</text>')
        parts += [_arrow(places[a], places[b]) for b in drawn for a in self.blocks[b].sources if a in places]
        for n, (x, y) in places.items():
            block = self.blocks[n]
            tall = 8 + 5 * math.log2(1 + block.shape[0])
            label = f"{'.'.join(block.path)}: {block.layers} → {'×'.join(map(str, block.shape))}"
            parts.append(
                f'<rect x="{x - 9}" y="{y - tall / 2:.1f}" width="18" height="{tall:.1f}" rx="2" '
                f'fill="{colours[block.path[0]]}"><title>{escape(label)}</title></rect>'
                f'<text x="{x}" y="{y + tall / 2 + 11:.1f}" font-size="9" text-anchor="middle">{block.shape[0]}</text>'
            )
        for place, (name, colour) in enumerate(colours.items()):
            x, y = margin + 90 * place, height - 22
            parts.append(
                f'<rect x="{x}" y="{y}" width="10" height="10" rx="2" fill="{colour}"/>'
                f'<text x="{x + 14}" y="{y + 9}" font-size="11">{escape(name)}</text>'
            )
        return "\n".join([*parts, "</svg>", ""])

    def _title(self) -> str:
        return f"{self.name}: {self.parameters:,} parameters, {self.multiply_adds / 1e9:.2f} billion multiply-adds"


def diagram(model: Model, size: int) -> Diagram:
    """What a network does with a square film of that size; padded, as always, to a multiple that the network takes.

    Only shapes are computed, no numbers, so it is quick and takes no memory for any size.

    Raises:
        PluginError: the network can't be followed.
    """
    shadow = deepcopy(model).to("meta").eval()
    film = pad_to_multiple(torch.empty(1, 1, size, size), model.size_multiple).to("meta")
    blocks: list[Block] = []
    flow = _Flow()
    hooks = [
        module.register_forward_hook(_recorder(tuple(name.split(".")), blocks, flow))
        for name, module in _blocks(shadow)
    ]
    try:
        with torch.no_grad(), flow:
            shadow(film)
        for hook in hooks:
            hook.remove()
        multiply_adds = count_multiply_adds(shadow, film)
    except Exception as error:
        raise PluginError(
            f"{type(model).__name__} can't be drawn: {type(error).__name__}: {' '.join(str(error).split())}",
            "`cxrkit bench` measures its cost on films.",
        ) from error
    parameters = list(model.parameters())
    return Diagram(
        name=type(model).__name__,
        size=(film.shape[-2], film.shape[-1]),
        blocks=tuple(blocks),
        parameters=sum(parameter.numel() for parameter in parameters),
        trained=sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        multiply_adds=multiply_adds,
    )


def _blocks(module: nn.Module, path: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Layers, and sequences of layers, with their paths."""
    for name, child in module.named_children():
        inner = f"{path}.{name}" if path else name
        parts = list(child.children())
        whole = isinstance(child, nn.Sequential) and not any(list(part.children()) for part in parts)
        if not parts or whole:
            if not isinstance(child, nn.Identity) and (parts or not isinstance(child, nn.Sequential)):
                yield inner, child
        else:
            yield from _blocks(child, inner)


class _Flow(TorchDispatchMode):
    """Remembers from which blocks each tensor comes, through operations that belong to none."""

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[int, tuple[Tensor, frozenset[int]]] = {}  # tensors are kept: ids are reused

    def of(self, values: Any) -> frozenset[int]:
        """The positions of the blocks that the tensors among these values come from."""
        found = [self._known[id(v)][1] for v in tree_leaves(values) if isinstance(v, Tensor) and id(v) in self._known]
        return frozenset().union(*found)

    def set(self, values: Any, blocks: frozenset[int]) -> None:
        """The tensors among these values come from those blocks."""
        self._known |= {id(v): (v, blocks) for v in tree_leaves(values) if isinstance(v, Tensor)}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        self.set(made, self.of((args, kwargs)))
        return made


def _recorder(path: tuple[str, ...], blocks: list[Block], flow: _Flow) -> Any:
    def record(module: nn.Module, inputs: Any, output: Any) -> None:
        tensor = output if isinstance(output, Tensor) else next((o for o in output if isinstance(o, Tensor)), None)
        shape = () if tensor is None else tuple(tensor.shape[1:])
        layers = list(module.children()) or [module]
        sources = tuple(sorted(flow.of(inputs)))
        flow.set(output, frozenset([len(blocks)]))
        blocks.append(Block(path, _in_words(layers), shape, sum(p.numel() for p in module.parameters()), sources))

    return record


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    """A line from a block to the next; to one further away a curve above those between, or beside them."""
    (x, y), (x2, y2) = (start[0] + 9, start[1]), (end[0] - 9, end[1])
    if x2 - x < 20:
        way = f"M{x},{y} L{x2},{y2}"
    elif y == y2:
        way = f"M{x - 9},{y - 20} C{x},{y - 42} {x2},{y - 42} {x2 + 9},{y - 20}"
    else:
        way = f"M{x},{y} C{x + 24},{y} {x2 - 24},{y2} {x2},{y2}"
    return f'<path d="{way}" fill="none" stroke="#999" stroke-opacity="0.7"/>'


def _in_words(layers: Sequence[nn.Module]) -> str:
    def word(layer: nn.Module) -> str:
        kernel = getattr(layer, "kernel_size", None)
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        return type(layer).__name__ + (f" {'×'.join(map(str, sides))}" if isinstance(sides, tuple) else "")

    counts = Counter(word(layer) for layer in layers)
    return ", ".join(f"{count} × {name}" if count > 1 else name for name, count in counts.items())
