"""Which films each step sees, and the seed of everything random in it.

Nothing here has a state: the films and seeds of step k follow from the run's seed and k alone. A run that
was killed and resumed therefore sees what it would have seen, and needs no saved generator.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch

from cxrkit.errors import DataError


def derive_seed(seed: int, purpose: str, *numbers: int) -> int:
    """A seed in [0, 2^63) that is independent for each purpose and each sequence of numbers."""
    text = "/".join([str(seed), purpose, *map(str, numbers)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, purpose: str, *numbers: int) -> torch.Generator:
    """A CPU generator with that derived seed."""
    return torch.Generator().manual_seed(derive_seed(seed, purpose, *numbers))


@dataclass(frozen=True)
class Sampler:
    """Disjoint batches of a fresh permutation of the films each epoch; what doesn't fill a batch is left out.

    Where mixing needs more films a step than there are, a step begins the permutation again from its start: a film
    then takes part in several mixtures, but never in one with itself.

    Where films have different weights, each step draws different films of all, the more often the larger their weight;
    films that lie together, such as those of a dataset, have their share of every step, rounded up or down.

    Attributes:
        films: how many there are to train on.
        batch_size: films that the network sees a step, over all processes.
        draws: films drawn for each of those (2 with mixup, so that a permutation gives disjoint pairs and
            ⌊films / 2·batch_size⌋ steps an epoch, as in the paper).
        seed: of the permutations.
        world_size: processes that share a batch.
        weights: how often each film is drawn, compared with the others; none: all are drawn equally.

    Raises:
        DataError: there are too few films for a batch, or for a partner, a batch can't be divided evenly, or a film
            would have to be drawn more than once in a step.
    """

    films: int
    batch_size: int
    draws: int
    seed: int
    world_size: int = 1
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.batch_size % self.world_size:
            raise DataError(
                f"A batch of {self.batch_size} can't be shared evenly by {self.world_size} devices.",
                f"Choose a --batch-size that {self.world_size} divides.",
            )
        if not _enough(self.films, self.batch_size, self.draws):
            mixed = " that are mixed with others" if self.draws > 1 else ""
            largest = next((n for n in range(self.films, 0, -1) if _enough(self.films, n, self.draws)), 0)
            remedy = f"Use --batch-size {largest} or less, or more training films." if largest else "Use more films."
            raise DataError(
                f"{self.films} training film{'s are' if self.films > 1 else ' is'} too few for batches of "
                f"{self.batch_size}{mixed}.",
                remedy,
            )
        if self._uneven and float(self._chances.max()) > 1:
            raise DataError(
                f"With these weights the films of a dataset would be drawn {float(self._chances.max()):.1f} times in "
                f"each step of {self.draws * self.batch_size} films.",
                "Lower its data.weight or --batch-size.",
            )

    @property
    def _uneven(self) -> bool:
        return len(set(self.weights)) > 1

    @cached_property
    def _chances(self) -> torch.Tensor:
        """How often a step draws each film on average, float64 `(films,)`."""
        weights = torch.tensor(self.weights, dtype=torch.float64)
        return self.draws * self.batch_size * weights / weights.sum()

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in one pass over the films, at least one."""
        return max(1, self.films // (self.draws * self.batch_size))

    def indices(self, step: int, rank: int = 0) -> torch.Tensor:
        """Indices, int64 `(draws · batch_size / world_size,)`, of the films of one step for one process.

        The first half of them pairs with the second half, and so on for more draws.
        """
        drawn = self.draws * self.batch_size
        if self._uneven:
            batch = self._weighted(drawn, generator(self.seed, "weighted", step))
        else:
            epoch, within = divmod(step, self.steps_per_epoch)
            permutation = _permutation(self.films, self.seed, epoch)
            batch = permutation[torch.arange(within * drawn, (within + 1) * drawn) % self.films]
        return batch.view(self.draws, self.world_size, -1)[:, rank].reshape(-1)

    @cached_property
    def _alike(self) -> list[torch.Tensor]:
        """The films of each weight."""
        weights = torch.tensor(self.weights, dtype=torch.float64)
        return [(weights == weight).nonzero().flatten() for weight in weights.unique()]

    def _weighted(self, drawn: int, random: torch.Generator) -> torch.Tensor:
        """Different films by their chances: systematic sampling, in which films of one weight change places first."""
        order = torch.arange(self.films)
        for alike in self._alike:
            order[alike] = alike[torch.randperm(len(alike), generator=random)]
        ends = self._chances[order].cumsum(0)
        points = torch.rand((), generator=random, dtype=torch.float64) + torch.arange(drawn, dtype=torch.float64)
        places = torch.searchsorted(ends, points, right=True).clamp(max=self.films - 1)
        return order[places][torch.randperm(drawn, generator=random)]


@lru_cache(maxsize=2)  # each step of an epoch asks for it
def _permutation(films: int, seed: int, epoch: int) -> torch.Tensor:
    return torch.randperm(films, generator=generator(seed, "permutation", epoch))


def _enough(films: int, batch_size: int, draws: int) -> bool:
    """Whether a batch has no film twice, and none is mixed with itself."""
    return films >= batch_size and all(k * batch_size % films for k in range(1, draws))
