"""What the arms of a plan cost: time of an update and of a prediction, parameters, multiply-adds, memory.

The arms take turns: in each round every arm makes a few updates and predictions, in an order that changes from round
to round. Whatever slows the machine for a while slows all arms alike, and arms are compared within rounds.
"""

from __future__ import annotations

import math
import shlex
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from cxrkit.ablation.estimate import COSTLESS
from cxrkit.ablation.naming import label_of
from cxrkit.ablation.plan import Level, Plan, PlannedRun
from cxrkit.engine.hardware import describe_hardware
from cxrkit.engine.observer import Observer, Silent
from cxrkit.engine.rehearsal import Rehearsal
from cxrkit.engine.threads import computing_threads
from cxrkit.errors import ConfigError, CxrkitError, PluginError, located, nearest, reason, shown
from cxrkit.metrics.statistics import Interval, median_interval
from cxrkit.registry import Registry
from cxrkit.settings import full_name

#: What an arm does in a round; its time is the median of these, so that a short burst of another program doesn't count.
UPDATES, FILMS = 3, 5

#: Settings, or what they are below, that change nothing that is measured.
_IDLE_TRAINING = (*COSTLESS, "recompute_statistics", "protocol", "strategy")
_IDLE = ("seed", "data", "split", "unlabelled", *(f"train.{key}" for key in _IDLE_TRAINING))


@dataclass(frozen=True)
class Ratio:
    """How many times as long an arm takes as another one.

    Attributes:
        median: of the rounds' ratios, each of which compares what was measured in the same round.
        interval: the median's 95 % confidence interval; None for fewer than six rounds.
    """

    median: float
    interval: Interval | None


@dataclass(frozen=True)
class Cost:
    """What an arm costs.

    Attributes:
        planned: the arm, and its configuration.
        device, precision: what `auto` meant: `cpu`, `cuda` or `mps`; `32` or `bf16`.
        parameters: how many numbers of the network are trained.
        multiply_adds: of one film's forward pass, in convolutions and matrix products.
        peak_memory: most bytes that an update occupies on a CUDA device, network and optimizer included; else None.
        updates: seconds of an update, one value per round.
        films: seconds of a film's prediction, likewise.
    """

    planned: PlannedRun
    device: str
    precision: str
    parameters: int
    multiply_adds: int
    peak_memory: int | None
    updates: tuple[float, ...]
    films: tuple[float, ...]

    @property
    def label(self) -> str:
        """The arm's name."""
        return self.planned.arm.label

    @property
    def update(self) -> float:
        """Seconds of an update: the median over rounds."""
        return statistics.median(self.updates)

    @property
    def film(self) -> float:
        """Seconds of a film's prediction: the median over rounds."""
        return statistics.median(self.films)


@dataclass(frozen=True)
class Costs:
    """What was measured.

    Attributes:
        arms: in the plan's order.
        reference: the one that the others are compared with.
        rounds: how often each was measured.
        hardware: device, its name, threads and torch's version, of every kind of device that was used.
    """

    arms: tuple[Cost, ...]
    reference: Cost
    rounds: int
    hardware: tuple[dict[str, str | int], ...]

    def update_ratio(self, arm: Cost) -> Ratio:
        """How many times as long an arm's update takes as the reference's."""
        return ratio(arm.updates, self.reference.updates)

    def film_ratio(self, arm: Cost) -> Ratio:
        """How many times as long an arm's prediction takes as the reference's."""
        return ratio(arm.films, self.reference.films)


def check_factors(plan: Plan) -> None:
    """Refuse a factor that changes nothing that is measured.

    Raises:
        ConfigError: arms would differ by chance alone; names the factor.
    """
    arms = plan.arms()
    for factor in plan.factors:
        used = {arm.levels[factor.name] for arm in arms}
        levels = [level for level in factor.levels if level.label in used]
        if len(levels) > 1 and all(_is_idle(key) for level in levels for key in level.settings):
            raise ConfigError(
                f"{factor.name}: none of the measured costs depends on it, so its levels "
                f"({', '.join(level.label for level in levels)}) would differ by chance alone.",
                f"Leave it out, or, if it is in a plan, add: {_leaving_one(factor.name, levels)}",
            )


def _is_idle(key: str) -> bool:
    return any(full_name(key) == idle or full_name(key).startswith(f"{idle}.") for idle in _IDLE)


def _leaving_one(factor: str, levels: Sequence[Level]) -> str:
    """Flags that leave the first of a factor's levels."""
    first, *others = levels
    if set(first.settings) == {factor}:
        return shlex.join(["--set", f"{factor}={label_of(first.settings[factor], factor)}"])
    return shlex.join(word for level in others for word in ("--exclude", f"{factor}={level.label}"))


