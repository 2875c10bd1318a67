"""What training minimises: the loss of a batch whose labels may be mixed and whose masks may be unknown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter

import torch
from torch import Tensor, nn

from cxrkit.config import LossConfig
from cxrkit.engine.hardware import to_device
from cxrkit.errors import ConfigError, ContractError
from cxrkit.interfaces import Batch, Loss, SideOutputs
from cxrkit.registry import Registry

#: A logit whose probability is 0.
CERTAINLY_EMPTY = -100.0


def batch_loss(loss: Loss, output: Tensor | SideOutputs, batch: Batch) -> Tensor:
    """The scalar loss of a batch whose labels, or losses, may be mixed.

    Where losses are mixed with a weight a film, each film's loss is computed by itself, since the losses of
    this toolkit are not sums over films; the batch's is their mean. With one weight for the whole batch,
    two losses of the whole batch are mixed.

    Masks that `batch.known` says are unknown never reach the loss: it is given the others, and its value and
    gradients are theirs. Where nothing is known the loss is zero.

    Raises:
        ContractError: the loss returns something else than a scalar.
        ConfigError: a loss that doesn't say how to leave masks out meets a batch with `known`, or weights of side
            outputs a network that has none.
    """
    if loss.wants_sides and isinstance(output, Tensor):
        raise without_side_outputs("the network")
    value = _mixed_loss(loss, output, batch)
    if not isinstance(value, Tensor) or value.numel() != 1:
        got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise ContractError(
            f"{type(loss).__name__}: expected a scalar, got {got}.", "Fix the loss; `cxrkit plugins check` says more."
        )
    return value.reshape(())


def without_side_outputs(network: str) -> ConfigError:
    """What is said of a weight of side outputs that there aren't."""
    return ConfigError(
        f"loss.side_weight is set, but {network} has no side outputs.",
        "Leave it out, or switch side outputs on, if the network has such an option: cxrkit show model NAME.",
    )


def _mixed_loss(loss: Loss, output: Tensor | SideOutputs, batch: Batch) -> Tensor:
    partner = batch.partner
    if partner is None or loss.adversarial:  # which doesn't look at targets
        return _known_loss(loss, output, batch)
    if isinstance(loss, WeightedSum) and any(term.adversarial for term in loss.losses()):
        return loss.sum_of(lambda term: _mixed_loss(term, output, batch))
    if partner.whole:
        weight = partner.weight[0]
        own = _known_loss(loss, output, batch)
        return weight * own + (1 - weight) * _known_loss(loss, output, batch.with_(targets=partner.targets))
    values: list[Tensor] = []
    for index in range(len(batch)):
        one = slice(index, index + 1)
        film, part = batch.pick(one), _of_each(output, itemgetter(one))
        if film.known is None or film.known.any():
            own = _known_loss(loss, part, film)
            other = _known_loss(loss, part, film.with_(targets=partner.targets[one]))
            values.append(partner.weight[index] * own + (1 - partner.weight[index]) * other)
    return torch.stack(values).mean() if values else _zero(output)


def _known_loss(loss: Loss, output: Tensor | SideOutputs, batch: Batch) -> Tensor:
    """The loss of the known masks, handed to it as films of one channel: all at once, or those of each channel."""
    if batch.known is None:
        return loss.total(output, batch.targets, batch.images)
    if isinstance(loss, WeightedSum):
        return loss.sum_of(lambda term: _known_loss(term, output, batch))
    if loss.adversarial:
        judged = shown(output, batch)
        return _zero(output) if judged is None else loss.total(*judged)
    if not takes_unknown(loss):
        raise _cannot_leave_out(type(loss).__name__)
    if batch.known.all():
        return loss.total(output, batch.targets, batch.images)

    def loss_of(*places: Tensor) -> Tensor:
        films, channels = (to_device(part, batch.images.device) for part in places)

        def masks(planes: Tensor) -> Tensor:
            return planes[films, channels].unsqueeze(1)

        return loss.total(_of_each(output, masks), masks(batch.targets), batch.images[films])

    films, channels = batch.known.nonzero(as_tuple=True)
    if len(films) == 0:
        return _zero(output)
    together = [slice(None)] if loss.reduction == "pooled" else [channels == one for one in channels.unique()]
    values = torch.stack([loss_of(films[chosen], channels[chosen]) for chosen in together])
    return values.mean() if loss.reduction == "per-class-mean" else values.sum()


def _cannot_leave_out(loss: str) -> ConfigError:
    return ConfigError(
        f"{loss}: this loss can't be used on films of which some lack masks.",
        "Choose another loss, or --structures that every film has masks of. Its author can make it usable: "
        "see `reduction` of `cxrkit.Loss`.",
    )


