"""The augment suite passes sound augments and finds each fault."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from cxrkit.interfaces import Augment, Batch, Partner

Judge = Callable[..., dict[str, str]]


def uniform(films: int, generator: torch.Generator) -> Tensor:
    return torch.rand(films, 1, 1, 1, generator=generator)


class Brightness(Augment):
    """Adds a number to each film."""

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        return batch.with_(images=batch.images + uniform(len(batch), generator).to(batch.images.device))


class Pairs(Augment):
    """Mixes pairs of films and the losses of their masks."""

    draws = 2

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        half = len(batch) // 2
        share = uniform(half, generator).to(batch.images.device)
        images = share * batch.images[:half] + (1 - share) * batch.images[half:]
        known = None if batch.known is None else batch.known[:half] & batch.known[half:]
        return Batch(images, batch.targets[:half], Partner(batch.targets[half:], share.flatten()), known)


class Nothing(Augment):
    """Changes nothing."""

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        return batch


class Darker(Augment):
    """Darkens films as they were taken, where they lie."""

    stage = "film"

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        return batch.with_(images=batch.images * uniform(len(batch), generator))


@pytest.mark.parametrize("augment", [Brightness, Pairs, Nothing, Darker])
def test_sound_augments_pass(failures: Judge, augment: type[Augment]) -> None:
    assert failures("augment", augment) == {}


class NoDraws(Brightness):
    """Draws no film."""

    draws = 0


class Keeps(Brightness):
    """Says two draws and keeps both."""

    draws = 2


class Doubles(Brightness):
    """Goes to float64."""

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        made = super().__call__(batch, generator)
        return made.with_(images=made.images.double())


class Tuples(Brightness):
    """Returns a tuple."""

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        return (batch.images, batch.targets)  # type: ignore[return-value]


class Overshoots(Brightness):
    """Sharpens masks beyond 1."""

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        return super().__call__(batch, generator).with_(targets=1.5 * batch.targets - 0.1)


class HeavyPartner(Pairs):
    """Weighs partners beyond 1."""

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        made = super().__call__(batch, generator)
        assert made.partner is not None
        return made.with_(partner=Partner(made.partner.targets, made.partner.weight + 1))


class GlobalTorch(Augment):
    """Draws from torch's global generator."""

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        return batch.with_(images=batch.images + torch.rand(1))


class GlobalNumpy(Augment):
    """Draws from NumPy's global generator."""

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        return batch.with_(images=batch.images + float(np.random.rand()))


class GlobalPython(Augment):
    """Draws from Python's global generator."""

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        return batch.with_(images=batch.images + random.random())


class Seeds(Augment):
    """Seeds a generator of its own with the given one's seed, which never changes."""

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        own = torch.Generator().manual_seed(generator.initial_seed())
        return batch.with_(images=batch.images + uniform(len(batch), own))


class InPlace(Augment):
    """Works on the films themselves."""

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        batch.images.add_(uniform(len(batch), generator))
        return batch


class Forgets(Brightness):
    """Makes a batch of its own."""

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        return Batch(super().__call__(batch, generator).images, batch.targets)


class MixesWithin(Augment):
    """Mixes each film with its neighbour and leaves `known` as it was."""

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        share = uniform(len(batch), generator)
        images, targets = (share * part + (1 - share) * part.roll(1, 0) for part in (batch.images, batch.targets))
        return batch.with_(images=images, targets=targets)


class KnowsFirst(Pairs):
    """Takes the first film's masks for those of the mixture."""

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        known = None if batch.known is None else batch.known[: len(batch) // 2]
        return super().__call__(batch, generator).with_(known=known)


class KnowsNothing(Brightness):
    """Gives masks up."""

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        made = super().__call__(batch, generator)
        return made.with_(known=None if made.known is None else made.known & False)


class Elsewhere(Darker):
    """Says nothing of where films lie."""

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        return super().__call__(batch, generator).with_(regions=None)


class Glaring(Darker):
    """Leaves the range."""

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        return batch.with_(images=batch.images + uniform(len(batch), generator))


class PairsOfFilms(Pairs):
    """Mixes films as they were taken."""

    stage = "film"


class Somewhen(Brightness):
    """Acts at no stage."""

    stage = "output"  # type: ignore[assignment]


APART = "unknown masks stay apart"

FAULTS: list[tuple[type[Augment], str, str]] = [
    (NoDraws, "it says how many it draws", "draws to be 1 or more"),
    (Keeps, "batches keep their form", "(4, 1, 48, 48)"),
    (Doubles, "batches keep their form", "float64"),
    (Tuples, "batches keep their form", "a tuple"),
    (Overshoots, "values stay in range", "targets within [0, 1]"),
    (HeavyPartner, "values stay in range", "partner weights within [0, 1]"),
    (GlobalTorch, "the generator decides everything", "generator=generator"),
    (GlobalNumpy, "the generator decides everything", "NumPy"),
    (GlobalPython, "the generator decides everything", "Python"),
    (Seeds, "draws differ", "the same change eight times"),
    (InPlace, "batches stay as they were", "in place"),
    (Elsewhere, "values stay in range", "regions as they were"),
    (Glaring, "values stay in range", "films within [0, 1]"),
    (PairsOfFilms, "it says how many it draws", "one by one"),
    (Somewhen, "it says how many it draws", '"input" or "film"'),
    (Forgets, APART, "batch.with_"),
    (MixesWithin, APART, "change with an unknown mask"),
    (KnowsFirst, APART, "change with an unknown mask"),
    (KnowsNothing, APART, "all masks known where all that came in are"),
]


@pytest.mark.parametrize(("augment", "check", "words"), FAULTS, ids=[fault[0].__name__ for fault in FAULTS])
def test_each_fault_is_found(failures: Judge, augment: type[Augment], check: str, words: str) -> None:
    found = failures("augment", augment)
    assert check in found
    assert words in found[check]
