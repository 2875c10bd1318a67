"""A run from Python: `train` a network, `evaluate` it, `prepare` and `check` its films.

Trained networks at work are in `cxrkit.inference`, scores of other weights in `cxrkit.scoring`, ablations in
`cxrkit.comparisons`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cxrkit.config import DataConfig, RunConfig, anchored, demo_settings, make_config, resolve
from cxrkit.data.check import Finding, check_datasets
from cxrkit.data.sources import parse_data
from cxrkit.data.store import Store
from cxrkit.engine import evaluate as judging
from cxrkit.engine.batches import build_augments, sampler_of
from cxrkit.engine.films import (
    build_datasets,
    check_places,
    prepare_films,
    prepare_store,
    report_unwatched,
    with_films_as_taken,
)
from cxrkit.engine.hardware import check_processes, make_fabric
from cxrkit.engine.loop import STEADIER
from cxrkit.engine.objective import build_loss
from cxrkit.engine.observer import Observer, Silent
from cxrkit.engine.own_training import check_adversaries
from cxrkit.engine.postprocessing import Choice
from cxrkit.engine.rehearsal import Rehearsal
from cxrkit.engine.run import RunDirectory
from cxrkit.engine.scores import Evaluation
from cxrkit.engine.starting import read_start
from cxrkit.engine.train import train as run_training
from cxrkit.engine.unlabelled import find_unlabelled
from cxrkit.errors import (
    ConfigError,
    CxrkitError,
    NotFiniteError,
    StorageError,
    TrainingError,
    TrainingInterruptedError,
)
from cxrkit.files import write_text
from cxrkit.plugins import registry
from cxrkit.processes import RUN_VARIABLE, STARTED_PROCESSES, is_first_process
from cxrkit.report.panels import choose_panels, of_store
from cxrkit.report.write import write_report
from cxrkit.yaml_text import read_yaml


@dataclass(frozen=True)
class TrainedRun:
    """A finished run: its folder, and its scores on the test films (None if there are none)."""

    path: Path
    evaluation: Evaluation | None


def train(
    config: RunConfig | Mapping[str, Any] | Path | str | None = None,
    *,
    data: DataConfig | Path | str | Sequence[DataConfig | Path | str] | None = None,
    out: Path | str | None = None,
    resume: Path | str | None = None,
    score: bool = True,
    observer: Observer | None = None,
) -> TrainedRun:
    """Train a network, score it on the test part, and write the run's report.

    Args:
        config: what to train: a configuration, settings that differ from the defaults, or a YAML file; by default
            the demonstration on synthetic radiographs.
        data: the films to train on instead of the configuration's, from one place or several: paths, text as for
            `--data` (a folder, a dataset's name, `NAME:FOLDER`), or a `DataConfig` for a dataset with parameters.
        out: the run's folder, new or empty; by default a new one below `runs/`.
        resume: continue with this run instead; its own configuration applies.
        score: whether the test films are scored at the end; a search must not score them.
        observer: is informed of the progress.

    Raises:
        CxrkitError: bad settings, films, plugins or disk; its class and text say which, and what to do.
    """
    components = registry()
    if resume is not None:
        if config is not None or out is not None or data is not None:
            raise ConfigError("--resume continues a run with its own settings.", "Leave out all others.")
        run = RunDirectory.open(Path(resume))
        check_places(run.config(), run.config_file)
        check_processes(run.config().train)
    else:
        asked = _as_config(config if data is None or config is not None else {})
        other = {} if data is None else {"data": parse_data(data, components.components("dataset"))}
        chosen = anchored(resolve(asked.model_copy(update=other), components))
        check_processes(chosen.train)
        run = _begin(chosen, out)
    try:
        films = run_training(run, components, observer)
    except StorageError as error:
        _add_next_step(error, f"Then continue with: cxrkit train --resume {run.path}")
        raise
    except TrainingInterruptedError:
        raise
    except BaseException:  # Ctrl-C and plugins' own errors too
        # Perhaps the flags must be corrected: leave the folder free for the next attempt.
        if resume is None and is_first_process():
            run.discard()
        raise
    judged = score and bool(films.split.test) and is_first_process()
    return TrainedRun(run.path, _judge(run, observer) if judged else None)


def check_training(config: RunConfig, out: Path | str | None = None, observer: Observer | None = None) -> None:
    """Raise what `train` would raise up to its first step: the films are prepared, and noise makes an update.

    Only too little memory for the batch isn't found.

    Args:
        config, out, observer: as in `train`.

    Raises:
        CxrkitError: as `train`.
    """
    listener, components = observer or Silent(), registry()
    chosen = anchored(resolve(config, components))
    RunDirectory(Path(out) if out else Path("runs", "new")).check_free()
    fabric = make_fabric(chosen.train)
    start = read_start(chosen.train.init, components) if chosen.train.init else None
    films = prepare_films(chosen, components, listener)
    augments = build_augments(chosen.augment, components)
    sampler_of(chosen, films, augments, fabric.world_size)
    films = with_films_as_taken(films, chosen, augments, components, listener)
    report_unwatched(films, listener)
    unlabelled = find_unlabelled(chosen, films, listener)
    loss = build_loss(chosen.loss, components, films.channels)
    check_adversaries(loss, chosen.loss, films, pseudo_labels=unlabelled is not None)
    # Two films behave as any larger batch does, except for the memory that they take.
    batch_size = min(chosen.train.batch_size, 2)
    training = chosen.train.model_copy(update={"devices": 1, "num_nodes": 1, "batch_size": batch_size})
    one = chosen.model_copy(update={"structures": list(films.store.structures), "train": training})
    Rehearsal(one, components, padded=True, labelled=films.incomplete, start=start, observer=listener).update()


def _judge(run: RunDirectory, observer: Observer | None) -> Evaluation:
    """The scores of a run that has just been trained; an error says that the training itself is saved."""
    again = f"The training is finished and saved; score it with: cxrkit evaluate {run.path}"
    try:
        if run.config().train.protocol == "paper":
            # Beside the scores of weights that the test films chose themselves, those of a choice without them.
            evaluate(run.path, checkpoint="last", observer=observer)
        return evaluate(run.path, observer=observer)
    except KeyboardInterrupt:
        raise TrainingInterruptedError("Stopped while the test films were scored.", again) from None
    except NotFiniteError as error:
        raise TrainingError(f"The training diverged: {error.what}", STEADIER) from error
    except CxrkitError as error:
        _add_next_step(error, again)
        raise


def _add_next_step(error: CxrkitError, step: str) -> None:
    error.remedy = f"{error.remedy} {step}".lstrip()


def _as_config(config: RunConfig | Mapping[str, Any] | Path | str | None) -> RunConfig:
    if isinstance(config, RunConfig):
        return config
    given = demo_settings() if config is None else config
    return make_config(read_yaml(Path(given)) if isinstance(given, str | Path) else given)


def _begin(config: RunConfig, out: Path | str | None) -> RunDirectory:
    """A new run; in the further processes of a distributed training, the one that the first process has created.

    Raises:
        ConfigError: the folder is taken, or its name isn't known to all. DataError: it wasn't created within a minute.
    """
    folder = os.environ.get(RUN_VARIABLE) or out
    if folder is None and STARTED_PROCESSES not in (None, "1"):
        raise ConfigError("torchrun's processes need to know the run's folder.", "Name it: --out FOLDER.")
    if is_first_process():
        run = RunDirectory.create(Path(out), config) if out else RunDirectory.create_named(config)
        os.environ[RUN_VARIABLE] = str(run.path.resolve())
        return run
    if folder is None:
        raise ConfigError(
            "RANK, LOCAL_RANK or NODE_RANK say that this is a further process of a training, but not of which run.",
            "Name the run's folder: --out FOLDER; or unset these variables.",
        )
    deadline = time.monotonic() + 60
    while not (Path(folder) / "config.yaml").is_file() and time.monotonic() < deadline:
        time.sleep(0.1)
    return RunDirectory.open(Path(folder))


def evaluate(
    run: Path | str,
    *,
    part: judging.Part = "test",
    checkpoint: Literal["auto", "best", "last"] = "auto",
    data: DataConfig | Path | str | Sequence[DataConfig | Path | str] | None = None,
    structures: Sequence[str] | None = None,
    postprocess: Choice = None,
    device: str = "auto",
    observer: Observer | None = None,
) -> Evaluation:
    """Score a run's network; results go to its `evaluation/` and `report/`. Other weights, and masks: `cxrkit.score`.

    Args:
        run: the run's folder.
        part: the part of the run's own split.
        checkpoint: `best` on validation, `last`, or `auto`: the best, if there is one.
        data: as in `train`: score these films instead, without those that the network was trained or validated on.
        structures: of other data: only these; by default all that the network and the data both have.
        postprocess: of the scores "after", as in `cxrkit.load`; or "auto": the best on validation films, which is kept.
        device: as in training.
        observer: is informed of the progress.

    Raises:
        CxrkitError: no such run, weights or films.
    """
    directory = RunDirectory.open(Path(run))
    if data is None:
        check_places(directory.config(), directory.config_file)
    other = None if data is None else parse_data(data, registry().components("dataset"))
    how: dict[str, Any] = {"structures": structures, "postprocess": postprocess, "device": device, "observer": observer}
    evaluation, store, predictor = judging.evaluate_run(
        directory, registry(), part=part, checkpoint=checkpoint, data=other, **how
    )
    for suffix, text in (("json", evaluation.model_dump_json(indent=1) + "\n"), ("csv", evaluation.to_csv())):
        write_text(directory.evaluation / f"{evaluation.stem}-{evaluation.weights}.{suffix}", text)
    write_report(directory, evaluation, choose_panels(evaluation, of_store(store, predictor)))
    return evaluation


def prepare(config: RunConfig, observer: Observer | None = None) -> Store:
    """The preprocessed films that a configuration describes, made now or found in the cache and verified."""
    return prepare_store(resolve(config, registry()), registry(), observer or Silent(), verify=True)


def check(config: RunConfig, observer: Observer | None = None) -> list[Finding]:
    """Read every film and mask that a configuration names, and report what is wrong with them."""
    listener, missing = observer or Silent(), {item.alias or "": item.missing for item in config.datasets}

    def progress(done: int, total: int) -> None:
        # The films are counted by the check, which takes the dataset's warnings on listing them as findings.
        if done == 0:
            listener.stage("Checking films", total)
        else:
            listener.advance(done)

    datasets = build_datasets(resolve(config, registry()), registry())
    return check_datasets(datasets, config.structures, progress, missing)
