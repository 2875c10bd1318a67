"""The loggers of a run: each follows it by itself, and none can end it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from cxrkit.config import ComponentConfig, RunConfig
from cxrkit.engine.observer import Observer
from cxrkit.errors import reason
from cxrkit.interfaces import Logger
from cxrkit.readings import Reading
from cxrkit.registry import Registry


class Loggers:
    """Passes a run's readings to its loggers; one that fails is reported and dropped.

    Raises:
        ConfigError: one can't work at all; says why.
    """

    def __init__(self, chosen: Sequence[ComponentConfig], registry: Registry, observer: Observer) -> None:
        self._observer, self._begun = observer, False
        self._loggers: dict[str, Logger] = {
            item.name: registry.get("logger", item.name).build(**item.params) for item in chosen
        }

    def begin(self, run: Path, config: RunConfig, step: int) -> None:
        """The training of a run begins, or continues after `step` updates."""
        self._begun = True
        settings = config.model_dump(mode="json")
        self._each(lambda logger: logger.begin(run, settings, step))

    def log(self, reading: Reading) -> None:
        """Pass on a reading."""
        self._each(lambda logger: logger.log(reading))

    def end(self) -> None:
        """The training ends, if it began."""
        if self._begun:
            self._each(lambda logger: logger.end())

    def _each(self, action: Callable[[Logger], None]) -> None:
        for name, logger in list(self._loggers.items()):
            try:
                action(logger)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # a dashboard that is down shouldn't cost a training
                del self._loggers[name]
                self._observer.say(f"The logger {name} failed, and the training continues without it: {reason(error)}")
