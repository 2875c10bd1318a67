"""What cxrkit expects of every augment: batches in, batches out, and no randomness but the generator's."""

from __future__ import annotations

from operator import methodcaller

import torch
from torch import Tensor

from cxrkit.engine.batches import augment_batch
from cxrkit.interfaces import Augment, Batch
from cxrkit.testing.expectations import Check, Subject, describe, disc_targets, expect, random_state

_FILMS = 4


def _batch(augment: Augment, films: int = _FILMS, channels: int = 3, height: int = 48, width: int = 48) -> Batch:
    """The batch that the sampler would draw for `films` films: images in [0, 1] and binary targets.

    Of films as they were taken the second, fourth and so on lie in padding.
    """
    drawn = films * augment.draws
    targets = disc_targets(drawn, channels, height, width)
    images = 0.3 * torch.rand(drawn, 1, height, width) + 0.7 * targets.amax(dim=1, keepdim=True)
    if augment.stage != "film":
        return Batch(images, targets)
    regions = torch.tensor([[0, 0, height, width], [3, 5, height - 7, width - 9]]).repeat(drawn, 1)[:drawn]
    return Batch(images * _inside(regions, height, width), targets, regions=regions)


def _inside(regions: Tensor, height: int, width: int) -> Tensor:
    """Where films lie in their squares: bool `(B, 1, H, W)`."""
    top, left, rows, columns = regions.view(-1, 4, 1, 1, 1).unbind(1)
    row, column = torch.arange(height).view(-1, 1), torch.arange(width)
    return (row >= top) & (row < top + rows) & (column >= left) & (column < left + columns)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _tensors(batch: Batch) -> list[Tensor]:
    partner = [] if batch.partner is None else [batch.partner.targets, batch.partner.weight]
    rest = [part for part in (batch.known, batch.regions) if part is not None]
    return [batch.images, batch.targets, *partner, *rest]


def _same(first: Batch, second: Batch) -> bool:
    pairs = _tensors(first), _tensors(second)
    return len(pairs[0]) == len(pairs[1]) and all(torch.equal(a, b) for a, b in zip(*pairs, strict=True))


def _expect_tensor(value: object, shape: tuple[int, ...], device: str, name: str) -> None:
    right = isinstance(value, Tensor) and value.dtype == torch.float32 and tuple(value.shape) == shape
    expect(
        right and isinstance(value, Tensor) and value.device.type == device,
        f"{name} as Tensor float32 {shape} on {device}",
        describe(value) + (f" on {value.device.type}" if isinstance(value, Tensor) else ""),
        "Keep the shape, type and device; with `draws` > 1 make one film of that many.",
    )


def it_says_how_many_it_draws(subject: Subject) -> None:
    """`draws` is a whole number from 1 on, and 1 for films as they were taken."""
    augment: Augment = subject.build()
    draws, stage = augment.draws, augment.stage
    expect(type(draws) is int and draws >= 1, "draws to be 1 or more", repr(draws), "Set it on the class.")
    expect(stage in ("input", "film"), 'stage to be "input" or "film"', repr(stage), "Set it on the class.")
    expect(stage == "input" or draws == 1, "films as they were taken one by one", f"draws {draws}", "Mix the input.")


def batches_keep_their_form(subject: Subject) -> None:
    """draws * B films become B, with shapes, types and device kept: also one film, one channel, not square."""
    augment: Augment = subject.build()
    for device in ["cpu", "cuda"] if torch.cuda.is_available() and augment.stage == "input" else ["cpu"]:
        for films, channels, height, width in ((_FILMS, 3, 48, 48), (1, 3, 48, 48), (2, 1, 48, 48), (2, 3, 48, 64)):
            given = _batch(augment, films, channels, height, width).map(methodcaller("to", device))
            made = augment(given, _generator(0))
            expect(isinstance(made, Batch), "a Batch", describe(made), "Return `batch.with_(images=..., targets=...)`.")
            _expect_tensor(made.images, (films, 1, height, width), device, "images")
            _expect_tensor(made.targets, (films, channels, height, width), device, "targets")
            if made.partner is not None:
                _expect_tensor(made.partner.targets, (films, channels, height, width), device, "partner targets")
                _expect_tensor(made.partner.weight, (films,), device, "partner weights")