def takes_unknown(loss: Loss) -> bool:
    """Whether a loss can be given films of which some masks are unknown."""
    stated = loss.reduction in ("per-class", "per-class-mean", "pooled")
    return loss.adversarial or (stated and not any(parameter.requires_grad for parameter in loss.parameters()))


def shown(output: Tensor | SideOutputs, batch: Batch) -> tuple[Tensor | SideOutputs, Tensor, Tensor] | None:
    """What an adversarial loss sees of a batch: films with known masks, the others empty; None if there are none."""
    if batch.known is None:
        return output, batch.targets, batch.images
    films = to_device(batch.known.any(1).nonzero().flatten(), batch.images.device)
    if len(films) == 0:
        return None
    known = to_device(batch.known, batch.images.device)[films, :, None, None]
    emptied = _of_each(output, lambda logits: torch.where(known, logits[films], CERTAINLY_EMPTY))
    return emptied, torch.where(known, batch.targets[films], 0), batch.images[films]


def _of_each(output: Tensor | SideOutputs, select: Callable[[Tensor], Tensor]) -> Tensor | SideOutputs:
    if isinstance(output, Tensor):
        return select(output)
    return SideOutputs(select(output.main), tuple(select(side) for side in output.sides))


def _zero(output: Tensor | SideOutputs) -> Tensor:
    """Zero with a gradient of zero: every process of a training takes the same way back through its network."""
    logits = (output,) if isinstance(output, Tensor) else (output.main, *output.sides)
    return torch.stack([part[:0].sum() for part in logits]).sum()


class WeightedSum(Loss):
    """The sum of several losses, each times its weight."""

    def __init__(self, terms: Sequence[tuple[float, Loss]]) -> None:
        super().__init__()
        self.weights = tuple(weight for weight, _ in terms)
        self.terms = nn.ModuleList(term for _, term in terms)
        self.capturable = all(term.capturable for _, term in terms)

    def losses(self) -> list[Loss]:
        """The terms without their weights."""
        return [term for term in self.terms if isinstance(term, Loss)]

    def sum_of(self, value: Callable[[Loss], Tensor]) -> Tensor:
        """Σ weight · value(term)."""
        return torch.stack([w * value(term) for w, term in zip(self.weights, self.losses(), strict=True)]).sum()

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Σ weight · loss(logits, targets)."""
        return self.sum_of(lambda term: term(logits, targets))

    def total(self, output: Tensor | SideOutputs, targets: Tensor, images: Tensor) -> Tensor:
        """Σ weight · total(...): each term weighs side outputs its own way."""
        return self.sum_of(lambda term: term.total(output, targets, images))


def terms_of(loss: Loss) -> list[Loss]:
    """The terms of a sum, or the loss itself."""
    return loss.losses() if isinstance(loss, WeightedSum) else [loss]


def build_loss(
    terms: Sequence[LossConfig], registry: Registry, channels: Sequence[str], *, unknown: bool = False
) -> Loss:
    """The loss of a configuration's terms, prepared for these channels: one alone, or their weighted sum.

    Raises:
        ConfigError: none of them compares a film's masks with those that were drawn of it; one weighs side outputs
            that it doesn't judge; or masks are `unknown`, and one can't leave them out.
    """
    built = [(term.weight, registry.get("loss", term.name).build(**term.params)) for term in terms]
    for term, (_, loss) in zip(terms, built, strict=True):
        if term.side_weight is not None:
            if loss.adversarial:
                raise ConfigError(
                    f"loss.{term.name}.side_weight is set, but {term.name} doesn't judge side outputs.", "Leave it out."
                )
            loss.side_weight = term.side_weight
        loss.term_weight = term.weight
        loss.prepare(channels)
        if unknown and not takes_unknown(loss):
            raise _cannot_leave_out(f"--loss {term.name}")
    if all(loss.adversarial for _, loss in built):
        names = " + ".join(term.name for term in terms)
        raise ConfigError(
            f"--loss {names}: judges masks, but doesn't compare them with those that were drawn of the film.",
            f"Use it beside a loss that does: --loss 'focal-tversky + 0.01*{terms[0].name}'.",
        )
    whole: Loss = built[0][1] if len(built) == 1 and built[0][0] == 1.0 else WeightedSum(built)
    whole.wants_sides = any(term.side_weight is not None for term in terms)
    return whole


@torch.no_grad()
def soft_dice(logits: Tensor, batch: Batch) -> Tensor:
    """The paper's DSC (§2.3) of a batch while it trains, all channels that are known flattened together, in [0, 1]."""
    p, targets = logits.sigmoid(), batch.targets
    if batch.known is not None:
        known = to_device(batch.known, logits.device)[:, :, None, None]
        p, targets = torch.where(known, p, 0), torch.where(known, targets, 0)
    return (2 * (p * targets).sum() + 0.1) / (p.sum() + targets.sum() + 0.1)
