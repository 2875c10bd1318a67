"""Networks and training states as safetensors: nothing here unpickles.

A weights file says in its metadata which network it belongs to, so that it can be used without its run.
A state file holds all that training needs to continue, in one file, so that it is whole or absent.
"""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, Field, ValidationError
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer

from cxrkit.engine.card import NetworkCard as NetworkCard
from cxrkit.errors import ConfigError, DataError, PluginError
from cxrkit.files import remedy_of_missing, write_bytes
from cxrkit.interfaces import Model
from cxrkit.overrides import differences
from cxrkit.registry import Registry

_KEY = "cxrkit"
#: The floats that can stand for one another; those of 8 or 4 bits need scales that they don't come with.
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def save_network(path: Path, tensors: Mapping[str, Tensor], card: NetworkCard) -> None:
    """Write a network's tensors and its card, atomically."""
    _save(path, _plain(tensors), card.model_dump_json())


def load_tensors(path: Path) -> tuple[dict[str, Tensor], NetworkCard]:
    """The tensors of a weights file by name, and its card.

    Raises:
        DataError: the file is missing, not safetensors, or no weights file of cxrkit's.
    """
    tensors, text = _load(path)
    try:
        return tensors, NetworkCard.model_validate_json(text)
    except ValidationError as error:
        if '"best"' in text and '"step"' in text:
            raise DataError(
                f"{path}: this is the state that a training resumes from.", "Use best or last.safetensors beside it."
            ) from error
        raise DataError(f"{path}: these weights were not written by this cxrkit.", "Update cxrkit.") from error


def load_network(path: Path, registry: Registry) -> tuple[Model, NetworkCard]:
    """The network of a weights file, in evaluation mode on the CPU.

    Raises:
        DataError: the file is missing, not safetensors, or doesn't fit its network.
        PluginError: the package that the network came from isn't installed.
    """
    tensors, card = load_tensors(path)
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
        _check_kinds(tensors, model.state_dict())
        model.load_state_dict(tensors)
    except (RuntimeError, ValueError) as error:
        raise DataError(
            f"{path}: the weights don't fit {component.name} of {component.distribution} {component.version}: "
            f"{' '.join(str(error).split())[:300]}",
            f"They were made with {card.package[0]} {card.package[1]}; install that version.",
        ) from error
    return model.eval(), card


def _check_kinds(tensors: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> None:
    """Refuse what torch would convert without a word: floats may be of any precision, all else is as it was saved.

    Raises:
        ValueError: names the first tensor that holds another kind of number.
    """
    for name, value in tensors.items():
        wanted = like[name].dtype if name in like else value.dtype
        if value.dtype != wanted and not (value.dtype in _FLOATS and wanted in _FLOATS):
            kinds = " instead of ".join(str(dtype).removeprefix("torch.") for dtype in (value.dtype, wanted))
            raise ValueError(f"{name} holds numbers of the kind {kinds}")


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
            f"{source}: not the weights of a network.", "Give a run, or its best or last.safetensors."
        ) from error
    if not half and any(value.dtype == torch.float16 for value in tensors.values()):
        raise ConfigError(
            f"{source}: holds 16-bit floats; --full can't bring back what was rounded.",
            "Leave out --full: whoever loads the file gets 32-bit floats of the same values.",
        )
    largest = torch.finfo(torch.float16).max
    if half:
        tensors = {
            name: value.half() if value.dtype in _FLOATS and (value.abs() < largest).all() else value
            for name, value in tensors.items()
        }
    _save(target, _plain(tensors), text)


