"""How long work reports its progress, without knowing who listens."""

from __future__ import annotations

from typing import Protocol


class Observer(Protocol):
    """Receives the engine's progress; the command line shows a bar, a notebook may show nothing."""

    def stage(self, name: str, total: int) -> None:
        """A stage of `total` units begins; the one before has ended."""

    def advance(self, done: int, note: str = "") -> None:
        """`done` units of the stage are finished; `note` is a short reading such as the loss."""

    def say(self, message: str) -> None:
        """Something that the user should read now."""


class Silent:
    """An observer that shows nothing."""

    def stage(self, name: str, total: int) -> None:
        """Ignore."""

    def advance(self, done: int, note: str = "") -> None:
        """Ignore."""

    def say(self, message: str) -> None:
        """Ignore."""
