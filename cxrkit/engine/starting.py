"""Training that begins with another network's weights: what of them fits, and what begins afresh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

import torch
from torch import Tensor

from cxrkit.config import RunConfig
from cxrkit.data.splits import Split
from cxrkit.engine.checkpoint import NetworkCard, load_tensors
from cxrkit.engine.films import Films
from cxrkit.engine.observer import Observer
from cxrkit.engine.run import RunDirectory
from cxrkit.engine.weights import find_weights, weights_source
from cxrkit.errors import ConfigError, DataError
from cxrkit.interfaces import BACKGROUND, Model
from cxrkit.registry import Component, Registry
from cxrkit.segmentation import WeightsSource


@dataclass(frozen=True)
class Start:
    """The weights that a training begins with.

    Attributes:
        given: what `--init` names.
        source: the file.
        card: what it says of its network.
        tensors: its weights, by name.
    """

    given: str
    source: WeightsSource
    card: NetworkCard
    tensors: Mapping[str, Tensor]


def read_start(given: str, registry: Registry) -> Start:
    """The weights of a run, a file, or those of a name that a package provides.

    Raises:
        ConfigError: there are none. DataError: they can't be read, or hold values that aren't finite.
    """
    file, name = find_weights(given, registry)
    file = RunDirectory.open(file).weights() if file.is_dir() else file
    if file.suffix not in ("", ".safetensors"):
        raise ConfigError(
            f"--init {given}: a {file.suffix} file can't be trained on.",
            "Give a run, a .safetensors file or a name; for an exported network, what it was made from.",
        )
    tensors, card = load_tensors(file)
    if not all(value.isfinite().all() for value in tensors.values()):
        raise DataError(f"{file}: these weights hold values that are not finite.", "Give others to --init.")
    return Start(given, weights_source(file, card.step, registry, name), card, tensors)


def begin_with(start: Start, network: Model, component: Component, parameters: Mapping[str, object]) -> str:
    """Give a network, in place, what fits of other weights, and say what that is.

    A tensor fits where name and shape agree. Where the channels differ, the parts of the last layers that belong to
    channels of the same name are taken, and the others begin afresh.

    Args:
        start: the other weights.
        network: the one that will be trained, as it was built with `component` and `parameters`.

    Raises:
        ConfigError: nothing fits that the network could have learnt.
    """
    own, channels = network.state_dict(), tuple(network.channels)
    heads = {} if channels == start.card.channels else _heads(own, channels, component, parameters)
    pairs = [
        (channels.index(name), start.card.channels.index(name)) for name in channels if name in start.card.channels
    ]
    taken, afresh, numbers = 0, [], 0
    with torch.no_grad():
        for name, value in own.items():
            other = start.tensors.get(name)
            if name in heads:
                _take_channels(value, other, heads[name], pairs, len(start.card.channels))
            elif (
                other is not None
                and other.shape == value.shape
                and other.is_floating_point() == value.is_floating_point()
            ):
                value.copy_(other)
                taken += value.numel()
                numbers += value.dim() > 1  # means and counts alone are nothing learnt
            elif value.is_floating_point():
                afresh.append(name)
    if not numbers:
        theirs = start.card.model
        settings = "".join(f" --set {quote(f'model.{name}={value}')}" for name, value in theirs.params.items())
        raise ConfigError(
            f"--init {start.given}: nothing of these weights of {theirs.name} fits {component.name}.",
            f"Train with --model {theirs.name}{settings}, or leave out --init.",
        )
    total = sum(value.numel() for value in own.values())
    new = [name for name in channels if name not in start.card.channels]
    parts = [f"Starting from {start.given}: {100 * taken / total:.1f} % of the weights are taken"]
    if heads:
        kept = [channels[mine] for mine, _ in pairs]
        parts.append(f"the last layer is taken for {', '.join(kept) or 'no channel'}")
        if new:
            parts.append(f"it begins afresh for {', '.join(new)}")
    if afresh:
        parts.append(f"afresh begin {_short(afresh)}")
    return "; ".join(parts) + "."


def report_seen(start: Start, config: RunConfig, films: Films, observer: Observer) -> None:
    """Report where a run's test films trained or chose the weights that it begins with, as far as their run says."""
    run = RunDirectory(Path(start.source.file).parent.parent)
    if not (run.config_file.is_file() and run.split_file.is_file()):
        return
    places, theirs = ([(item.name, item.root, item.alias) for item in one.datasets] for one in (config, run.config()))
    split = Split.load(run.split_file)
    if places == theirs and (seen := {*split.train, *split.validation} & {*films.split.test}):
        observer.say(
            f"{len(seen)} of the {len(films.split.test)} test films trained or chose the weights of --init "
            f"{start.given}: scores on them are too good. --split {run.split_file} has the same test films."
        )


def _heads(
    own: Mapping[str, Tensor], channels: Sequence[str], component: Component, parameters: Mapping[str, object]
) -> dict[str, int | None]:
    """The tensors whose shape depends on the number of channels, with the dimension that is that number, if one is.

    A network with one more channel shows which they are.
    """
    at_once = getattr(component.target, "when_loading", {})
    structures = [name for name in channels if name != BACKGROUND]
    more = (*structures, _unused(structures), *(name for name in channels if name == BACKGROUND))
    with torch.random.fork_rng(devices=[]):
        other = component.build(more, **{**parameters, **at_once}).state_dict()
    found: dict[str, int | None] = {}
    for name, value in own.items():
        if name not in other or other[name].shape == value.shape:
            continue
        grown = [
            d for d in range(value.dim()) if other[name].dim() == value.dim() and other[name].shape[d] != value.shape[d]
        ]
        plain = len(grown) == 1 and value.shape[grown[0]] == len(channels) == other[name].shape[grown[0]] - 1
        found[name] = grown[0] if plain else None
    return found


def _unused(names: Sequence[str]) -> str:
    return next(name for name in (f"structure_{number}" for number in range(len(names) + 1)) if name not in names)


def _take_channels(
    value: Tensor, other: Tensor | None, dimension: int | None, pairs: Sequence[tuple[int, int]], channels: int
) -> None:
    """Copy the slices of channels of the same name, in place, if all other dimensions agree."""
    if other is None or dimension is None or other.dim() != value.dim() or other.shape[dimension] != channels:
        return
    if other.select(dimension, 0).shape == value.select(dimension, 0).shape:
        for mine, theirs in pairs:
            value.select(dimension, mine).copy_(other.select(dimension, theirs))


def _short(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
