"""The kinds of components: one table, from which the hooks, the registry, `cxrkit list` and the test suites are made.

A new kind is a line here, a class in `cxrkit.interfaces`, and a file of checks in `cxrkit.testing` that bears the
kind's plural.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Kind:
    """A kind of component.

    Attributes:
        name: its name on the command line, such as `loss`.
        plural: `losses`; the hook `register_losses` and the checks in `cxrkit.testing.losses` are named after it.
        interface: the class in `cxrkit.interfaces` that its components derive from.
        factory: how cxrkit calls what a plugin registers.
        purpose: what its components are, in a few words.
        example: how the command line chooses the component NAME and sets its parameter KEY.
        setting: the part of a run's settings that chooses its component; "" if none does.
        many: whether that part is a list of components.
    """

    name: str
    plural: str
    interface: str
    factory: str
    purpose: str
    example: str
    setting: str = ""
    many: bool = False

    @property
    def hook(self) -> str:
        """The function that a plugin implements to register components of this kind."""
        return f"register_{self.plural}"

    @property
    def suite(self) -> str:
        """The module of the checks that its components must pass; its `CHECKS` lists them."""
        return f"cxrkit.testing.{self.plural}"

    def load_interface(self) -> type[Any]:
        """The class that its components derive from; imports torch."""
        found: type[Any] = getattr(importlib.import_module("cxrkit.interfaces"), self.interface)
        return found


_ABLATE = "cxrkit ablate --launcher NAME --set launcher.KEY=VALUE"

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            *("model", "models", "Model", "factory(channels, **parameters)", "segmentation networks"),
            *("cxrkit train --model NAME --set model.KEY=VALUE", "model"),
        ),
        Kind(
            *("loss", "losses", "Loss", "factory(**parameters)", "training losses"),
            *("cxrkit train --loss NAME --set loss.NAME.KEY=VALUE", "loss", True),
        ),
        Kind(
            *("augment", "augments", "Augment", "factory(**parameters)", "augmentations of a training batch"),
            *("cxrkit train --augment NAME --set augment.NAME.KEY=VALUE", "augment", True),
        ),
        Kind(
            *("dataset", "datasets", "Dataset", "factory(root, **parameters)", "sources of films and masks"),
            *("cxrkit train --data NAME --set data.KEY=VALUE", "data"),
        ),
        Kind(*("launcher", "launchers", "Launcher", "factory(**parameters)", "ways to run many trainings", _ABLATE)),
        Kind(
            *("logger", "loggers", "Logger", "factory(**parameters)", "dashboards that follow a training"),
            *("cxrkit train --logger NAME --set logger.NAME.KEY=VALUE", "logger", True),
        ),
        Kind(
            *("writer", "writers", "Writer", "factory(**parameters)", "what is written of a segmented film"),
            "cxrkit predict FILM.png --write NAME --set writer.NAME.KEY=VALUE",
        ),
        Kind(
            *("weights", "weights", "PretrainedWeights", "factory()", "trained networks, ready to use"),
            "cxrkit predict FILM.png --weights NAME",
        ),
    )
}

#: The parts of a run's settings that choose components, and the kind of each.
SETTINGS: dict[str, Kind] = {kind.setting: kind for kind in KINDS.values() if kind.setting}


def names_of_kinds() -> str:
    """The kinds as a sentence lists them."""
    *others, last = KINDS
    return f"{', '.join(others)} or {last}"
