"""`cxrkit ablate` and `cxrkit report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxrkit.cli import arms
from cxrkit.cli.helping import option
from cxrkit.errors import TrainingError

if TYPE_CHECKING:
    from cxrkit.ablation.plan import Plan
    from cxrkit.ablation.ranges import Space
    from cxrkit.ablation.results import Results
    from cxrkit.report.ablation import Numbers

#: What may be given with --resume; of --set only what is the launcher's.
_ON_RESUMING = frozenset({"resume", "launcher", "workers", "assignments", "dry_run", "as_json", "quiet"})
_FIXED, _WHERE, _FILES, _SEARCH = "What all runs share", "Where", "Files and output", "Search"


def ablate(
    context: typer.Context,
    plan: arms.Plan = None,
    model: Annotated[str | None, option("--model", arms.WHAT, "Networks.", metavar="A,B")] = None,
    loss: Annotated[str | None, option("--loss", arms.WHAT, "Losses, or sums of them.", metavar="A,B")] = None,
    mixup: arms.Mixups = None,
    augment: arms.Augments = None,
    train_size: Annotated[
        str | None, option("--train-size", arms.WHAT, "Training films; 'all' is the whole pool.", metavar="N,N")
    ] = None,
    size: Annotated[
        str | None, option("--size", arms.WHAT, "Side of the network's input, pixels.", metavar="N,N")
    ] = None,
    lr: Annotated[str | None, option("--lr", arms.WHAT, "Learning rates.", metavar="X,X")] = None,
    vary: arms.Varied = None,
    exclude: arms.Excluded = None,
    seeds: Annotated[
        str | None,
        option(
            "--seeds",
            arms.WHAT,
            "How many, or which (0,4,7). A seed decides split and first weights, the same for every arm.",
            metavar="N|N,N",
            default="1, or the plan's",
        ),
    ] = None,
    data: Annotated[
        str | None,
        option("--data", _FIXED, "As for cxrkit train.", metavar="PLACE|NAME", default="synthetic films"),
    ] = None,
    steps: Annotated[int | None, option("--steps", _FIXED, "Updates of every run: the budget.")] = None,
    test_size: Annotated[str | None, option("--test-size", _FIXED, "Test films.", metavar="COUNT|FRACTION")] = None,
    validation: Annotated[
        str | None, option("--validation", _FIXED, "Validation films.", metavar="COUNT|FRACTION|rest")
    ] = None,
    protocol: Annotated[
        str | None,
        option("--protocol", _FIXED, "honest, or paper: select on the test films, as its code did.", metavar="NAME"),
    ] = None,
    config: Annotated[
        Path | None,
        option(
            "--config",
            _FIXED,
            "Settings as YAML, such as a run's config.yaml; those of a PLAN's base: lie over them.",
            metavar="FILE",
        ),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        option(
            "--set", _FIXED, "Any setting of all runs; launcher.KEY=VALUE sets the launcher's.", metavar="KEY=VALUE"
        ),
    ] = None,
    search: Annotated[
        int | None,
        option("--search", _SEARCH, "Instead of the grid: so many trials, chosen by Optuna on validation films."),
    ] = None,
    ranges: Annotated[
        list[str] | None,
        option(
            "--range",
            _SEARCH,
            "A range to search: train.lr=1e-4..1e-2:log, model.depth=3..5. Factors above are choices.",
            metavar="KEY=LOW..HIGH[:log]",
        ),
    ] = None,
    launcher: Annotated[
        str,
        option("--launcher", _WHERE, "What runs them; see: cxrkit list launcher.", metavar="NAME", default="local"),
    ] = "local",
    workers: Annotated[int | None, option("--workers", _WHERE, "Runs side by side.", default="the launcher's")] = None,
    out: Annotated[
        Path | None,
        option(
            "--out", _FILES, "The ablation's folder; given again, it goes on.", metavar="DIR", default="ablations/NAME"
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        option(
            "--resume",
            _FILES,
            "Go on with an ablation or a search, by its own plan; --seeds adds seeds, --search N trials.",
            metavar="ABLATION",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="List what would run, time a few updates, and run nothing.", rich_help_panel=_FILES
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.", rich_help_panel=_FILES)] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress and no messages.", rich_help_panel=_FILES)
    ] = False,
) -> None:
    """Compare components: train every combination with every seed, and report what the differences are worth.

    A flag with several values is a factor, with one value it is fixed. Every run is an ordinary run directory. What is
    finished is never run again, what was stopped goes on, what fails is told at the end.

    cxrkit ablate --model unet,attn-unet,attn-bcdu --loss dice,focal-tversky --mixup 0,0.2 --train-size 10,20 --seeds 3
    """
    from cxrkit.cli.dry_run import show_runs, show_search
    from cxrkit.cli.loading import load_plugins
    from cxrkit.cli.planning import check_resuming, given_flags, launcher_settings, new_folder, plan_from_flags
    from cxrkit.cli.search import run_search, sought

    plugins = load_plugins()
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
        from cxrkit.data.sources import parse_source

        listed = {"model": model, "loss": loss, "mixup": mixup, "augment": augment}
        listed |= {"train_size": train_size, "size": size, "lr": lr}
        fixed = {"steps": steps, "test_size": test_size, "validation": validation, "protocol": protocol}
        over: dict[str, Any] = {key: value for key, value in fixed.items() if value is not None}
        if data is not None:
            over["data"] = parse_source(data, plugins.registry.components("dataset"))
        made = plan_from_flags(plan, config, listed, vary or (), exclude or (), seeds, over | setting)
        folder = out or new_folder(made.name)
        if search is not None or ranges:
            space = sought(made, ranges or (), search)
    if space is not None:
        begin = show_search if dry_run else run_search
        begin(space, trials, folder, launcher, launching, quiet=quiet, as_json=as_json)
    else:
        (show_runs if dry_run else _run)(made, folder, launcher, launching, quiet=quiet, as_json=as_json)


def _resumed(folder: Path, seeds: str | None) -> Plan:
    from cxrkit.ablation.growth import with_seeds
    from cxrkit.ablation.plan import read_plan
    from cxrkit.ablation.results import PLAN_FILE
    from cxrkit.cli.planning import parse_seeds_flag

    plan = read_plan(folder / PLAN_FILE)
    return plan if seeds is None else with_seeds(plan, parse_seeds_flag(seeds), folder)


def report(
    ablation: Annotated[Path, typer.Argument(metavar="ABLATION", help="Folder of an ablation.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no messages.")] = False,
) -> None:
    """Write an ablation's report again, finished or not: a page, Markdown, CSV, LaTeX and figures.

    The page (report/report.html) needs no other file. Per arm it has mean ± std over seeds and, apart, the spread over
    films; every pair of arms is compared by a paired test.
    """
    from cxrkit import comparisons
    from cxrkit.cli.progress import progress

    with progress(quiet=quiet) as observer:
        numbers = comparisons.report(ablation, observer=observer)
    _show(numbers.results, numbers, as_json=as_json, quiet=quiet)


def _run(plan: Plan, folder: Path, launcher: str, launching: dict[str, Any], *, quiet: bool, as_json: bool) -> None:
    from cxrkit import comparisons
    from cxrkit.cli.ablation_progress import ablation_progress
    from cxrkit.cli.console import say
    from cxrkit.cli.progress import progress

    if not quiet:
        arms = plan.arms()
        say(f"{plan.name}: {len(arms)} arms × {len(plan.seeds)} seeds in {folder}")
        if dict(plan.base).get("data", {}).get("name") == "phantom":
            say("The films are synthetic: scores say nothing about real ones.")
    with progress(quiet=quiet) as observer:
        listener = ablation_progress(observer, folder)
        results, numbers = comparisons.run_ablation(plan, folder, launcher, launching, listener, observer)
    _show(results, numbers, as_json=as_json, quiet=quiet)
    if failed := [run for run in results.runs if run.state == "failed"]:
        lines = [f"{run.arm.label}, seed {run.seed}: {run.error} (all it said: {run.log})" for run in failed]
        raise TrainingError(
            f"{len(failed)} of {len(results.runs)} runs failed.\n" + "\n".join(lines),
            f"The others are kept. Mend the cause, then: cxrkit ablate --resume {folder}",
        )


def _show(results: Results, numbers: Numbers | None, *, as_json: bool, quiet: bool) -> None:
    from cxrkit.cli.console import say, show, show_json
    from cxrkit.report.ablation import all_caveats, headline, report_files, seeds_table, summarise_ablation
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
        files = report_files(results.path)
        say("", f"Report: {files['page']} (also {', '.join(file.name for file in list(files.values())[1:])})")


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