def bench(
    runs: Sequence[PlannedRun],
    registry: Registry,
    *,
    rounds: int = 10,
    reference: str | None = None,
    threads: int | None = None,
    observer: Observer | None = None,
) -> Costs:
    """Measure what updates and predictions of some arms cost, on random films.

    All arms are built, and make some updates, before any is timed.

    Args:
        runs: one of each arm.
        rounds: how often each arm is measured.
        reference: label of the arm that the others are compared with; by default the first.
        threads: for torch; by default as many as it uses already.

    Raises:
        ConfigError: no arm has the reference's label, or see `Rehearsal`.
        CxrkitError: an arm that can't be built or trained; names it. PluginError: whatever else a component raises.
    """
    compared = _place(reference, [run.arm.label for run in runs])
    listener = observer or Silent()
    with computing_threads(threads):
        rehearsals = _build(runs, registry, listener)
        multiply_adds, peaks = _warm_up(runs, rehearsals, listener)
        updates, films = _time(runs, rehearsals, rounds, listener)
        hardware = [describe_hardware(device) for device in dict.fromkeys(r.device for r in rehearsals)]
    costs = tuple(
        Cost(
            planned=run,
            device=rehearsal.device.type,
            precision=rehearsal.precision,
            parameters=rehearsal.parameters,
            multiply_adds=multiply_adds[place],
            peak_memory=peaks[place],
            updates=tuple(updates[place]),
            films=tuple(films[place]),
        )
        for place, (run, rehearsal) in enumerate(zip(runs, rehearsals, strict=True))
    )
    return Costs(costs, costs[compared], rounds, tuple(hardware))


def ratio(times: Sequence[float], others: Sequence[float]) -> Ratio:
    """How many times as long one arm takes as another, from their seconds of each round.

    >>> ratio([2, 6, 30], [1, 3, 15]).median  # both become slower
    2.0
    >>> ratio([1, 2], [2, 1]).median
    1.0
    """
    ratios = [time / other for time, other in zip(times, others, strict=True)]
    # Of the middle two, the geometric mean, so that the inverse comparison gives the inverse ratio.
    middle = math.sqrt(statistics.median_low(ratios) * statistics.median_high(ratios))
    return Ratio(middle, median_interval(ratios))


def turns(arms: int, number: int) -> list[int]:
    """The order of the arms, by their places, in the round of that number (from 0): a Williams (1949) design.

    Over 2 · arms rounds each arm comes equally often in each place, and equally often right after each other one, which
    may leave caches and clocks in a state that suits it.

    >>> [turns(4, number) for number in range(4)]
    [[0, 1, 3, 2], [1, 2, 0, 3], [2, 3, 1, 0], [3, 0, 2, 1]]
    """
    zigzag = [(place + 1) // 2 if place % 2 else -(place // 2) for place in range(arms)]
    # An odd number of arms needs every order backwards too.
    shift, backwards = divmod(number, 2) if arms % 2 else (number, 0)
    order = [(place + shift) % arms for place in zigzag]
    return order[::-1] if backwards else order


def _build(runs: Sequence[PlannedRun], registry: Registry, listener: Observer) -> list[Rehearsal]:
    rehearsals: list[Rehearsal] = []
    listener.stage("Building", len(runs))
    for run in runs:
        with _named(run):
            rehearsals.append(Rehearsal(run.config, registry))
        listener.advance(len(rehearsals), run.arm.label)
    return rehearsals


def _warm_up(
    runs: Sequence[PlannedRun], rehearsals: Sequence[Rehearsal], listener: Observer
) -> tuple[list[int], list[int | None]]:
    """Let each arm do once what is slow the first time; the multiply-adds and the peak memory of each."""
    for device in {rehearsal.device for rehearsal in rehearsals}:
        # On CUDA the first matrix products allocate a workspace for good, which would be counted for the first arm.
        square = torch.ones(8, 8, device=device, requires_grad=True)
        (square @ square).sum().backward()
    multiply_adds: list[int] = []
    peaks: list[int | None] = []
    listener.stage("Warming up", len(runs))
    for run, rehearsal in zip(runs, rehearsals, strict=True):
        with _named(run):
            peaks.append(rehearsal.warm_up())
            multiply_adds.append(rehearsal.multiply_adds())
        listener.advance(len(peaks), run.arm.label)
    return multiply_adds, peaks


def _time(
    runs: Sequence[PlannedRun], rehearsals: Sequence[Rehearsal], rounds: int, listener: Observer
) -> tuple[list[list[float]], list[list[float]]]:
    """Seconds of an update and of a film, of each arm in each round."""
    updates: list[list[float]] = [[] for _ in runs]
    films: list[list[float]] = [[] for _ in runs]
    listener.stage("Timing", rounds * len(runs))
    done = 0
    for number in range(rounds):
        for place in turns(len(runs), number):
            rehearsal = rehearsals[place]
            with _named(runs[place]):
                updates[place].append(statistics.median(rehearsal.update() for _ in range(UPDATES)))
                films[place].append(statistics.median(rehearsal.predict() for _ in range(FILMS)))
            done += 1
            listener.advance(done, runs[place].arm.label)
    return updates, films


def _place(label: str | None, labels: Sequence[str]) -> int:
    if label is None:
        return 0
    if label not in labels:
        raise ConfigError(
            f"--reference {shown(label)}: there is no such arm. {nearest(label, labels)}".rstrip(),
            f"There are: {', '.join(labels)}.",
        )
    return labels.index(label)


@contextmanager
def _named(run: PlannedRun) -> Iterator[None]:
    """Let an error say which arm it is of."""
    try:
        with located(run.arm.label):
            yield
    except CxrkitError:
        raise
    except Exception as error:
        raise PluginError(
            f"{run.arm.label}: a defect of a component or of cxrkit: {reason(error)}",
            "Run the same command with --debug to see where; fix the component, or leave this arm out (--exclude).",
        ) from error
