"""What a network can be given, found by trying it on tensors without data: nothing is computed, and no memory needed.

Networks that can't be tried so, because they read values, are taken as they are; their first step then says the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from functools import partial
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from cxrkit.engine.forward import apply_model
from cxrkit.errors import ConfigError
from cxrkit.interfaces import Model, SideOutputs

_LARGEST = 1024
_TRIES = 40


class SingleValueError(Exception):
    """A layer would normalise single values, which have no variance: what it gives says nothing about the film."""

    def __init__(self, layer: str, kind: str) -> None:
        super().__init__(layer, kind)
        self.layer, self.kind = layer, kind


class Trial:
    """A network's copy without data.

    Args:
        network: it stays as it is.
        name: what the settings call it.
    """

    def __init__(self, network: Model, name: str) -> None:
        self.name, self.multiple, self.channels = name, network.size_multiple, len(network.channels)
        memo: dict[int, Tensor] = {id(value): value.to("meta") for value in network.buffers()}
        for value in network.parameters():
            memo[id(value)] = nn.Parameter(value.detach().to("meta"), requires_grad=value.requires_grad)
        self.network = deepcopy(network, memo).train()
        for layer, module in self.network.named_modules():
            if isinstance(module, _BatchNorm | _InstanceNorm | nn.GroupNorm):
                module.register_forward_pre_hook(partial(_refuse_single_values, layer))

    def check(self, films: int, size: int, processes: int = 1) -> None:
        """Make sure that a training step can be made.

        Args:
            films: in each process's share of a batch.
            size: height and width of the films.
            processes: that share a batch.

        Raises:
            ConfigError: no such films, too small ones, or a layer would normalise single values; says what to choose.
        """
        if 2 * size**2 < self.multiple**2:
            raise ConfigError(
                f"model '{self.name}': films of {size}x{size} pixels are too small: they are padded to "
                f"{self.multiple}x{self.multiple}, so most of what it sees would be padding.",
                f"Use --size {self.multiple}, or a network that takes smaller films.",
            )
        fault = self._fault(films, size)
        if fault is None:
            return
        if isinstance(fault, SingleValueError):
            larger = [near for near in self._sizes(size) if near > size]
            if larger and self._fault(films, max(larger)):
                larger = []  # then no smaller one does either
            ways = [f"--size {near}" for near in islice((n for n in larger if not self._fault(films, n)), 1)]
            if not self._fault(films + 1, size):
                ways.append(f"--batch-size {(films + 1) * processes}")
            raise ConfigError(
                f"model '{self.name}': its {fault.kind} {fault.layer} would normalise single values, with "
                f"{films} film{'s' * (films > 1)} of {size}x{size} pixels at a time.",
                f"Use at least {' or '.join(ways)}." if ways else "Use another network or larger films.",
            ) from fault
        if near := list(islice((other for other in self._sizes(size) if not self._fault(films, other)), 2)):
            raise ConfigError(
                f"model '{self.name}': it doesn't take films of {size}x{size} pixels: "
                f"{' '.join(str(fault).split())[:200]}",
                f"Use --size {' or '.join(map(str, sorted(near)))}.",
            ) from fault

    def lacks_sides(self, films: int, size: int) -> bool:
        """Whether a step's output has no side outputs; False where that can't be tried."""
        try:
            return isinstance(self._forward(films, size), Tensor)
        except Exception:
            return False

    def leaves_unused(self, films: int, size: int) -> bool:
        """Whether a step may leave parameters without gradients, so that several devices mustn't wait for them."""
        try:
            output = self._forward(films, size)
            if isinstance(output, SideOutputs):
                return True  # whether they are used is the loss's affair
            output.sum().backward()
        except Exception:  # it can't be tried
            return True
        return any(value.requires_grad and value.grad is None for value in self.network.parameters())

    def _forward(self, films: int, size: int) -> Tensor | SideOutputs:
        images = torch.empty(films, 1, size, size, device="meta")
        with torch.random.fork_rng(devices=[]):
            return apply_model(self.network, images, size_multiple=self.multiple, channels=self.channels)

    def _fault(self, films: int, size: int) -> Exception | None:
        try:
            with torch.no_grad():
                self._forward(films, size)
        except Exception as error:  # each network complains in its own way
            return error
        return None

    def _sizes(self, size: int) -> Iterator[int]:
        """Other sizes that the network says it takes, the nearest first."""
        near = -(-size // self.multiple)
        counts = {*range(max(1, near - 8), near + 9), *(-(-32 * k // self.multiple) for k in range(1, _LARGEST // 32))}
        sizes = sorted({count * self.multiple for count in counts} - {size}, key=lambda other: abs(other - size))
        yield from sizes[:_TRIES]


def _refuse_single_values(layer: str, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    if not inputs:
        return
    values = inputs[0]
    if isinstance(module, nn.GroupNorm):
        # torch's own check counts the films of a batch too, though each is normalised by itself.
        kind, count = "group or instance norm", values[0].numel() // module.num_groups
    elif isinstance(module, _InstanceNorm):
        kind, count = "instance norm", values[0, 0].numel()
    else:
        kind, count = "batch norm", values.numel() // values.shape[1]
    if count == 1 and (module.training or not isinstance(module, _BatchNorm)):
        raise SingleValueError(layer, kind)
