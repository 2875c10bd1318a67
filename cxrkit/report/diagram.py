"""A network's blocks in the order in which a film passes through them, and as a tree of text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.hooks import RemovableHandle

from cxrkit.engine.forward import pad_to_multiple
from cxrkit.engine.rehearsal import count_multiply_adds
from cxrkit.errors import PluginError
from cxrkit.interfaces import Model


@dataclass(frozen=True)
class Block:
    """A part of a network that isn't divided further: a layer, or a module of layers.

    Attributes:
        path: the names of the modules that lead to it.
        layers: what it consists of, such as `2 × Conv2d 3×3, 2 × BatchNorm2d, 2 × ReLU`.
        shape: of its output for one film, without the batch: (channels, height, width), or another.
        weights: how many numbers, biases included, it uses that no block before it does.
        sources: the positions of the blocks whose outputs it gets, directly or through operations without a block.
    """

    path: tuple[str, ...]
    layers: str
    shape: tuple[int, ...]
    weights: int
    sources: tuple[int, ...] = ()


@dataclass(frozen=True)
class Diagram:
    """A network at a size.

    Attributes:
        name: the network's class; where that wraps another network, the name of that first.
        size: (height, width) of the film, as the network is shown it.
        blocks: in the order of the computation, outside training.
        weights: how many numbers the whole network has.
        used: of these, how many are used outside training: without side outputs' heads, or what a pruned head spares.
        unused: the modules that aren't used outside training, each with its number of weights.
        multiply_adds: of one film, in convolutions and matrix products.
    """

    name: str
    size: tuple[int, int]
    blocks: tuple[Block, ...]
    weights: int
    used: int
    unused: dict[str, int]
    multiply_adds: int

    def text(self) -> str:
        """A line for each block below the modules that it is part of, with its output's shape and its weights."""
        rows = [(f"{self.name}, one film of {self.size[0]}×{self.size[1]}", "output", "weights")]
        above: tuple[str, ...] = ()
        for block in self.blocks:
            *modules, name = block.path
            shared = next((i for i, pair in enumerate(zip(above, modules, strict=False)) if len(set(pair)) > 1), None)
            start = min(len(above), len(modules)) if shared is None else shared
            rows += [("  " * depth + module, "", "") for depth, module in enumerate(modules[start:], start)]
            above = tuple(modules)
            shape = "×".join(map(str, block.shape))
            rows.append((f"{'  ' * len(modules)}{name}: {block.layers}", shape, f"{block.weights:,}"))
        if other := self.used - sum(block.weights for block in self.blocks):
            rows.append(("in no block", "", f"{other:,}"))
        rows += [("not used outside training", "", "")] if self.unused else []
        rows += [(f"  {name}", "", f"{weights:,}") for name, weights in self.unused.items()]
        first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
        return "\n".join(f"{row[0]:<{first}}  {row[1]:>{second}}  {row[2]:>12}".rstrip() for row in rows)


