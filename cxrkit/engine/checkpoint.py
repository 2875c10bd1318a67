"""Networks and training states as safetensors: nothing here unpickles.

A weights file says in its metadata which network it belongs to, so that it can be used without its run.
A state file holds all that training needs to continue, in one file, so that it is whole or absent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from cxrkit.config import ComponentConfig, PreprocessConfig
from cxrkit.errors import ConfigError, DataError, PluginError
from cxrkit.files import atomic_path, remedy_of_missing
from cxrkit.interfaces import STRUCTURE_NAME, Model
from cxrkit.registry import Registry

_KEY = "cxrkit"


class NetworkCard(BaseModel):
    """What a weights file says of itself.

    Attributes:
        model: the network's name and parameters.
        channels: its output channels, in order; structures, and perhaps `background` last.
        preprocess: what its input must have gone through.
        precision: the setting it was trained and judged with.
        package: the distribution and version that the network came from.
        step: updates it was trained for.
    """

    model_config = ConfigDict(extra="forbid")

    format: Literal[1] = 1
    cxrkit: str
    model: ComponentConfig
    channels: tuple[Annotated[str, Field(pattern=rf"^{STRUCTURE_NAME}$")], ...] = Field(min_length=1)
    preprocess: PreprocessConfig
    precision: Literal["auto", "32", "bf16"] = "auto"
    package: tuple[str, str]
    step: int

    @field_validator("channels")
    @classmethod
    def _unique(cls, channels: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(channels)) < len(channels):
            raise ValueError("a channel is named twice")
        return channels


def save_network(path: Path, tensors: Mapping[str, Tensor], card: NetworkCard) -> None:
    """Write a network's tensors and its card, atomically."""
    _save(path, tensors, card.model_dump_json())


def load_network(path: Path, registry: Registry) -> tuple[Model, NetworkCard]:
    """The network of a weights file, in evaluation mode on the CPU.

    Raises:
        DataError: the file is missing, not safetensors, or doesn't fit its network.
        PluginError: the package that the network came from isn't installed.
    """
    tensors, text = _load(path)
    try:
        card = NetworkCard.model_validate_json(text)
    except ValidationError as error:
        if '"best"' in text and '"step"' in text:
            raise DataError(
                f"{path}: this is the state that a training resumes from.", "Use best or last.safetensors beside it."
            ) from error
        raise DataError(f"{path}: these weights were not written by this cxrkit.", "Update cxrkit.") from error
    try:
        component = registry.get("model", card.model.name)
    except PluginError as error:
        name, version = card.package
        raise PluginError(
            f"{path} holds weights of the model '{card.model.name}', which no installed plugin has. {error.remedy}",
            f"Install {name}=={version} (`pip install {name}=={version}`).",
        ) from error
    model: Model = component.build(card.channels, **(card.model.params | getattr(component.target, "when_loading", {})))
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise DataError(
            f"{path}: the weights don't fit {component.name} of {component.distribution} {component.version}: "
            f"{' '.join(str(error).split())[:300]}",
            f"They were made with {card.package[0]} {card.package[1]}; install that version.",
        ) from error
    return model.eval(), card


def export_network(source: Path, target: Path, *, half: bool) -> None:
    """Copy a weights file, optionally with 16-bit floats: half the size, for networks that are passed on.

    Tensors that 16 bits can't hold stay as they are; loading makes 32-bit floats of all.

    Raises:
        DataError: the source is no weights file of cxrkit's. ConfigError: 32-bit floats of one that holds 16-bit ones.
        StorageError: the target can't be written to.
    """
    tensors, text = _load(source)
    try:
        NetworkCard.model_validate_json(text)
    except ValidationError as error:
        raise DataError(
            f"{source}: isn't a network's weights.", "Give a run, or its best or last.safetensors."
        ) from error
    if not half and any(value.dtype == torch.float16 for value in tensors.values()):
        raise ConfigError(
            f"{source}: holds 16-bit floats; --full can't bring back what was rounded.",
            "Leave out --full: whoever loads the file gets 32-bit floats of the same values.",
        )
    largest = torch.finfo(torch.float16).max
    if half:
        tensors = {
            name: value.half() if value.is_floating_point() and value.abs().max() < largest else value
            for name, value in tensors.items()
        }
    _save(target, tensors, text)


