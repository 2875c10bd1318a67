"""A search's record: Optuna's study in a journal, which survives kills, and queries about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrkit.ablation.ranges import Space, read_space
from cxrkit.engine.sampling import derive_seed
from cxrkit.errors import ConfigError, DataError
from cxrkit.files import csv_text, storage_error, write_bytes

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

_JOURNAL = "search.journal"
#: The first trials are chosen at random and not pruned.
STARTUP_TRIALS = 5


def import_optuna() -> Any:
    """Optuna, silenced.

    Raises:
        ConfigError: it isn't installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise ConfigError("--search: Optuna isn't installed.", "Run: pip install 'cxrkit[search]'") from error
    import warnings

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return optuna


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """What each setting is drawn from."""
    kinds = import_optuna().distributions
    made: dict[str, BaseDistribution] = {}
    for factor in space.plan.factors:
        made[factor.name] = kinds.CategoricalDistribution([level.label for level in factor.levels])
    for span in space.ranges:
        kind = kinds.IntDistribution if span.whole else kinds.FloatDistribution
        made[span.key] = kind(span.low, span.high, log=span.log)
    return made


def open_study(space: Space, path: Path) -> Study:
    """The study in a search's folder, created if there is none.

    Raises:
        DataError: its record is damaged. StorageError: the folder can't be read or written to.
    """
    optuna = import_optuna()
    journal = path / _JOURNAL
    _forget_cut_line(journal)
    with guarded_record(path):
        study: Study = optuna.create_study(
            study_name=space.plan.name,
            storage=optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(journal))),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS),
            direction="maximize",
            load_if_exists=True,
        )
        # A search that is continued must not repeat its choices.
        seed = derive_seed(space.plan.seeds[0], "search", len(study.get_trials(deepcopy=False)))
        study.sampler = optuna.samplers.TPESampler(
            seed=seed % 2**32, n_startup_trials=STARTUP_TRIALS, constant_liar=True
        )
    return study


def _forget_cut_line(journal: Path) -> None:
    """Remove a last line that was cut off by a kill: what is appended to it would be lost too."""
    try:
        content = journal.read_bytes() if journal.is_file() else b""
        if content and not content.endswith(b"\n"):
            write_bytes(journal, content[: content.rfind(b"\n") + 1])
    except OSError as error:
        raise storage_error(journal, error) from error


@contextmanager
def guarded_record(path: Path) -> Iterator[None]:
    """Report a damaged or unsuitable record as our own error."""
    try:
        yield
    except OSError as error:
        raise storage_error(path / _JOURNAL, error) from error
    # Optuna reads its record unchecked: a damaged one may raise anything.
    except Exception as error:
        raise DataError(
            f"{path / _JOURNAL}: the record is damaged, or of another search ({type(error).__name__}: {error}).",
            f"Choose another --out; the runs made so far are kept in {path / 'runs'}.",
        ) from error


def count_ended(study: Study) -> int:
    """How many of its trials have ended, for whatever reason."""
    return sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))


def ended_trials(path: Path) -> int:
    """How many trials of a folder's search have ended.

    Raises:
        DataError: the search's record is damaged.
    """
    if not (path / _JOURNAL).is_file():
        return 0
    return count_ended(open_study(read_space(path)[0], path))


def trials_csv(trials: Sequence[FrozenTrial]) -> str:
    """A line for each trial: its state, score (of a pruned one the last), settings and error."""
    keys = list(dict.fromkeys(key for trial in trials for key in trial.params))
    rows: list[Sequence[object]] = []
    for trial in trials:
        last = max(trial.intermediate_values.values(), default=None)
        value = trial.value if trial.value is not None else last
        row = [trial.number, trial.state.name.lower(), "" if value is None else value]
        rows.append([*row, *(trial.params.get(key, "") for key in keys), trial.user_attrs.get("error", "")])
    return csv_text(["trial", "state", "validation_dice", *keys, "error"], rows)
