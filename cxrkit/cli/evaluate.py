"""`cxrkit evaluate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cxrkit.cli.completion import weights as any_weights
from cxrkit.cli.flags import DeviceFlag, Labels, MaskThreshold, Quiet, json_flag, option, parse_labels

#: Some films could not be used; the others are scored.
_SOME_FAILED = 3


def evaluate(
    scored: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN|FILE|NAME...",
            help="What to score: a trained run's folder, or with --data any weights: also a file, an exported network, "
            "or a name (cxrkit list weights). Several are scored side by side.",
            show_default=False,
            autocompletion=any_weights,
        ),
    ] = None,
    weights: Annotated[
        list[str] | None,
        option(
            "--weights",
            "On other data: given several times, these are scored as one network, by the mean of their probabilities.",
            metavar="RUN|FILE|NAME",
        ),
    ] = None,
    tta: Annotated[
        bool, typer.Option("--tta", help="On other data: average over small changes of each film, as predict does.")
    ] = False,
    part: Annotated[
        Literal["test", "validation", "train"],
        typer.Option(help="Part of the run's own films to score, or of --split."),
    ] = "test",
    checkpoint: Annotated[
        Literal["auto", "best", "last"],
        typer.Option(help="A run's weights: best (chosen in training), last, or auto: best if there are any."),
    ] = "auto",
    data: Annotated[
        list[str] | None,
        option(
            "--data",
            "Score other data instead, such as another hospital's, without films used in a run's training or "
            "validation. May be repeated.",
            metavar="PLACE|NAME|NAME:PLACE",
            default="the run's own",
        ),
    ] = None,
    masks: Annotated[
        list[Path] | None,
        option(
            "--masks",
            "Score masks that another tool or a person drew: a folder of FILM/STRUCTURE.png or STRUCTURE/FILM.png, or "
            "with --labels of FILM.png. May be repeated.",
            metavar="FOLDER",
        ),
    ] = None,
    labels: Labels = None,
    mask_threshold: MaskThreshold = None,
    structures: Annotated[
        str | None,
        option(
            "--structures",
            "Score only these.",
            metavar="NAME,NAME",
            default="all that the data and what is scored have in common",
        ),
    ] = None,
    split: Annotated[
        Path | None,
        option("--split", "Score only those films of --data that are in --part of a run's split.json.", metavar="FILE"),
    ] = None,
    full_size: Annotated[
        bool,
        typer.Option(
            "--full-size",
            help="Score a single run too at the films' own size, as weights and masks are, not at the network's.",
        ),
    ] = False,
    tolerance: Annotated[
        float | None,
        option(
            "--tolerance",
            "NSD's tolerance, where the films' own size is the resolution.",
            metavar="MM",
            default="2",
            min=0,
        ),
    ] = None,
    assignments: Annotated[
        list[str] | None, option("--set", "A parameter of the other data's dataset.", metavar="data.KEY=VALUE")
    ] = None,
    postprocess: Annotated[
        str | None,
        option(
            "--postprocess",
            "What is done to masks for the scores after post-processing (cxrkit list postprocess); auto: what gives "
            "a run the best Dice on its validation films, which is then stored with the weights and used by predict.",
            metavar="NAME|auto",
            default="as stored with the weights, or one-piece",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        option(
            "--out",
            "A folder for the tables, pictures, and scores film by film.",
            metavar="FOLDER",
            default="a single run's own; otherwise none is written",
        ),
    ] = None,
    device: DeviceFlag = "auto",
    as_json: Annotated[bool, json_flag("all scores, including those of each film,")] = False,
    quiet: Quiet = False,
) -> None:
    """Score a run's network, by the honest and the paper's protocol; or any weights and masks on other data.

    A run's results go to its evaluation/ (a line per film) and report/, and are at the network's resolution. Other
    weights, masks, and several at once are scored at the films' own size, on the structures that the data has too, by
    the honest protocol. A film that can't be used is reported and left out; the exit code is then 3.
    """
    from cxrkit.cli.loading import load_plugins
    from cxrkit.cli.settings import names_of, parse_other_data
    from cxrkit.errors import ConfigError

    plugins = load_plugins()
    named, drawn = scored or [], masks or []
    if not named and not drawn and not weights:
        raise ConfigError(
            "There is nothing to score.",
            "Name a run, or with --data any weights, or --masks FOLDER: cxrkit evaluate RUN.",
        )
    if not data:
        for given, flag in ((assignments, "--set"), (structures, "--structures"), (split, "--split")):
            if given:
                raise ConfigError(f"{flag} was given without --data.", "A run's own films are scored as in training.")
        for other in (
            "--masks" if drawn else "",
            "--weights" if weights else "",
            "--tta" if tta else "",
            "--full-size" if full_size else "",
            "--out" if out else "",
        ):
            if other:
                raise ConfigError(f"{other} was given without --data.", "Name the films to score: --data PLACE.")
    elif part != "test" and split is None:
        raise ConfigError(
            f"--data and --part {part} were both given.",
            "Other data has no parts: leave out --part, or name a run's split.json: --split FILE.",
        )
    if not drawn and (labels or mask_threshold is not None):
        raise ConfigError("--labels and --mask-threshold say how masks are read.", "Name them: --masks FOLDER.")
    source = parse_other_data(data, assignments or (), plugins.registry.components("dataset")) if data else None
    asked = None if structures is None else names_of(structures)
    chosen: dict[str, Any] = {"part": part, "checkpoint": checkpoint, "postprocess": postprocess, "device": device}
    alone = len(named) == 1 and not (drawn or weights or tta or full_size or split or out)
    at_network_size = alone and Path(named[0]).is_dir()
    if tolerance is not None and (source is None or at_network_size):
        raise ConfigError("--tolerance: at a network's resolution it is 2 mm.", "Add --full-size, with --data PLACE.")
    if source is None or at_network_size:
        _check_runs(named, plugins.registry.names("weights"))
        _score_runs(named, {"data": source, "structures": asked, **chosen}, as_json=as_json, quiet=quiet)
        return
    if postprocess == "auto":
        raise ConfigError(
            "--postprocess auto is chosen on a run's own validation films.",
            "Choose it for each run alone: cxrkit evaluate RUN --postprocess auto. It is stored with the weights.",
        )
    chosen |= {"data": source, "masks": drawn, "labels": parse_labels(labels), "mask_threshold": mask_threshold}
    chosen |= {"structures": asked, "split": split, "tolerance": tolerance, "out": out}
    chosen |= {"weights": [*named, *([weights] if weights else [])], "tta": tta}
    _score_at_full_size(chosen, as_json=as_json, quiet=quiet)


def _score_runs(named: Sequence[str], chosen: Mapping[str, Any], *, as_json: bool, quiet: bool) -> None:
    """Score runs at their networks' resolution."""
    from cxrkit import api
    from cxrkit.cli.console import say
    from cxrkit.cli.progress import progress
    from cxrkit.cli.results import show_comparison, show_scores

    with progress(quiet=quiet) as observer:
        found = {run: api.evaluate(run, observer=observer, **chosen) for run in named}
    if len(found) == 1:
        show_scores(Path(named[0]), found[named[0]], as_json=as_json)
    else:
        show_comparison(found, (), as_json=as_json)
    for run in [] if quiet else map(Path, found):
        say("", f"Film by film: {run / 'evaluation'}; tables and pictures: {run / 'report'}")


