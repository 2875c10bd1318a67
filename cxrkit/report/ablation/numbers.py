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
from cxrkit.engine.measures import LUNGS
from cxrkit.report.ablation.cells import ArmNumbers, arm_numbers
from cxrkit.report.ablation.columns import Column, columns_of
from cxrkit.report.ablation.differences import (
    Comparison,
    FactorEffects,
    LevelPair,
    compare_arms,
    compare_levels,
    factor_effects,
)
from cxrkit.report.ablation.ranking import Ranking, rank_arms
from cxrkit.report.ablation.same_data import data_groups


@dataclass(frozen=True)
class Numbers:
    """Everything that the tables and figures show.

    The means are computed at once; what takes time (tests, intervals) is computed when it is first asked for, and kept.
    """

    results: Results
    columns: tuple[Column, ...]
    arms: tuple[ArmNumbers, ...]

    @property
    def main(self) -> tuple[Column, ...]:
        """The columns of the main table: of lungs and heart, or else of every structure, and of whole films."""
        columns = [column for column in self.columns if column.measure.main]
        usual = [c for c in columns if c.structure in (LUNGS, "heart", None)]
        chosen = usual if any(column.structure == LUNGS for column in columns) else columns
        return tuple(chosen)

    @property
    def plausibility(self) -> tuple[Column, ...]:
        """Parts and holes, before and after post-processing: of lungs and heart, or else of every structure."""
        columns = [column for column in self.columns if column.measure.unit == "count"]
        usual = [column for column in columns if column.structure in (LUNGS, "heart")]
        return tuple(usual if any(column.structure == LUNGS for column in columns) else columns)

    @property
    def primary(self) -> tuple[Column, ...]:
        """What the verdict is on: honest Dice of lungs and heart (or of every structure), and the paper's DSC."""
        columns = [
            c for c in self.columns if c.measure.primary and c.measure.protocol == c.selection and c.dataset is None
        ]
        usual = [c for c in columns if c.structure in (LUNGS, "heart")]
        return tuple(c for c in columns if c in usual or c.structure is None or not usual)

    @property
    def items(self) -> str:
        """What tests of arms count: films, or patients where films share one."""
        patients = any(arm.cells[column.key].patients for arm in self.arms for column in self.primary)
        return "patients" if patients else "films"

    @cached_property
    def rankings(self) -> Mapping[str, Ranking]:
        """What arms are ranked on, by the columns' keys."""
        return {column.key: rank_arms(self.arms, column, self.results.plan.seeds) for column in self.columns}

    @cached_property
    def comparisons(self) -> tuple[Comparison, ...]:
        """Every pair of arms in every column; differences have intervals in the primary ones."""
        return tuple(
            c for column in self.columns for c in compare_arms(self.arms, column, intervals=column in self.primary)
        )

    @cached_property
    def effects(self) -> tuple[FactorEffects, ...]:
        """The main effects of factors with several levels on the primary columns."""
        plan = self.results.plan
        return tuple(
            factor_effects(factor, self.arms, column, len(plan.seeds))
            for factor in plan.factors
            if len(factor.levels) > 1
            for column in self.primary
        )

    @cached_property
    def level_pairs(self) -> tuple[LevelPair, ...]:
        """Every pair of each factor's levels, over runs, in the primary columns."""
        return tuple(pair for effects in self.effects for pair in compare_levels(effects))


def summarise_ablation(results: Results) -> Numbers:
    """The numbers of an ablation, finished or not."""
    columns, groups = columns_of(results), data_groups(results)
    arms = tuple(arm_numbers(arm, results.of(arm), columns, groups) for arm in results.arms)
    return Numbers(results, columns, arms)
