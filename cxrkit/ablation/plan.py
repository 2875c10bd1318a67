"""What an ablation compares: factors and their levels, the arms they span, and the runs of each arm's seeds.

A plan is the content of `ablation.yaml`:

    name: table-1
    base: {...}                 # settings of every run, as a run's YAML has them
    factors:
      mixup: [0, 0.2]           # a shorthand (model, loss, mixup, augment, train_size, ...) or a dotted setting
      train_size: [10, 20, all]
      normalisation:            # a factor with named levels, each of which sets several things
        momentum 0.99: {model.norm_momentum: 0.01}
        group: {model.norm: group}
    exclude:
      - {mixup: 0.2, train_size: all}
    seeds: 3                    # or a list; a seed is that of the split, the weights and all randomness

Every arm runs once with each seed. The seed alone decides the split and the first weights, so that arms are paired:
with one seed they train and are judged on the same films.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cxrkit.config import RunConfig


@dataclass(frozen=True)
class Level:
    """One value of a factor.

    Attributes:
        label: what tables call it.
        overrides: dotted settings to values.
    """

    label: str
    overrides: Mapping[str, Any]


@dataclass(frozen=True)
class Factor:
    """What is varied, and its levels in the order of the tables."""

    name: str
    levels: tuple[Level, ...]


@dataclass(frozen=True)
class Arm:
    """One combination of levels.

    Attributes:
        levels: the label of each factor's level, in the order of the factors.
        slug: its folder's name, unique within the plan.
    """

    levels: Mapping[str, str]
    slug: str

    @property
    def label(self) -> str:
        """What tables call it: `unet · dice · mixup 0.2`."""
        raise NotImplementedError


@dataclass(frozen=True)
class PlannedRun:
    """One training: an arm with a seed.

    Attributes:
        arm: its arm.
        seed: its seed.
        folder: of its run directory, relative to the ablation's: `runs/<arm>/seed-<seed>`.
        config: the resolved configuration.
    """

    arm: Arm
    seed: int
    folder: str
    config: RunConfig


@dataclass(frozen=True)
class Plan:
    """A whole ablation."""

    name: str
    base: Mapping[str, Any]
    factors: tuple[Factor, ...]
    exclude: tuple[Mapping[str, str], ...]
    seeds: tuple[int, ...]
