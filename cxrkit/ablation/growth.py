"""What a plan may change in a folder that already holds runs: add to them, never lose or alter any."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cxrkit.ablation.plan import Plan, PlannedRun
from cxrkit.ablation.ranges import SEARCH_FILE
from cxrkit.ablation.results import PLAN_FILE, STATES, check_folders, load_results
from cxrkit.errors import ConfigError

_SHOWN = 8


def check_growth(path: Path, plan: Plan, runs: Sequence[PlannedRun]) -> None:
    """Refuse a plan that doesn't fit what an ablation's folder holds.

    Args:
        path: the folder, which need not exist.
        plan: the new plan, and its `runs`.

    Raises:
        ConfigError: it leaves out runs that were started, which would vanish from the report; it changes the settings
            of some; or the folder belongs to a search.
    """
    if (path / SEARCH_FILE).is_file():
        raise ConfigError(f"{path} is the folder of a search.", "Choose another --out.")
    if (path / PLAN_FILE).is_file():
        _check_all_kept(path, plan)
    check_folders(path, runs)


def with_seeds(plan: Plan, seeds: Sequence[int], path: Path) -> Plan:
    """A plan with further seeds; without them, as it is.

    Raises:
        ConfigError: `seeds` leaves out some that the plan has.
    """
    if missing := [seed for seed in plan.seeds if seed not in seeds]:
        raise ConfigError(
            f"--seeds {','.join(map(str, seeds))}: leaves out {', '.join(map(str, missing))}, which {path} has.",
            f"Name those too: --seeds {','.join(map(str, dict.fromkeys([*plan.seeds, *seeds])))}.",
        )
    return Plan(plan.name, plan.base, plan.factors, plan.exclude, tuple(seeds))


def _check_all_kept(path: Path, plan: Plan) -> None:
    planned = {(arm.slug, seed) for arm in plan.arms() for seed in plan.seeds}
    before = [run for run in load_results(path).runs if run.state != "missing"]
    lost = [f"{run.name} ({STATES[run.state]})" for run in before if (run.arm.slug, run.seed) not in planned]
    if lost:
        more = f"; and {len(lost) - _SHOWN} more" if len(lost) > _SHOWN else ""
        raise ConfigError(
            f"{path}: the plan leaves out {len(lost)} of the {len(before)} existing runs, which would vanish from the "
            f"report: {'; '.join(lost[:_SHOWN])}{more}.",
            "Keep their levels and seeds in the plan, or choose another --out.",
        )
