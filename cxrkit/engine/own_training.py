"""What losses train of their own, such as a critic: beside the network, after each of its updates."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from cxrkit.config import LossConfig
from cxrkit.engine.objective import shown, terms_of
from cxrkit.engine.observer import Observer
from cxrkit.errors import ConfigError
from cxrkit.interfaces import Batch, Loss
from cxrkit.readings import Reading, TrainingReading

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from cxrkit.engine.films import Films


class OwnTraining:
    """The parameters of a run's losses, their optimizer, and what is reported of them.

    Attributes:
        names: of the losses that train something.
        optimizer: None if none does.
    """

    def __init__(self, loss: Loss, configs: Sequence[LossConfig], fabric: Fabric, observer: Observer) -> None:
        self.fabric, self.observer = fabric, observer
        self.terms = dict(zip((config.name for config in configs), terms_of(loss), strict=True))
        groups = {name: _group(term) for name, term in self.terms.items()}
        self.names = [name for name, group in groups.items() if group["params"]]
        self.optimizer = torch.optim.Adam([groups[name] for name in self.names]) if self.names else None
        self._logged: list[TrainingReading] = []

    def remember(self, readings: Iterable[Reading]) -> None:
        """Readings that were made before a run continues."""
        self._logged.extend(one for one in readings if isinstance(one, TrainingReading))

    def begin(self, step: int) -> None:
        """Before each update of the network."""
        for term in self.terms.values():
            term.updates_made = step

    def update(self, logits: Tensor, batch: Batch) -> None:
        """One update of the losses' own parameters, after the network's; its logits are detached."""
        if self.optimizer is None:
            return
        self.optimizer.zero_grad(set_to_none=True)
        for term in (self.terms[name] for name in self.names if self.terms[name].learns_now()):
            value = own_loss(term, logits, batch)
            if value is not None:
                value.backward()
            if self.fabric.world_size > 1:
                self._share(term, logits.new_tensor(float(value is not None)))
        self.optimizer.step()

    def _share(self, term: Loss, learned: Tensor) -> None:
        """Give all processes the mean of a loss's gradients and buffers, also one that had no films for it."""
        if not torch.as_tensor(self.fabric.all_reduce(learned, reduce_op="sum")):
            return  # without gradients, the optimiser leaves the parameters where they are, as in a single process
        for parameter in _trained(term):
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            parameter.grad = torch.as_tensor(self.fabric.all_reduce(gradient, reduce_op="mean"))
        for buffer in (buffer for buffer in term.buffers() if buffer.is_floating_point()):
            buffer.copy_(torch.as_tensor(self.fabric.all_reduce(buffer.clone(), reduce_op="mean")))

    def read(self, reading: TrainingReading) -> TrainingReading:
        """A reading with what losses report of their own training, of all processes together, and their remarks."""
        named = {name: value for term in self.terms.values() for name, value in term.own_readings().items()}
        if not named:
            return reading
        values = torch.stack([value.detach().float() for value in named.values()])
        if self.fabric.world_size > 1:
            values = torch.as_tensor(self.fabric.all_gather(values)).nanmean(0)
        own = {name: value for name, value in zip(named, values.tolist(), strict=True) if math.isfinite(value)}
        before = self._logged[-1].remark if self._logged else ""
        reading = replace(reading, own=own)
        remarks = (term.remark((*self._logged, reading)) for term in self.terms.values())
        reading = replace(reading, remark=" ".join(filter(None, remarks)))
        self._logged.append(reading)
        if reading.remark not in ("", before):
            self.observer.say(reading.remark)
        return reading

    def steadier(self) -> str:
        """What makes a training with adversarial losses less likely to diverge, followed by a space; or ""."""
        judges = [f"{term.term_weight:g}*{name}" for name, term in self.terms.items() if term.adversarial]
        return f"Use a smaller weight than in {' and '.join(judges)}. " if judges else ""


def check_adversaries(loss: Loss, configs: Sequence[LossConfig], films: Films, *, pseudo_labels: bool) -> None:
    """Make sure that adversarial losses learn from drawn masks.

    Raises:
        ConfigError: there are too few training films with masks, or a network draws some of the masks.
    """
    drawn = sum(bool(film.known(films.store.structures)) for film in films.training)
    for name in (config.name for config, term in zip(configs, terms_of(loss), strict=True) if term.adversarial):
        if drawn < 2:
            raise ConfigError(
                f"loss '{name}': it has the masks of a single training film, which it would learn by heart.",
                f"Use a --train-size of at least 2, or leave out {name}.",
            )
        if pseudo_labels:
            raise ConfigError(
                f"loss '{name}': with --unlabelled, it would learn from masks that the network itself has drawn.",
                f"Leave out --unlabelled, or {name}.",
            )


def own_loss(loss: Loss, logits: Tensor, batch: Batch) -> Tensor | None:
    """What a loss's own parameters minimise on a batch, whose losses may be mixed and whose masks may be unknown.

    None where no mask is known, or the loss has no such parameters.
    """
    partner = batch.partner
    if partner is not None:
        share = partner.weight.view(-1, 1, 1, 1)
        batch = batch.with_(targets=share * batch.targets + (1 - share) * partner.targets)
    judged = shown(logits, batch)
    if judged is None:
        return None
    output, targets, images = judged
    assert isinstance(output, Tensor)
    return loss.own_loss(output, targets, images)


def _group(term: Loss) -> dict[str, Any]:
    return {"params": list(_trained(term)), "lr": term.own_learning_rate}


def _trained(term: Loss) -> Iterator[nn.Parameter]:
    return (parameter for parameter in term.parameters() if parameter.requires_grad)
