"""What cxrkit expects of every loss: a finite scalar with a finite slope, whatever the masks."""

from __future__ import annotations

from unittest import SkipTest

import torch
from torch import Tensor

from cxrkit.engine.objective import batch_loss, takes_unknown
from cxrkit.engine.own_training import own_loss
from cxrkit.interfaces import BACKGROUND, Batch, Loss, SideOutputs
from cxrkit.testing.expectations import Check, Subject, describe, disc_targets, expect

_SIDE = 64


def _situations() -> dict[str, tuple[Tensor, Tensor]]:
    """Logits and targets `(2, 4, 64, 64)` that occur in training sooner or later, by name."""
    targets = disc_targets(2, 4, _SIDE, _SIDE)
    soft = (targets + disc_targets(4, 4, _SIDE, _SIDE)[2:]) / 2
    noise = torch.randn_like(targets)
    certain = 200 * targets - 100
    return {
        "random logits": (noise, targets),
        "targets that are soft, as after mixup": (noise, soft),
        "empty masks": (noise, torch.zeros_like(targets)),
        "masks that fill the film": (noise, torch.ones_like(targets)),
        "a perfect and certain prediction": (certain, targets),
        "a wrong and certain prediction": (-certain, targets),
        "a perfect prediction of empty masks": (torch.full_like(targets, -100), torch.zeros_like(targets)),
        "logits that are all zero": (torch.zeros_like(targets), targets),
    }


def _build(subject: Subject, channels: int = 4) -> Loss:
    loss: Loss = subject.build()
    loss.prepare(("left_lung", "right_lung", "heart", BACKGROUND)[:channels])
    return loss


def _expect_scalar(value: object, situation: str) -> None:
    right = isinstance(value, Tensor) and value.shape == () and value.dtype == torch.float32
    expect(
        right,
        f"a scalar, Tensor float32 (), for {situation}",
        describe(value),
        "Average or sum over films and channels.",
    )
    if isinstance(value, Tensor):
        expect(
            bool(value.isfinite()), f"a finite loss for {situation}", f"{value.item()}", "Add a small constant to sums."
        )


def values_are_finite_scalars(subject: Subject) -> None:
    """One float32 number, also for empty masks and for predictions that are certain."""
    loss = _build(subject)
    for situation, (logits, targets) in _situations().items():
        _expect_scalar(loss(logits, targets), situation)


def gradients_are_finite(subject: Subject) -> None:
    """The slope at the logits is finite in every situation, also at a perfect prediction."""
    loss = _build(subject)
    for situation, (logits, targets) in _situations().items():
        logits = logits.requires_grad_(True)
        value = loss(logits, targets)
        expect(
            value.requires_grad,
            f"a loss with a gradient for {situation}",
            "one that is cut off from the logits",
            "Leave out `detach`, `item`, rounding and thresholds.",
        )
        (gradient,) = torch.autograd.grad(value, logits, allow_unused=True)
        expect(gradient is not None, f"a gradient for {situation}", "none", "Let the loss depend on the logits.")
        count = int((~gradient.isfinite()).sum())
        expect(
            count == 0,
            f"finite gradients for {situation}",
            f"{count} that are not",
            "A root or a logarithm has an infinite slope at 0: clamp what goes in, or use `logsigmoid`.",
        )


def better_predictions_do_not_cost_more(subject: Subject) -> None:
    """The masks themselves as prediction cost less than their opposite."""
    loss = _build(subject).eval()
    if loss.adversarial:
        raise SkipTest("is adversarial: it doesn't compare masks")
    targets = disc_targets(2, 4, _SIDE, _SIDE)
    logits = 20 * targets - 10
    with torch.no_grad():
        right, wrong = float(loss(logits, targets)), float(loss(-logits, targets))
    expect(
        right < wrong,
        "a lower loss of the right prediction than of its opposite",
        f"{right:.4g} for the right one, {wrong:.4g} for its opposite",
        "A loss is minimised: use one minus an overlap. Its arguments are (logits, targets).",
    )


def the_order_of_films_does_not_matter(subject: Subject) -> None:
    """Reordering a batch leaves the loss as it is."""
    loss = _build(subject).eval()
    logits, targets = torch.randn(3, 4, _SIDE, _SIDE), disc_targets(3, 4, _SIDE, _SIDE)
    with torch.no_grad():
        first, second = float(loss(logits, targets)), float(loss(logits[[2, 0, 1]], targets[[2, 0, 1]]))
    expect(
        abs(first - second) <= 1e-4 * (1 + abs(first)),
        "the same loss for the same films in another order",
        f"{first:.6g} and {second:.6g}",
        "Treat all films of a batch alike.",
    )


def it_takes_any_shape(subject: Subject) -> None:
    """One film, one channel and films that aren't square are taken."""
    for films, channels, height, width in ((1, 4, 64, 64), (2, 1, 64, 64), (2, 3, 64, 96)):
        loss = _build(subject, channels)
        targets = disc_targets(films, channels, height, width)
        _expect_scalar(loss(torch.randn_like(targets), targets), f"shape {tuple(targets.shape)}")


