"""One pass through a network: padding, the contract of its output, and the loss of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cxrkit.config import ComponentConfig, LossConfig
from cxrkit.errors import ConfigError, ContractError
from cxrkit.interfaces import Augment, Batch, Loss, Model, SideOutputs
from cxrkit.registry import Registry

_CHECK = "Mend the component; `cxrkit plugins check` tells more."


def pad_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """Images `(B, C, H, W)` with edge values added below and to the right, up to multiples in H and W."""
    bottom, right = -images.shape[-2] % multiple, -images.shape[-1] % multiple
    return F.pad(images, (0, right, 0, bottom), mode="replicate") if bottom or right else images


def apply_model(model: nn.Module, images: Tensor, *, size_multiple: int, channels: int) -> Tensor | SideOutputs:
    """Logits `(B, C, H, W)` of images `(B, 1, H, W)` of any size.

    H and W are padded (edge values) up to the network's multiple, and the output is cut back.

    Raises:
        ContractError: the output isn't logits of the expected shape.
    """
    height, width = images.shape[-2:]
    images = pad_to_multiple(images, size_multiple)
    output = model(images)
    main = output.main if isinstance(output, SideOutputs) else output
    expected = (images.shape[0], channels, *images.shape[-2:])
    if not isinstance(main, Tensor) or tuple(main.shape) != expected:
        came = f"shape {tuple(main.shape)}" if isinstance(main, Tensor) else f"a {type(main).__name__}"
        raise ContractError(
            f"{type(_unwrap(model)).__name__}: expected logits of shape {expected}, came {came}.",
            "Its forward must return logits (B, C, H, W) or SideOutputs; `cxrkit plugins check` tells more.",
        )
    if not isinstance(output, SideOutputs):
        return main[..., :height, :width]
    sides = output.sides
    if images.shape[-2:] != (height, width):
        # A side covers the padding too: bring it to the full size, where the padding can be cut off.
        full = expected[-2:]
        sides = tuple(F.interpolate(side.float(), full, mode="bilinear")[..., :height, :width] for side in sides)
    return SideOutputs(main[..., :height, :width], sides)


def _unwrap(model: nn.Module) -> nn.Module:
    inner = getattr(model, "module", model)
    return inner if isinstance(inner, nn.Module) else model


@torch.no_grad()
def probabilities(model: Model, images: Tensor, batch_size: int) -> Tensor:
    """Probabilities, float32 `(N, C, H, W)` in [0, 1] on the CPU, of a network in evaluation mode."""
    return torch.cat([device_probabilities(model, chunk).cpu() for chunk in images.split(batch_size)])


@torch.no_grad()
def device_probabilities(model: Model, images: Tensor) -> Tensor:
    """Probabilities of a batch of images, float32 `(B, C, H, W)` in [0, 1] on their own device."""
    images = images.contiguous(memory_format=torch.channels_last)
    logits = apply_model(model, images, size_multiple=model.size_multiple, channels=len(model.channels))
    main = logits.main if isinstance(logits, SideOutputs) else logits
    return main.float().sigmoid()


def build_augments(items: Sequence[ComponentConfig], registry: Registry) -> list[Augment]:
    """The augments of a configuration, in its order.

    Raises:
        ConfigError: one that mixes films comes before one that doesn't.
    """
    augments: list[Augment] = [registry.get("augment", item.name).build(**item.params) for item in items]
    pairing, names = [augment.draws > 1 for augment in augments], [item.name for item in items]
    if pairing != sorted(pairing):
        raise ConfigError(
            f"The augments {', '.join(names)} can't run in this order: those that mix films come last.",
            f"Move {names[pairing.index(True)]} to the end.",
        )
    return augments


def augment_batch(augments: Sequence[Augment], batch: Batch, generator: torch.Generator) -> Batch:
    """A drawn batch after all augments, in their order.

    Raises:
        ContractError: one returned something else than a batch of the expected shapes.
    """
    for augment in augments:
        films, before = len(batch) // augment.draws, batch
        batch = augment(batch, generator)
        name = type(augment).__name__
        if not isinstance(batch, Batch):
            raise ContractError(f"{name}: expected a cxrkit.Batch, came a {type(batch).__name__}.", _CHECK)
        for what, new, old in (("images", batch.images, before.images), ("targets", batch.targets, before.targets)):
            expected = (films, *old.shape[1:])
            if tuple(new.shape) != expected:
                raise ContractError(f"{name}: expected {what} of shape {expected}, came {tuple(new.shape)}.", _CHECK)
    return batch


def batch_loss(loss: Loss, output: Tensor | SideOutputs, batch: Batch) -> Tensor:
    """The scalar loss of a batch whose labels, or losses, may be mixed.

    Where losses are mixed with a weight a film, each film's loss is computed by itself, since the losses of
    this toolkit are not sums over films; the batch's is their mean. With one weight for the whole batch,
    two losses of the whole batch are mixed.
    """
    value = _batch_loss(loss, output, batch)
    if not isinstance(value, Tensor) or value.numel() != 1:
        came = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise ContractError(f"{type(loss).__name__}: expected a scalar, came {came}.", _CHECK)
    return value.reshape(())


def _batch_loss(loss: Loss, output: Tensor | SideOutputs, batch: Batch) -> Tensor:
    partner = batch.partner
    if partner is None:
        return loss.total(output, batch.targets, batch.images)
    if partner.whole:
        weight = partner.weight[0]
        own = loss.total(output, batch.targets, batch.images)
        return weight * own + (1 - weight) * loss.total(output, partner.targets, batch.images)
    values: list[Tensor] = []
    for index in range(len(batch)):
        one = slice(index, index + 1)
        part = _part(output, one)
        own = loss.total(part, batch.targets[one], batch.images[one])
        other = loss.total(part, partner.targets[one], batch.images[one])
        values.append(partner.weight[index] * own + (1 - partner.weight[index]) * other)
    return torch.stack(values).mean()


def _part(output: Tensor | SideOutputs, one: slice) -> Tensor | SideOutputs:
    if isinstance(output, Tensor):
        return output[one]
    return SideOutputs(output.main[one], tuple(side[one] for side in output.sides))


class WeightedSum(Loss):
    """The sum of several losses, each times its weight."""

    def __init__(self, terms: Sequence[tuple[float, Loss]]) -> None:
        super().__init__()
        self.weights = tuple(weight for weight, _ in terms)
        self.terms = nn.ModuleList(term for _, term in terms)

    def _losses(self) -> list[Loss]:
        return [term for term in self.terms if isinstance(term, Loss)]

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Σ weight · loss(logits, targets)."""
        values = [weight * term(logits, targets) for weight, term in zip(self.weights, self._losses(), strict=True)]
        return torch.stack(values).sum()

    def total(self, output: Tensor | SideOutputs, targets: Tensor, images: Tensor) -> Tensor:
        """Σ weight · total(...): each term weighs side outputs its own way."""
        pairs = zip(self.weights, self._losses(), strict=True)
        return torch.stack([weight * term.total(output, targets, images) for weight, term in pairs]).sum()

    def own_loss(self, logits: Tensor, targets: Tensor, images: Tensor) -> Tensor | None:
        """The sum over the terms that train something of their own."""
        values = [value for term in self._losses() if (value := term.own_loss(logits, targets, images)) is not None]
        return torch.stack(values).sum() if values else None


def own_parameters(loss: Loss) -> list[dict[str, Any]]:
    """What the loss, or each term of a sum, trains of its own: parameter groups with their learning rates."""
    terms = list(loss.terms) if isinstance(loss, WeightedSum) else [loss]
    groups: list[dict[str, Any]] = []
    for term in terms:
        trained = [parameter for parameter in term.parameters() if parameter.requires_grad]
        if trained and isinstance(term, Loss):
            groups.append({"params": trained, "lr": term.own_learning_rate})
    return groups


def build_loss(terms: Sequence[LossConfig], registry: Registry, channels: Sequence[str]) -> Loss:
    """The loss of a configuration's terms, prepared for these channels: one alone, or their weighted sum."""
    built = [(term.weight, registry.get("loss", term.name).build(**term.params)) for term in terms]
    for _, loss in built:
        loss.prepare(channels)
    if len(built) == 1 and built[0][0] == 1.0:
        only: Loss = built[0][1]
        return only
    return WeightedSum(built)