def diagram(model: Model, size: int) -> Diagram:
    """What a network does with a square film of that size; padded, as always, to a multiple that the network takes.

    Only shapes are computed, no numbers, so it is quick and takes no memory for any size.

    Raises:
        PluginError: the network can't be followed.
    """
    shadow = deepcopy(model).to("meta").eval()
    film = pad_to_multiple(torch.empty(1, 1, size, size), model.size_multiple).to("meta")
    flow = _Flow()
    hooks: list[RemovableHandle] = []
    for module, name in {module: name for name, module in _blocks(shadow)}.items():
        hooks.append(module.register_forward_pre_hook(flow.begin))
        hooks.append(module.register_forward_hook(flow.recorder(tuple(name.split("."))), with_kwargs=True))
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
    return Diagram(
        name=_name(model),
        size=(film.shape[-2], film.shape[-1]),
        blocks=tuple(flow.blocks),
        weights=sum(parameter.numel() for parameter in shadow.parameters()),
        used=sum(parameter.numel() for parameter in shadow.parameters() if id(parameter) in flow.used),
        unused=dict(_unused(shadow, flow.used)),
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
    """Follows a pass: its blocks, from which of them each tensor comes, and which parameters are read.

    Attributes:
        blocks: those passed so far.
        used: the `id` of each parameter that was read.
    """

    def __init__(self) -> None:
        super().__init__()
        self.blocks: list[Block] = []
        self.used: set[int] = set()
        self._counted: set[int] = set()  # parameters that a block has shown
        self._known: dict[int, tuple[Tensor, frozenset[int]]] = {}  # tensors are kept: ids are reused
        self._overwritten: set[int] = set()  # since the last block began

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = _tensors((args, kwargs))
        self.used |= {id(value) for value in given if isinstance(value, nn.Parameter)}
        made = func(*args, **(kwargs or {}))
        self._set(made, self._of(given))
        self._overwritten |= {id(value) for value in _tensors(made)} & {id(value) for value in given}
        return made

    def begin(self, module: nn.Module, inputs: Any) -> None:
        """A forward pre-hook of a block."""
        self._overwritten.clear()

    def recorder(self, path: tuple[str, ...]) -> Any:
        """A forward hook of the block with this path."""

        def record(module: nn.Module, inputs: Any, named_inputs: Any, output: Any) -> Any:
            given = _tensors((inputs, named_inputs))
            # What a block only passes on, as dropout does in evaluation, is also read by others: those don't get it
            # from this block.
            passed_on = {id(value) for value in given} - self._overwritten
            output = tree_map(lambda value: value.view_as(value) if id(value) in passed_on else value, output)
            tensor = next(iter(_tensors(output)), None)
            own = {id(p): p.numel() for p in module.parameters() if id(p) in self.used - self._counted}
            self._counted |= own.keys()
            layers = _in_words(list(module.children()) or [module])
            shape = () if tensor is None else tuple(tensor.shape[1:])
            sources = tuple(sorted(self._of(given)))
            self._set(output, frozenset([len(self.blocks)]))
            self.blocks.append(Block(path, layers, shape, sum(own.values()), sources))
            return output

        return record

    def _of(self, values: list[Tensor]) -> frozenset[int]:
        """The positions of the blocks that these values come from."""
        return frozenset().union(*(self._known[id(value)][1] for value in values if id(value) in self._known))

    def _set(self, values: Any, blocks: frozenset[int]) -> None:
        self._known |= {id(value): (value, blocks) for value in _tensors(values)}


def _tensors(values: Any) -> list[Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, Tensor)]


def _unused(module: nn.Module, used: set[int], path: str = "") -> Iterator[tuple[str, int]]:
    """The outermost modules, and single parameters, of which nothing is used; with their numbers of parameters."""
    for name, parameter in module.named_parameters(path, recurse=False):
        if id(parameter) not in used:
            yield name, parameter.numel()
    for name, child in module.named_children():
        inner, parameters = f"{path}.{name}" if path else name, list(child.parameters())
        if parameters and not any(id(parameter) in used for parameter in parameters):
            yield inner, sum(parameter.numel() for parameter in parameters)
        else:
            yield from _unused(child, used, inner)


def _name(model: nn.Module) -> str:
    """The network's class; of one that only wraps another package's network, what that is called, too."""
    name, parts = type(model).__name__, list(model.children())
    if len(parts) != 1 or _package(parts[0]) in ("torch", _package(model)):
        return name
    inner = getattr(parts[0], "name", None)
    return f"{inner if isinstance(inner, str) else type(parts[0]).__name__} ({name})"


def _package(module: nn.Module) -> str:
    return type(module).__module__.partition(".")[0]


def _in_words(layers: Sequence[nn.Module]) -> str:
    def word(layer: nn.Module) -> str:
        kernel = getattr(layer, "kernel_size", None)
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        return type(layer).__name__ + (f" {'×'.join(map(str, sides))}" if isinstance(sides, tuple) else "")

    counts = Counter(word(layer) for layer in layers)
    return ", ".join(f"{count} × {name}" if count > 1 else name for name, count in counts.items())
