"""`cxrkit ablate --dry-run`: what would run, and about how long it would take."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from cxrkit.cli.console import say, show, show_json, table
from cxrkit.cli.progress import duration, progress

if TYPE_CHECKING:
    from cxrkit.ablation.plan import Plan, PlannedRun
    from cxrkit.ablation.ranges import Space
    from cxrkit.cli.planning import Request

_CAVEAT = "if parallel runs don't slow each other down, judging by a few updates of each kind on this machine."


def show_runs(plan: Plan, request: Request) -> None:
    """List an ablation's runs with an estimate of each one's time; finished ones take none.

    Raises:
        CxrkitError: what the ablation itself would refuse.
    """
    from cxrkit.ablation.coordinate import updates_done
    from cxrkit.ablation.growth import check_growth
    from cxrkit.comparisons import check_tests
    from cxrkit.plugins import registry

    runs, folder = plan.runs(registry()), request.folder
    check_tests(runs)
    check_growth(folder, plan, runs)
    done = updates_done(folder, runs)
    slots, seconds, total = _estimate(runs, done, request)
    states = [
        "finished" if step >= run.config.train.steps else "begun" if step else "new"
        for run, step in zip(runs, done, strict=True)
    ]
    if request.as_json:
        listed = [
            {
                "arm": run.arm.label,
                "levels": dict(run.arm.levels),
                "seed": run.seed,
                "updates": run.config.train.steps,
                "state": state,
                "seconds": time,
                "folder": str(folder / run.folder),
            }
            for run, state, time in zip(runs, states, seconds, strict=True)
        ]
        show_json({"plan": plan.name, "launcher": request.launcher, "slots": slots, "seconds": total, "runs": listed})
        return
    rows = [
        [
            run.arm.label,
            str(run.seed),
            str(run.config.train.steps),
            state if state == "finished" else duration(time),
            str(folder / run.folder),
        ]
        for run, state, time in zip(runs, states, seconds, strict=True)
    ]
    show(table(["arm", "seed", "updates", "about", "folder"], rows))
    if not request.quiet:
        left = len(runs) - states.count("finished")
        finished = f", {len(runs) - left} of which are finished" if left < len(runs) else ""
        say(
            f"{len(runs)} runs{finished}, {slots} at a time with the launcher {request.launcher}: about "
            f"{duration(total)} {_CAVEAT}"
        )


def show_search(space: Space, trials: int, request: Request) -> None:
    """List what a search tries, with an estimate of its time from trials at the ends of each range."""
    from cxrkit.ablation.search import check_search, check_trials, samples
    from cxrkit.ablation.study import ended_trials
    from cxrkit.plugins import registry

    check_search(space, request.folder, registry())
    check_trials(trials)
    ended = min(ended_trials(request.folder), trials)
    runs = samples(space, registry())
    slots, seconds, _ = _estimate(runs, [0] * len(runs), request)
    trial = sum(seconds) / len(seconds)
    rounds = -(-(trials - ended) // slots)
    tried = {factor.name: [level.label for level in factor.levels] for factor in space.plan.factors}
    if request.as_json:
        show_json(
            {
                "search": str(request.folder),
                "launcher": request.launcher,
                "slots": slots,
                "trials": trials,
                "ended": ended,
                "updates": runs[0].config.train.steps,
                "seconds_a_trial": trial,
                "seconds": trial * rounds,
                "choices": tried,
                "ranges": [str(span) for span in space.ranges],
            }
        )
        return
    rows = [[name, "one of " + ", ".join(labels)] for name, labels in tried.items()]
    for span in space.ranges:
        kinds = [kind for kind, holds in (("whole numbers", span.whole), ("logarithmic", span.log)) if holds]
        rows.append([span.key, f"{span.low} to {span.high}" + (f" ({', '.join(kinds)})" if kinds else "")])
    show(table(["setting", "tried"], rows))
    if not request.quiet:
        before = f", {ended} of which have ended" if ended else ""
        say(
            f"{trials} trials{before}, of {runs[0].config.train.steps} updates, about {duration(trial)} each, in "
            f"{request.folder}; {slots} at a time with the launcher {request.launcher}: at most about "
            f"{duration(trial * rounds)} (trials that fall behind are stopped) {_CAVEAT}"
        )


def _estimate(runs: Sequence[PlannedRun], done: Sequence[int], request: Request) -> tuple[int, list[float], float]:
    """The launcher's slots, the seconds of each run and of all."""
    from cxrkit.ablation.estimate import estimate, total_seconds
    from cxrkit.comparisons import build_launcher
    from cxrkit.plugins import registry

    with closing(build_launcher(request.launcher, request.launching)) as worker:
        slots, threads = worker.slots, worker.threads
    with progress(quiet=request.quiet) as observer:
        seconds = estimate(runs, registry(), observer, threads=threads, done=done)
    return slots, seconds, total_seconds(seconds, slots)