def logits_and_targets_stay_as_they_were(subject: Subject) -> None:
    """Neither argument is changed in place."""
    loss = _build(subject)
    logits, targets = _situations()["targets that are soft, as after mixup"]
    given = logits.clone(), targets.clone()
    loss(logits, targets)
    expect(
        torch.equal(logits, given[0]) and torch.equal(targets, given[1]),
        "arguments left as they were",
        "changed ones",
        "Don't use functions that end in an underscore on the arguments.",
    )


def whole_outputs_have_a_total(subject: Subject) -> None:
    """`total` takes logits and side outputs, with the images, and has a gradient."""
    loss = _build(subject)
    targets = disc_targets(2, 4, _SIDE, _SIDE)
    images = torch.randn(2, 1, _SIDE, _SIDE)
    main = torch.randn(2, 4, _SIDE, _SIDE, requires_grad=True)
    sides = tuple(torch.randn(2, 4, side, side, requires_grad=True) for side in (_SIDE // 2, _SIDE // 4))
    for output, name in ((main, "logits"), (SideOutputs(main, sides), "side outputs")):
        value = loss.total(output, targets, images)
        _expect_scalar(value, f"the total of {name}")
        (gradient,) = torch.autograd.grad(value, main, allow_unused=True)
        expect(
            gradient is not None and bool(gradient.isfinite().all()),
            f"a finite gradient of the total of {name}",
            "none, or one that isn't finite",
            "Let `total` depend on the main logits.",
        )


def its_own_loss_trains_its_own_parameters(subject: Subject) -> None:
    """`own_loss` is None if there is nothing to train; otherwise a finite scalar that reaches its parameters."""
    loss = _build(subject).train()
    targets, images = disc_targets(2, 4, _SIDE, _SIDE), torch.randn(2, 1, _SIDE, _SIDE)
    logits = torch.randn_like(targets)
    own = loss.own_loss(logits, targets, images)
    names = [name for name, parameter in loss.named_parameters() if parameter.requires_grad]
    if own is None:
        expect(
            not names,
            "an `own_loss` for the loss's own parameters",
            f"None, with {', '.join(names[:5])} to train",
            "Implement `own_loss`, or keep fixed tensors as buffers.",
        )
        return
    _expect_scalar(own, "the loss's own training")
    rate = loss.own_learning_rate
    expect(rate > 0, "a positive `own_learning_rate`", repr(rate), "Set it on the class.")
    own.backward()
    without = [name for name, p in loss.named_parameters() if p.requires_grad and p.grad is None]
    expect(
        bool(names) and not without,
        "a gradient of `own_loss` for each of the loss's parameters",
        f"none for {', '.join(without[:5]) or 'anything'}",
        "Compute it from all submodules, or freeze those that it doesn't need.",
    )


def unknown_masks_are_left_out(subject: Subject) -> None:
    """By the `reduction` that it states, leaving masks out gives the value and slope of the other masks alone."""
    loss = _build(subject).eval()
    if not takes_unknown(loss):
        raise SkipTest("has no `reduction`, or parameters of its own: it is refused on films that lack masks")
    if loss.adversarial:
        _unknown_masks_are_empty(loss)
        return
    logits = torch.randn(3, 4, _SIDE, _SIDE, requires_grad=True)
    targets, images = disc_targets(3, 4, _SIDE, _SIDE), torch.randn(3, 1, _SIDE, _SIDE)
    known = torch.tensor([True, False, True])[:, None] & torch.tensor([True, False, True, True])
    left_out = batch_loss(loss, logits, Batch(images, targets, known=known))
    alone = loss.total(logits[::2][:, [0, 2, 3]], targets[::2][:, [0, 2, 3]], images[::2])
    slope, slope_alone = (torch.autograd.grad(value, logits)[0] for value in (left_out, alone))
    expect(
        torch.allclose(left_out, alone, rtol=1e-4) and torch.allclose(slope, slope_alone, rtol=1e-3, atol=1e-8),
        f"with reduction = {loss.reduction!r}, the value and slope of the known masks alone",
        f"{left_out.item():.6g} for {alone.item():.6g}, or another slope",
        "Sum over channels: 'per-class'; mean over them: 'per-class-mean'; all masks alike: 'pooled'; else None.",
    )


def _unknown_masks_are_empty(loss: Loss) -> None:
    logits = torch.randn(3, 4, _SIDE, _SIDE, requires_grad=True)
    known = torch.tensor([True, False, True])[:, None] & torch.tensor([True, False, True, True])
    batch = Batch(torch.randn(3, 1, _SIDE, _SIDE), disc_targets(3, 4, _SIDE, _SIDE), known=known)
    value, own = batch_loss(loss, logits, batch), own_loss(loss, logits.detach(), batch)
    (slope,) = torch.autograd.grad(value, logits)
    finite = [bool(part.isfinite().all()) for part in (value, slope, own) if part is not None]
    expect(
        all(finite) and not slope[~known].any(),
        "finite values where unknown masks are shown as empty (logits of -100), and no slope at them",
        "others",
        "Compute probabilities by `sigmoid`, and logarithms by `logsigmoid` or `softplus`.",
    )


CHECKS: tuple[Check, ...] = (
    values_are_finite_scalars,
    gradients_are_finite,
    better_predictions_do_not_cost_more,
    the_order_of_films_does_not_matter,
    it_takes_any_shape,
    logits_and_targets_stay_as_they_were,
    whole_outputs_have_a_total,
    its_own_loss_trains_its_own_parameters,
    unknown_masks_are_left_out,
)