def network_checksum(file: Path) -> str:
    """A SHA-256 of a weights file's network, which files of the same weights have in common.

    It is that of the names and values of its tensors with floats rounded to 16 bits, so that neither what the file says
    of itself nor whether it is a copy with 16-bit floats (`export_network`) makes a difference.

    Raises:
        DataError: it isn't a weights file of cxrkit's.
    """
    found = hashlib.sha256()
    for name, value in sorted(_load(file)[0].items()):
        rounded = value.half() if value.dtype in _FLOATS else value
        found.update(f"{name} {rounded.dtype} {list(rounded.shape)}\n".encode())
        found.update(rounded.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def amend_card(file: Path, **changes: Any) -> None:
    """Change what a weights file says of itself; its tensors stay as they are.

    Raises:
        DataError: it isn't a weights file of cxrkit's. StorageError: it can't be written to.
    """
    tensors, card = load_tensors(file)
    save_network(file, tensors, card.model_copy(update=changes))


@dataclass(frozen=True)
class TrainingState:
    """All that training needs to continue after `step` updates.

    Attributes:
        tensors: named tensors of the network, the averaged network, the loss and the optimisers.
        step: updates made.
        best: the best validation score so far, and its step, if any.
        identity: what it belongs to, see `provenance.identity_of`; None in older files.
    """

    tensors: dict[str, Tensor]
    step: int
    best: tuple[float, int] | None
    identity: Mapping[str, Any] | None = None


class _StateCard(BaseModel):
    """What a state file says of itself; `checksum` is of its tensors, which safetensors doesn't check."""

    step: int = Field(ge=0)
    best: tuple[float, int] | None
    identity: dict[str, Any] | None = None
    checksum: int | None = None


def save_state(path: Path, state: TrainingState) -> None:
    """Write a training state, atomically."""
    identity = None if state.identity is None else dict(state.identity)
    tensors = _plain(state.tensors)
    card = _StateCard(step=state.step, best=state.best, identity=identity, checksum=_checksum(tensors))
    _save(path, tensors, card.model_dump_json())


def load_state(path: Path, identity: Mapping[str, Any] | None = None) -> TrainingState:
    """Read a training state.

    Args:
        path: the file.
        identity: of the run that it must belong to. What either side doesn't state isn't compared, since versions of
            cxrkit differ in their settings.

    Raises:
        DataError: the file is missing, damaged, or belongs to another run.
    """
    remedy = "Delete it to begin the run again from its start."
    tensors, text = _load(path)
    try:
        card = _StateCard.model_validate_json(text)
    except ValidationError as error:
        raise DataError(f"{path}: not a training state.", remedy) from error
    if card.checksum not in (None, _checksum(tensors)):
        raise DataError(f"{path}: the training state is damaged.", remedy)
    if other := list(differences(card.identity or {}, identity or {}, both=True)):
        raise DataError(
            f"{path}: the training state of another run, or settings that were changed since: {'; '.join(other[:5])}.",
            f"Put back what belongs to this run. {remedy}",
        )
    # A score that isn't finite, as older files may have it, could never be surpassed.
    best = card.best if card.best is not None and math.isfinite(card.best[0]) else None
    return TrainingState(tensors, card.step, best, card.identity)


def _checksum(tensors: Mapping[str, Tensor]) -> int:
    found = 0
    for name in sorted(tensors):
        content = tensors[name].reshape(-1).view(torch.uint8).numpy().data
        found = zlib.crc32(content, zlib.crc32(name.encode(), found))
    return found


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
    """Put `collect_tensors` back.

    Raises:
        ValueError: they are of other parts; says what doesn't fit.
    """
    foreign = [name for name in tensors if name.partition(".")[0] not in parts]
    if foreign:
        raise ValueError(f"it has {foreign[0]}, which belongs to nothing here")
    for part, owner in parts.items():
        start = f"{part}."
        own = {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
        if isinstance(owner, Optimizer):
            _restore_optimizer(owner, own)
            continue
        _check_kinds(own, owner.state_dict())
        try:
            owner.load_state_dict(own)
        except RuntimeError as error:
            raise ValueError(" ".join(str(error).split())[:300]) from error


def _restore_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give each tensor the memory layout of its parameter, so that sums stay bit-equal."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, _, key = name.partition(".")
        like = parameters[int(index)] if index.isdecimal() and int(index) < len(parameters) else None
        shape = None if like is None else {"step": (), "exp_avg": like.shape, "exp_avg_sq": like.shape}.get(key)
        if like is None or shape is None or value.shape != shape or not value.is_floating_point():
            raise ValueError(f"the optimizer's {name} doesn't fit")
        if value.shape == like.shape:
            value = torch.empty_like(like, memory_format=torch.preserve_format).copy_(value)
        state.setdefault(int(index), {})[key] = value
    if any(len(found) < 3 for found in state.values()):
        raise ValueError("the optimizer's moments are incomplete")
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies on the CPU: safetensors refuses channels_last and shared memory."""
    return {name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()}


def _save(path: Path, tensors: Mapping[str, Tensor], metadata: str) -> None:
    # Not by `save_file`: where it is killed, it leaves a temporary file of its own.
    write_bytes(path, save(dict(tensors), metadata={_KEY: metadata}))


def _load(path: Path) -> tuple[dict[str, Tensor], str]:
    if not path.is_file():
        remedy = remedy_of_missing(path, "Check the path; `runs/<name>/checkpoints` holds a run's.")
        raise DataError(f"{path}: there is no such file.", remedy)
    try:
        with safe_open(path, framework="pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except Exception as error:  # whatever the library says of a damaged file
        raise DataError(
            f"{path}: not a readable safetensors file ({' '.join(str(error).split())}).",
            "It may be damaged or of another kind; cxrkit reads safetensors only and never unpickles.",
        ) from error
    if _KEY not in metadata:
        raise DataError(
            f"{path}: these weights were not written by cxrkit.", "Give a run or a weights file of cxrkit's."
        )
    return tensors, metadata[_KEY]
