"""`cxrkit ablate --search`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from cxrkit.errors import ConfigError

if TYPE_CHECKING:
    from cxrkit.ablation.plan import Plan
    from cxrkit.ablation.ranges import Space
    from cxrkit.cli.planning import Request


def search_space(plan: Plan, ranges: Sequence[str], trials: int | None) -> Space:
    """What the flags `--range` and the plan's factors search over.

    Raises:
        ConfigError: a range that isn't accepted, or a missing number of trials.
    """
    from cxrkit.ablation.ranges import Space, parse_range
    from cxrkit.ablation.search import check_trials

    if trials is None:
        raise ConfigError("--range was given without a number of trials.", "Say how many: --search 20.")
    check_trials(trials)
    return Space(plan, tuple(parse_range(text) for text in ranges))


def run_search(space: Space, trials: int, request: Request) -> None:
    """Search, score the best trial's network on the test films, and show both."""
    from cxrkit import comparisons
    from cxrkit.cli.console import say, show, show_json
    from cxrkit.cli.progress import progress
    from cxrkit.cli.results import show_scores

    with progress(quiet=request.quiet) as observer:
        found, evaluation = comparisons.search(
            space.plan,
            space.ranges,
            trials,
            request.folder,
            launcher=request.launcher,
            launcher_settings=request.launching,
            listener=None if request.quiet else _Lines(),
            observer=observer,
        )
    if request.as_json:
        show_json({**asdict(found), "test": None if evaluation is None else evaluation.model_dump(mode="json")})
        return
    settings = ", ".join(f"{key}={_short(value)}" for key, value in found.settings.items())
    show(
        f"{found.complete} trials complete, {found.pruned} pruned, {found.failed} failed.",
        f"Best on the validation films (Dice {100 * found.score:.1f} %): {settings}",
    )
    if found.importances:
        parts = [f"{key} {100 * share:.0f} %" for key, share in found.importances.items()]
        show(f"What influenced the score (PED-ANOVA): {', '.join(parts)}.")
    show("")
    show_scores(found.best, evaluation, as_json=False)
    if not request.quiet:
        say("", f"All trials: {found.table}. To train the best again: cxrkit train --config {found.config_file}")


class _Lines:
    """A line whenever a trial begins or ends."""

    def trial(self, number: int, state: str, settings: Mapping[str, Any], score: float | None) -> None:
        """Print the line."""
        from cxrkit.cli.console import say

        tried = ", ".join(f"{key}={_short(value)}" for key, value in settings.items())
        dice = "" if score is None else f", validation Dice {100 * score:.1f} %"
        say(f"trial {number} {state}{dice}: {tried}")


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
