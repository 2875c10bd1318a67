"""`cxrkit train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cxrkit.cli.flags import FILES, Flags, json_flag, option, quiet_flag, takes
from cxrkit.cli.settings import choose_settings
from cxrkit.errors import ConfigError
from cxrkit.processes import is_first_process

if TYPE_CHECKING:
    from cxrkit.api import TrainedRun


@takes(components=Flags("model loss augment", shorthands=True), others=Flags())
def train(
    *,
    components: dict[str, Any],
    data: Annotated[
        list[str] | None,
        option(
            "--data",
            "A folder or file that a dataset recognises (images/ and masks/<structure>/, a CSV, ...), a dataset, or "
            "NAME:PLACE. May be repeated: a structure that one doesn't annotate is unknown there.",
            "Films",
            metavar="PLACE|NAME",
            default="synthetic films, with a demonstration's settings",
        ),
    ] = None,
    structures: Annotated[
        str | None,
        option(
            "--structures",
            "Structures to segment, separated by commas.",
            "Films",
            metavar="A,B",
            default="all that the data has",
        ),
    ] = None,
    others: dict[str, Any],
    out: Annotated[
        Path | None,
        option("--out", "Folder of the run, new or empty.", FILES, metavar="DIR", default="runs/MODEL-LOSS-NUMBER"),
    ] = None,
    preset: Annotated[
        str | None,
        option(
            "--preset",
            "Settings that belong together: small-data for about 10 to 50 films. --config and flags override it.",
            "What to train",
            metavar="NAME",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        option("--config", "Settings as YAML, such as a run's config.yaml; flags override it.", FILES, metavar="FILE"),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        option(
            "--set",
            "Any setting: model.depth=3, preprocess.clahe=null. May be repeated; overrides everything else.",
            FILES,
            metavar="KEY=VALUE",
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        option("--resume", "Continue a run that was stopped, with its own settings.", FILES, metavar="RUN"),
    ] = None,
    no_score: Annotated[
        bool,
        option("--no-score", "Don't score the test films; do it later with cxrkit evaluate.", FILES),
    ] = False,
    dry_run: Annotated[
        bool,
        option(
            "--dry-run",
            "Prepare the films, check everything up to the first step, and print the whole configuration as YAML.",
            FILES,
        ),
    ] = False,
    as_json: Annotated[bool, json_flag("the scores", FILES)] = False,
    quiet: Annotated[bool, quiet_flag(FILES)] = False,
) -> None:
    """Train a network, score it on the test films, and write a report.

    Without data it trains on built-in synthetic radiographs, as a demonstration:

    cxrkit train --model attn-bcdu --loss focal-tversky --mixup 0.2
    """
    from cxrkit.cli.console import say, show
    from cxrkit.cli.loading import load_plugins
    from cxrkit.cli.progress import progress
    from cxrkit.config import resolve, to_yaml

    values, registry = components | others, load_plugins().registry
    chosen = None
    if resume is not None:
        more = {"data": data, "structures": structures, "out": out, "preset": preset, "config": config}
        _refuse_others(values | more | {"set": assignments, "dry_run": dry_run or None})
    else:
        choices = choose_settings(
            values,
            datasets=registry.components("dataset"),
            preset=preset,
            file=config,
            assignments=assignments or (),
            data=data or (),
            structures=structures,
        )
        chosen = choices.config
        if dry_run:
            from cxrkit import api

            with progress(quiet=quiet) as observer:
                api.check_training(chosen, out, observer)
            show(to_yaml(resolve(chosen, registry)).rstrip("\n"))
            return
        if choices.demonstration and not quiet:
            say(
                "No --data was given: training on built-in synthetic radiographs, with settings for a demonstration "
                "(--dry-run shows them). The scores say nothing about real films."
            )
    from cxrkit import api  # not before: it imports torch

    with progress(quiet=quiet) as observer:
        trained = api.train(chosen, out=out, resume=resume, score=not no_score, observer=observer)
    if is_first_process():
        _report(trained, scored=not no_score, quiet=quiet, as_json=as_json)


def _refuse_others(given: dict[str, Any]) -> None:
    named = [f"--{name.replace('_', '-')}" for name, value in given.items() if value not in (None, [])]
    if named:
        raise ConfigError(
            f"--resume continues a run with its own settings, which {', '.join(named)} would change.",
            "Leave these flags out, or use them with --config RUN/config.yaml to train a new run.",
        )


def _report(trained: TrainedRun, *, scored: bool, quiet: bool, as_json: bool) -> None:
    from cxrkit.cli.console import say
    from cxrkit.cli.results import show_scores

    show_scores(trained.path, trained.evaluation, as_json=as_json)
    if quiet:
        return
    if trained.evaluation is None:
        say("There are no test films, so nothing was scored." if scored else "The test films were not scored.")
    else:
        report = trained.path / "report"
        say("", f"Report: {report / 'table.md'}, {report / 'curves.png'}, {report / 'overlays.png'}")
    say(
        "Try next:",
        f"  cxrkit predict FILM.png --weights {trained.path}",
        f"  cxrkit evaluate {trained.path} --data FOLDER",
    )