@dataclass(frozen=True)
class TrainingState:
    """All that training needs to continue after `step` updates.

    Attributes:
        tensors: named tensors of the network, the averaged network, the loss and the optimisers.
        step: updates made.
        best: the best validation score so far, and its step, if any.
    """

    tensors: dict[str, Tensor]
    step: int
    best: tuple[float, int] | None


def save_state(path: Path, state: TrainingState) -> None:
    """Write a training state, atomically."""
    _save(path, state.tensors, json.dumps({"step": state.step, "best": state.best}))


def load_state(path: Path) -> TrainingState:
    """Read a training state.

    Raises:
        DataError: the file is missing or damaged.
    """
    tensors, text = _load(path)
    try:
        content = json.loads(text)
        best = content["best"]
        return TrainingState(tensors, int(content["step"]), None if best is None else (float(best[0]), int(best[1])))
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a training state.", "Delete it to begin the run again from its start.") from error


def collect_tensors(parts: Mapping[str, nn.Module | Optimizer]) -> dict[str, Tensor]:
    """The states of modules (`network.head.weight`) and optimisers (`optimizer.0.exp_avg`), by their part's name."""
    tensors: dict[str, Tensor] = {}
    for part, owner in parts.items():
        state = owner.state_dict()
        if isinstance(owner, Optimizer):
            state = {f"{index}.{key}": value for index, item in state["state"].items() for key, value in item.items()}
        tensors |= {f"{part}.{name}": torch.as_tensor(value) for name, value in state.items()}
    return tensors


def restore_tensors(parts: Mapping[str, nn.Module | Optimizer], tensors: Mapping[str, Tensor]) -> None:
    """Put `collect_tensors` back."""
    for part, owner in parts.items():
        start = f"{part}."
        own = {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
        if isinstance(owner, Optimizer):
            _restore_optimizer(owner, own)
        else:
            owner.load_state_dict(own)


def _restore_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give each tensor the memory layout of its parameter, so that sums stay bit-equal."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, _, key = name.partition(".")
        like = parameters[int(index)]
        if value.shape == like.shape:
            value = torch.empty_like(like, memory_format=torch.preserve_format).copy_(value)
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _save(path: Path, tensors: Mapping[str, Tensor], metadata: str) -> None:
    # Contiguous copies on the CPU: safetensors refuses channels_last and shared memory.
    plain = {name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()}
    with atomic_path(path) as temporary:
        try:
            save_file(plain, temporary, metadata={_KEY: metadata})
        except SafetensorError as error:
            raise _as_os_error(error) from error


def _as_os_error(error: SafetensorError) -> OSError:
    """Safetensors wraps the operating system's error in text such as `... (os error 28)`."""
    found = re.search(r"(?:os error|code:) (\d+)", str(error))
    return OSError(int(found[1]) if found else 0, str(error))


def _load(path: Path) -> tuple[dict[str, Tensor], str]:
    if not path.is_file():
        remedy = remedy_of_missing(path, "Check the path; `runs/<name>/checkpoints` holds a run's.")
        raise DataError(f"{path}: there is no such file.", remedy)
    try:
        with safe_open(path, framework="pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(
            f"{path}: not a readable safetensors file ({' '.join(str(error).split())}).",
            "It may be damaged or of another kind; cxrkit reads safetensors only and never unpickles.",
        ) from error
    if _KEY not in metadata:
        raise DataError(
            f"{path}: these weights were not written by cxrkit.", "Give a run or a weights file of cxrkit's."
        )
    return tensors, metadata[_KEY]