def _score_at_full_size(chosen: Mapping[str, Any], *, as_json: bool, quiet: bool) -> None:
    """Score weights and masks at the films' own size."""
    from cxrkit import scoring
    from cxrkit.cli.console import print_error, say
    from cxrkit.cli.progress import progress
    from cxrkit.cli.results import show_comparison
    from cxrkit.errors import DataError

    with progress(quiet=quiet) as observer:
        found = scoring.score(observer=observer, **chosen)
    show_comparison({one.weights: one for one in found.evaluations}, found.failures, as_json=as_json)
    for failure in found.failures:
        print_error(DataError(failure.what, failure.remedy))
    if chosen["out"] is not None and not quiet:
        say("", f"Film by film, tables and pictures: {chosen['out']}")
    if found.failures:
        raise typer.Exit(_SOME_FAILED)


def _check_runs(named: Sequence[str], provided: Sequence[str]) -> None:
    """Make sure that what is scored without --data isn't a file or a name of weights: only a run has films."""
    from cxrkit.errors import ConfigError

    for name in named:
        if Path(name).is_file() or (name in provided and not Path(name).exists()):
            raise ConfigError(
                f"{name}: weights without a run have no films of their own.",
                f"Name films to score them on: cxrkit evaluate {name} --data PLACE.",
            )
