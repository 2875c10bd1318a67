"""`cxrkit ablate` and `cxrkit report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxrkit.cli.flags import (
    FILES,
    WHAT,
    Excluded,
    Flags,
    Json,
    Plan,
    Quiet,
    Varied,
    json_flag,
    option,
    quiet_flag,
    takes,
)
from cxrkit.errors import TrainingError

if TYPE_CHECKING:
    from cxrkit.ablation import plan as plans
    from cxrkit.ablation.ranges import Space
    from cxrkit.ablation.results import Results
    from cxrkit.cli.planning import Request
    from cxrkit.report.ablation import Numbers

#: What may be given with --resume; of --set only what is the launcher's.
_ON_RESUMING = frozenset({"resume", "launcher", "workers", "assignments", "dry_run", "as_json", "quiet"})
_SHARED, _WHERE, _SEARCH = "What all runs share", "Where to run", "Search"


@takes(
    levels=Flags("model loss augment train_size size lr", WHAT, several=True, shorthands=True),
    shared=Flags("steps test_size validation protocol", _SHARED),
)
def ablate(
    context: typer.Context,
    levels: dict[str, str],
    shared: dict[str, Any],
    plan: Plan = None,
    vary: Varied = None,
    exclude: Excluded = None,
    seeds: Annotated[
        str | None,
        option(
            "--seeds",
            "How many seeds, or which (0,4,7). A seed determines the split and the initial weights of every arm.",
            WHAT,
            metavar="N|N,N",
            default="1, or the plan's",
        ),
    ] = None,
    data: Annotated[
        list[str] | None,
        option("--data", "As for cxrkit train.", _SHARED, metavar="PLACE|NAME", default="synthetic films"),
    ] = None,
    config: Annotated[
        Path | None,
        option(
            "--config",
            "Settings as YAML, such as a run's config.yaml; a PLAN's `base:` overrides them.",
            _SHARED,
            metavar="FILE",
        ),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        option(
            "--set", "Any setting, for all runs; launcher.KEY=VALUE sets the launcher's.", _SHARED, metavar="KEY=VALUE"
        ),
    ] = None,
    search: Annotated[
        int | None,
        option("--search", "Instead of the grid, run this many trials, chosen by Optuna on validation films.", _SEARCH),
    ] = None,
    ranges: Annotated[
        list[str] | None,
        option(
            "--range",
            "A range to search: train.lr=1e-4..1e-2:log, model.depth=3..5. The factors above are searched as choices.",
            _SEARCH,
            metavar="KEY=LOW..HIGH[:log]",
        ),
    ] = None,
    launcher: Annotated[
        str | None,
        option(
            "--launcher",
            "Where and how the runs are started; see: cxrkit list launcher.",
            _WHERE,
            metavar="NAME",
            default="this machine",
        ),
    ] = None,
    workers: Annotated[
        int | None, option("--workers", "Number of runs at the same time.", _WHERE, default="the launcher's")
    ] = None,
    out: Annotated[
        Path | None,
        option(
            "--out",
            "The ablation's folder; an existing ablation is continued.",
            FILES,
            metavar="DIR",
            default="ablations/NAME",
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        option(
            "--resume",
            "Continue an ablation or search with its own plan; --seeds adds seeds, --search N raises the trials to N.",
            FILES,
            metavar="ABLATION",
        ),
    ] = None,
    dry_run: Annotated[
        bool, option("--dry-run", "Only list the runs, and estimate their time from a few updates.", FILES)
    ] = False,
    as_json: Annotated[bool, json_flag("the result", FILES)] = False,
    quiet: Annotated[bool, quiet_flag(FILES)] = False,
) -> None:
    """Compare components: train every combination with every seed, and report how much the differences matter.

    A flag with several values is a factor; with one value it is fixed. Every run is an ordinary run directory. Finished
    runs are kept, stopped ones continued, and failures reported at the end.

    cxrkit ablate --model unet,attn-unet,attn-bcdu --loss dice,focal-tversky --mixup 0,0.2 --train-size 10,20 --seeds 3
    """
    from cxrkit.cli.dry_run import show_runs, show_search
    from cxrkit.cli.loading import load_plugins
    from cxrkit.cli.planning import (
        Request,
        check_resuming,
        given_flags,
        launcher_settings,
        new_folder,
        plan_from_flags,
    )
    from cxrkit.cli.search import run_search, search_space

    plugins = load_plugins()
    launcher = launcher or plugins.registry.default("launcher")
    launching, setting = launcher_settings(assignments or (), workers)
    space: Space | None = None
    trials = search or 0
    if resume is not None:
        from cxrkit.ablation.ranges import SEARCH_FILE, read_space

        is_search = (resume / SEARCH_FILE).is_file()
        check_resuming(given_flags(context), _ON_RESUMING | ({"search"} if is_search else {"seeds"}), setting)
        folder = resume
        if is_search:
            space, before = read_space(resume)
            trials = before if search is None else search
        else:
            made = _resumed(resume, seeds)
    else:
        from cxrkit.data.sources import parse_sources

        over = dict(shared)
        if data:
            over["data"] = parse_sources(data, plugins.registry.components("dataset"))
        made = plan_from_flags(plan, config, levels, vary or (), exclude or (), seeds, over | setting)
        folder = out or new_folder(made.name)
        if search is not None or ranges:
            space = search_space(made, ranges or (), search)
    request = Request(folder, launcher, launching, quiet, as_json)
    if space is not None:
        (show_search if dry_run else run_search)(space, trials, request)
    else:
        (show_runs if dry_run else _run)(made, request)


def _resumed(folder: Path, seeds: str | None) -> plans.Plan:
    from cxrkit.ablation.growth import with_seeds
    from cxrkit.ablation.results import read_own_plan
    from cxrkit.cli.planning import parse_seeds_flag

    plan = read_own_plan(folder)
    return plan if seeds is None else with_seeds(plan, parse_seeds_flag(seeds), folder)


def report(
    ablation: Annotated[Path, typer.Argument(metavar="ABLATION", help="Folder of an ablation.", show_default=False)],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Rewrite the report of an ablation, finished or not: a page, Markdown, CSV, LaTeX and figures.

    The page (report/report.html) needs no other file. For each arm it shows mean ± std over seeds and, separately, the
    spread over films; every pair of arms is compared by a paired test.
    """
    from cxrkit import comparisons
    from cxrkit.cli.progress import progress

    with progress(quiet=quiet) as observer:
        numbers = comparisons.report(ablation, observer=observer)
    _show(numbers.results, numbers, as_json=as_json, quiet=quiet)


