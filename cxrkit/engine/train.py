"""Training a run: its films, its record and its lock, around the loop of `loop.py`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import torch

from cxrkit.config import RunConfig
from cxrkit.engine.batches import build_augments
from cxrkit.engine.capture import is_compiler_error
from cxrkit.engine.films import Films, prepare_films, report_unwatched, with_films_as_taken
from cxrkit.engine.hardware import another_is_gone, is_emulated, make_fabric
from cxrkit.engine.interrupts import stop_requests
from cxrkit.engine.loop import TrainingLoop
from cxrkit.engine.observer import Observer, Silent
from cxrkit.engine.provenance import (
    check_fingerprint,
    check_plugins,
    check_start,
    check_unlabelled,
    collect_provenance,
    note_changes,
)
from cxrkit.engine.run import Provenance, RunDirectory
from cxrkit.engine.starting import Start, read_start, report_seen
from cxrkit.engine.unlabelled import find_unlabelled
from cxrkit.errors import AnotherEndedError, ConfigError, TrainingError, TrainingInterruptedError
from cxrkit.files import locked, sweep
from cxrkit.registry import Registry

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def train(run: RunDirectory, registry: Registry, observer: Observer | None = None) -> Films:
    """Train what a run's configuration describes, from its last saved state if it has one.

    Returns the run's films, whose test part nothing here has looked at (except under `protocol: paper`).

    Raises:
        DataError: films that can't be used, or too few.
        TrainingError: a loss that isn't finite, no memory, or one of several processes ended.
        TrainingInterruptedError: Ctrl-C; the state is saved. StorageError: the disk is full.
        ConfigError: another process trains this run.
    """
    config = run.config()
    check_plugins(run, config, registry)
    fabric = make_fabric(_as_begun(run, config).train)
    with _noticing_others(fabric, run):
        fabric.launch()
    busy = ConfigError(f"{run.path}: another process trains this run.", "Wait for it, or stop it first.")
    # The first process holds the run for all of them. Its configuration is the one file that is always there.
    with locked(run.config_file, busy) if fabric.is_global_zero else nullcontext(), _noticing_others(fabric, run):
        if fabric.is_global_zero:
            sweep(run.path.rglob(".*"))
        return _train(run, config, registry, fabric, observer)


@contextmanager
def _noticing_others(fabric: Fabric, run: RunDirectory) -> Iterator[None]:
    """Let an error that another process's end causes here say so."""
    try:
        yield
    except RuntimeError as error:
        if fabric.world_size == 1 or not another_is_gone(error):
            raise
        raise AnotherEndedError(
            f"Another of the {fabric.world_size} processes that train {run.path} ended.",
            "If it gives no reason here, it was killed, perhaps for memory. Continue from the last saved state: "
            f"cxrkit train --resume {run.path}",
        ) from error


def _train(
    run: RunDirectory, config: RunConfig, registry: Registry, fabric: Fabric, observer: Observer | None
) -> Films:
    listener: Observer = observer if observer is not None and fabric.is_global_zero else Silent()
    start = None if run.state_file.is_file() or not config.train.init else read_start(config.train.init, registry)
    if not fabric.is_global_zero:
        fabric.barrier()  # the first process makes the store, the others find it made
    try:
        films = prepare_films(run.with_own_split(config), registry, listener)
        films = with_films_as_taken(films, config, build_augments(config.augment, registry), registry, listener)
        report_unwatched(films, listener)
        unlabelled = find_unlabelled(config, films, listener)
        if start is not None:
            report_seen(start, config, films, listener)
    except KeyboardInterrupt:
        raise TrainingInterruptedError(
            "Stopped before the first step.", f"Begin again with: cxrkit train --resume {run.path}"
        ) from None
    if fabric.is_global_zero:
        fabric.barrier()
        if not run.split_file.is_file():
            films.split.save(run.split_file)
        begun = _as_begun(run, config)
        _record(
            run, collect_provenance(begun, registry, films, unlabelled, start, fabric.device), films, start, listener
        )
        if is_emulated(config.train.precision, fabric.device):
            listener.say(f"This {fabric.device.type} emulates bf16, which takes many times as long as --precision 32.")
    try:
        with stop_requests() as stop:
            loop = TrainingLoop(run, config, registry, films, unlabelled, fabric, listener, start)
            try:
                loop.go(stop)
            finally:
                loop.loggers.end()
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"The {fabric.device.type} device ran out of memory.",
            "Start a new run with a smaller --batch-size or --size.",
        ) from error
    except Exception as error:
        if config.train.compile != "on" or not is_compiler_error(error):
            raise
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"--compile on: this network can't be compiled here: {reason}",
            "Use --compile auto or off. Compiling needs a C++ compiler (g++), and on CUDA Triton.",
        ) from error
    return films


def _as_begun(run: RunDirectory, config: RunConfig) -> RunConfig:
    """The configuration with the precision that `auto` meant where the run began."""
    if config.train.precision != "auto" or not (run.path / "provenance.json").is_file():
        return config
    return config.model_copy(
        update={"train": config.train.model_copy(update={"precision": run.provenance().precision})}
    )


def _record(run: RunDirectory, record: Provenance, films: Films, start: Start | None, listener: Observer) -> None:
    """Save where the numbers of a new run come from; of one that continues, make sure that they come from there."""
    if (run.path / "provenance.json").is_file():
        check_fingerprint(run, films)
        if start is not None:
            check_start(run, start)
        check_unlabelled(run, record.unlabelled)
        if changed := note_changes(run, record):
            listener.say(
                f"The run continues in a different environment, which can change its numbers: {'; '.join(changed)}."
            )
    else:
        run.save_provenance(record)
