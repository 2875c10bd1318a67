"""Errors that a user can do something about: each says what is wrong and what to do.

The command line prints `what` and `remedy` without a traceback and exits with `exit_code`.
Anything that is not a `CxrkitError` is a defect of cxrkit or of a plugin and exits with 1.
"""

from __future__ import annotations

import difflib
import re
import reprlib
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
        what = shortened(what, 4000)
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


class DeclinedError(DataError):
    """A writer has nothing to write for a film, such as a DICOM object of a film that isn't DICOM; the rest stands."""


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


_values = reprlib.Repr()
_values.maxstring = _values.maxother = _values.maxlong = 100


#: Escapes and other control characters, those that change the direction of text, and halves of characters.
_STEERING = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def printable(text: str) -> str:
    """Text without what would steer a terminal; line breaks and tabs stay."""
    return _STEERING.sub(lambda found: ascii(found[0])[1:-1], text)


def shown(value: object) -> str:
    """A value in a message: as Python writes it, but no longer than a line."""
    try:
        return shortened(_values.repr(value), 300)
    except ValueError:  # a whole number with more digits than Python writes
        return f"a {type(value).__name__} that is too long to be shown"


def available(names: Iterable[str], label: str = "Available") -> str:
    """A sentence that lists names, or says that there are none."""
    listed = ", ".join(names)
    return f"{label}: {listed}." if listed else "None is installed."


def shortened(text: str, length: int) -> str:
    """A text without its middle if it is longer than about `length` characters."""
    half = length // 2
    return text if len(text) <= length + 40 else f"{text[:half]} [... {len(text) - 2 * half:,} more ...] {text[-half:]}"


def reason(error: BaseException) -> str:
    """What an exception of other code says, with its class, in a line; some can't even be printed."""
    try:
        text = " ".join(str(error).split())
    except BaseException as failure:
        text = f"(its message can't be shown: {type(failure).__name__})"
    return shortened(f"{type(error).__name__}: {text}" if text else type(error).__name__, 1000)


@contextmanager
def located(where: object) -> Iterator[None]:
    """Let errors for the user begin with where they occurred: a file, or an arm of an ablation."""
    try:
        yield
    except CxrkitError as error:
        error.what = f"{where}: {error.what}"
        raise


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint of the form `Did you mean 'a' or 'b'? ` for a mistyped name in any case; empty if nothing is near."""
    spelt = {each.lower(): each for each in known}
    near = difflib.get_close_matches(name.lower(), spelt, n=3, cutoff=0.5)
    if not near:
        return ""
    return "Did you mean " + " or ".join(f"'{spelt[n]}'" for n in near) + "? "
