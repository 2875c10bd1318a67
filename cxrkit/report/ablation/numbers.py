"""The numbers of an ablation, from its runs' scores on the test films.

Two spreads, never mixed: over seeds (each seed's mean over its films is one value) and over films. A film's value is
its mean over the seeds that tested it, so that a film that several seeds drew counts once; arms are compared on the
films and seeds that both have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from cxrkit.ablation.results import Results
from cxrkit.config import RunConfig
from cxrkit.report.ablation.caveats import all_caveats
from cxrkit.report.ablation.cells import ArmNumbers, arm_numbers
from cxrkit.report.ablation.comparability import Ground, common_ground
from cxrkit.report.ablation.effects import Effect, FactorEffects, LevelPair, compare_levels, factor_effects
from cxrkit.report.ablation.facts import all_facts
from cxrkit.report.ablation.measures import Measure, measures_of, readable_configs
from cxrkit.report.ablation.pairs import Comparison, compare_arms
from cxrkit.report.ablation.same_data import data_groups


@dataclass(frozen=True)
class Numbers:
    """Everything that the tables and figures show.

    The means are there at once; what costs time (tests, intervals) is computed when it is first asked for, and kept.
    """

    results: Results
    measures: tuple[Measure, ...]
    arms: tuple[ArmNumbers, ...]

    def measure(self, key: str) -> Measure:
        """The measure of that key."""
        return next(measure for measure in self.measures if measure.key == key)

    @property
    def primary(self) -> tuple[Measure, ...]:
        """What the verdict is on: honest Dice of lungs and heart (or of every structure), and the paper's DSC."""
        dice = [m for m in self.measures if m.key.endswith("_dice")]
        chosen = [m for m in dice if m.key in ("lungs_dice", "heart_dice")] or dice
        return (*chosen, *(m for m in self.measures if m.key == "paper_dsc"))

    @property
    def items(self) -> str:
        """What tests of arms count: films, or patients where films share one."""
        patients = any(arm.cells[measure.key].patients for arm in self.arms for measure in self.primary)
        return "patients" if patients else "films"

    @cached_property
    def grounds(self) -> Mapping[str, Ground]:
        """What arms are ranked on, by the measures' keys."""
        return {m.key: common_ground(self.arms, m, self.results.plan.seeds) for m in self.measures}

    def best(self, key: str) -> tuple[ArmNumbers, ...]:
        """The arms with the best mean on the seeds and films that all ranked arms have; several if they are equal."""
        return self.grounds[key].best

    @cached_property
    def comparisons(self) -> tuple[Comparison, ...]:
        """Every pair of arms in every measure; differences have intervals in the primary ones."""
        primary = {measure.key for measure in self.primary}
        return tuple(c for m in self.measures for c in compare_arms(self.arms, m, intervals=m.key in primary))

    @cached_property
    def factor_effects(self) -> tuple[FactorEffects, ...]:
        """The main effects of factors with several levels on the primary measures."""
        plan = self.results.plan
        return tuple(
            factor_effects(factor, self.arms, measure, len(plan.seeds))
            for factor in plan.factors
            if len(factor.levels) > 1
            for measure in self.primary
        )

    @property
    def effects(self) -> tuple[Effect, ...]:
        """Their levels, where an effect can be told."""
        return tuple(effect for found in self.factor_effects for effect in found.levels)

    @cached_property
    def level_pairs(self) -> tuple[LevelPair, ...]:
        """Every pair of each factor's levels, over runs, in the primary measures."""
        return tuple(pair for found in self.factor_effects for pair in compare_levels(found))

    @cached_property
    def configs(self) -> tuple[RunConfig, ...]:
        """Of all runs that have one."""
        return tuple(readable_configs(self.results).values())

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """What a reader must know before any number, in sentences."""
        return all_caveats(self)

    @cached_property
    def facts(self) -> Mapping[str, str]:
        """What was run, where, and how long it took."""
        return all_facts(self)


def summarise_ablation(results: Results) -> Numbers:
    """The numbers of an ablation as it stands, finished or not."""
    measures, groups = measures_of(results), data_groups(results)
    arms = tuple(arm_numbers(arm, results.of(arm), measures, groups) for arm in results.arms)
    return Numbers(results, measures, arms)