def values_stay_in_range(subject: Subject) -> None:
    """Images stay finite, films as they were taken in [0, 1] and in place; targets and weights stay within [0, 1]."""
    augment: Augment = subject.build()
    for seed in range(5):
        batch = _batch(augment)
        made = augment(batch, _generator(seed))
        if batch.regions is not None:
            kept = made.regions is not None and torch.equal(made.regions, batch.regions)
            expect(kept, "regions as they were", "others", "Return `batch.with_(...)`; leave films in place.")
            inside = bool(((made.images >= 0) & (made.images <= 1)).all())
            expect(inside, "films within [0, 1]", "values beyond", "Clamp them, as a detector does.")
        expect(bool(made.images.isfinite().all()), "finite images", "others", "Look for a division or a power.")
        limited = _tensors(made.with_(known=None, regions=None))[1:]
        for name, value in zip(("targets", "partner targets", "partner weights"), limited, strict=False):
            low, high = float(value.min()), float(value.max())
            expect(
                low >= 0 and high <= 1,
                f"{name} within [0, 1]",
                f"values from {low:.6g} to {high:.6g}",
                "Interpolate masks linearly or by nearest, or clamp them.",
            )


def the_generator_decides_everything(subject: Subject) -> None:
    """One seed gives one result, and the global generators are neither used nor seeded."""
    augment: Augment = subject.build()
    batch = _batch(augment)
    first = augment(batch, _generator(5))
    torch.rand(7)  # an augment that drew from the global generator would now give something else
    state = random_state()
    second = augment(batch, _generator(5))
    expect(
        random_state() == state,
        "the global generators of torch, NumPy and Python left alone",
        "a changed one",
        "Draw with `generator=generator`, and from nothing else.",
    )
    expect(_same(first, second), "the same batch from the same seed", "others", "Draw from the given generator only.")


def draws_differ(subject: Subject) -> None:
    """Successive batches from one generator are changed differently, unless nothing is changed at all."""
    augment: Augment = subject.build()
    batch, generator = _batch(augment), _generator(0)
    made = [augment(batch, generator) for _ in range(8)]
    unchanged = len(batch) == _FILMS and all(_same(one, batch) for one in made)
    expect(
        unchanged or not all(_same(one, made[0]) for one in made[1:]),
        "other draws for every batch",
        "the same change eight times",
        "Draw from the given generator itself: don't seed a new one with its seed.",
    )


def batches_stay_as_they_were(subject: Subject) -> None:
    """The batch that comes in isn't changed in place: the films of a whole training set lie behind it."""
    augment: Augment = subject.build()
    for seed in range(3):
        batch = _batch(augment)
        given = [tensor.clone() for tensor in _tensors(batch)]
        augment(batch, _generator(seed))
        expect(
            all(torch.equal(a, b) for a, b in zip(_tensors(batch), given, strict=True)),
            "a batch left as it was",
            "changed tensors",
            "Make new tensors instead of working in place.",
        )


def unknown_masks_stay_apart(subject: Subject) -> None:
    """Where masks are unknown, `known` still says which: known is what no unknown mask went into, and all of that."""
    augment: Augment = subject.build()
    batch = _batch(augment)
    known = torch.arange(batch.targets[:, :, 0, 0].numel()).view(len(batch), -1) % 5 != 0
    unknown = ~known[:, :, None, None]
    for seed in range(3):
        made = [
            augment_batch([augment], given, _generator(seed))
            for given in (
                batch.with_(known=torch.ones_like(known)),
                batch.with_(known=known, targets=torch.where(unknown, 0.0, batch.targets)),
                batch.with_(known=known, targets=torch.where(unknown, 1.0, batch.targets)),
            )
        ]
        whole, first, second = made
        assert whole.known is not None
        assert first.known is not None
        expect(
            bool(whole.known.all()),
            "all masks known where all that came in are",
            "unknown ones",
            "Mixtures of known masks are known.",
        )
        shared = first.known[:, :, None, None]
        same = torch.equal(first.targets * shared, second.targets * shared)
        if first.partner is not None and second.partner is not None:
            same = same and torch.equal(first.partner.targets * shared, second.partner.targets * shared)
        expect(
            same and torch.equal(first.images, second.images),
            "known masks and images that no unknown mask goes into",
            "ones that change with an unknown mask",
            "Reorder and mix `batch.known` as the targets: a mixture is known where all that goes into it is.",
        )


CHECKS: tuple[Check, ...] = (
    it_says_how_many_it_draws,
    batches_keep_their_form,
    values_stay_in_range,
    the_generator_decides_everything,
    draws_differ,
    batches_stay_as_they_were,
    unknown_masks_stay_apart,
)
