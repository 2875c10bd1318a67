"""Errors that a user can do something about: each says what is wrong and what to do.

The command line prints `what` and `remedy` without a traceback and exits with `exit_code`.
Anything that is not a `CxrkitError` is a defect of cxrkit or of a plugin and exits with 1.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class CxrkitError(Exception):
    """Base class of all errors that are meant for the user.

    Args:
        what: one sentence that names the file, option or component and what is wrong with it.
        remedy: what to do about it, as an imperative sentence; may be empty.
    """

    exit_code = 1

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what, remedy)
        self.what = what
        self.remedy = remedy

    def __str__(self) -> str:
        """What is wrong, and below it what to do."""
        return f"{self.what}\n{self.remedy}" if self.remedy else self.what


class ConfigError(CxrkitError):
    """A wrong option, configuration file or `--set`."""

    exit_code = 2


class DataError(CxrkitError):
    """A film, mask, split or store that can't be used."""

    exit_code = 3


class NotFiniteError(DataError):
    """Weights that give values that aren't finite, as those of a training that diverged do."""


class PluginError(CxrkitError):
    """An unknown, broken or clashing component or plugin."""

    exit_code = 4


class ContractError(PluginError):
    """A component that broke its contract: what was expected, what it got, what to do."""


class TrainingError(CxrkitError):
    """Training can't continue (because the loss isn't finite, say)."""

    exit_code = 5


class AnotherEndedError(TrainingError):
    """Another of a training's processes ended; it says why, unless it was killed."""


class TrainingInterruptedError(CxrkitError):
    """Training was asked to stop (Ctrl-C); everything is saved."""

    exit_code = 130


class StorageError(CxrkitError):
    """A file or folder that can't be written or read: full, read-only, missing."""

    exit_code = 6


@contextmanager
def located(where: object) -> Iterator[None]:
    """Let errors for the user begin with where they occurred: a file, or an arm of an ablation."""
    try:
        yield
    except CxrkitError as error:
        error.what = f"{where}: {error.what}"
        raise


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint of the form `Did you mean 'a' or 'b'? ` for a mistyped name; empty if nothing is near."""
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    if not near:
        return ""
    return "Did you mean " + " or ".join(f"'{n}'" for n in near) + "? "