def _run(plan: plans.Plan, request: Request) -> None:
    from cxrkit import comparisons
    from cxrkit.cli.ablation_progress import ablation_progress
    from cxrkit.cli.console import say
    from cxrkit.cli.progress import progress

    folder = request.folder
    if not request.quiet:
        say(f"{plan.name}: {len(plan.arms())} arms × {len(plan.seeds)} seeds in {folder}")
        if plan.is_demonstration:
            say("The films are synthetic: the scores say nothing about real ones.")
    with progress(quiet=request.quiet) as observer:
        listener = ablation_progress(observer, folder)
        results, numbers = comparisons.run_ablation(
            plan, folder, request.launcher, request.launching, listener, observer
        )
    _show(results, numbers, as_json=request.as_json, quiet=request.quiet)
    if failed := [run for run in results.runs if run.state == "failed"]:
        lines = [f"{run.name}: {run.error} (its output: {run.log})" for run in failed]
        lines.append(f"The others are kept. Fix the cause, then: cxrkit ablate --resume {folder}")
        raise TrainingError(f"{len(failed)} of {len(results.runs)} runs failed.", "\n".join(lines))


def _show(results: Results, numbers: Numbers | None, *, as_json: bool, quiet: bool) -> None:
    from cxrkit.cli.console import say, show, show_json
    from cxrkit.report.ablation import all_caveats, headline, seeds_table, summarise_ablation
    from cxrkit.report.ablation.tables import OVER_SEEDS

    if as_json:
        show_json(_content(numbers or summarise_ablation(results)))
        return
    if numbers is None:
        return
    show(seeds_table(numbers).rich(), OVER_SEEDS, "", *headline(numbers))
    if not quiet:
        for warning in all_caveats(numbers):
            say(warning, style="bold red")
        say("", f"Report: {results.path / 'report' / 'report.html'} (also report.md, table.tex, scores.csv)")


def _content(numbers: Numbers) -> dict[str, Any]:
    from cxrkit.report.ablation import all_caveats

    results = numbers.results
    return {
        "ablation": str(results.path),
        "arms": [
            {
                "arm": arm.arm.label,
                "levels": dict(arm.arm.levels),
                "seeds": {run.seed: run.state for run in arm.runs},
                "measures": {
                    key: {"mean": cell.mean, "std_over_seeds": cell.std, "std_over_films": cell.film_std}
                    for key, cell in arm.cells.items()
                },
            }
            for arm in numbers.arms
        ],
        "failed": [
            {"arm": run.arm.label, "seed": run.seed, "error": run.error, "log": str(run.log)}
            for run in results.runs
            if run.state == "failed"
        ],
        "warnings": list(all_caveats(numbers)),
    }
