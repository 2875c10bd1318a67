"""The kinds of components: one table, from which the hooks, the registry, `cxrkit list` and the test suites are made.

A new kind is an entry here, a class in `cxrkit.interfaces` or `cxrkit.services`, and a file of checks in
`cxrkit.testing` that is named by the plural.
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
        interface: the public class of cxrkit that its components derive from.
        purpose: what its components are, in a few words.
        section: the section of a run's settings that chooses its component; "" if none does.
        many: whether that section is a list of components.
        factory: how cxrkit calls what a plugin registers.
        use: how the command line chooses the component NAME and sets its parameter KEY, where no section does.
    """

    name: str
    plural: str
    interface: str
    purpose: str
    section: str = ""
    many: bool = False
    factory: str = "factory(**parameters)"
    use: str = ""

    @property
    def example(self) -> str:
        """How the command line chooses the component NAME and sets its parameter KEY."""
        key = f"{self.section}.NAME.KEY" if self.many else f"{self.section}.KEY"
        return self.use or f"cxrkit train --{self.section} NAME --set {key}=VALUE"

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
        found: type[Any] = getattr(importlib.import_module("cxrkit"), self.interface)
        return found


_TABLE = (
    Kind("model", "models", "Model", "segmentation networks", "model", factory="factory(channels, **parameters)"),
    Kind("loss", "losses", "Loss", "training losses", "loss", many=True),
    Kind("augment", "augments", "Augment", "augmentations of a training batch", "augment", many=True),
    Kind("dataset", "datasets", "Dataset", "sources of films and masks", "data", factory="factory(root, **parameters)"),
    Kind(
        "launcher",
        "launchers",
        "Launcher",
        "ways to run many trainings",
        use="cxrkit ablate --launcher NAME --set launcher.KEY=VALUE",
    ),
    Kind("logger", "loggers", "Logger", "dashboards that follow a training", "logger", many=True),
    Kind(
        "writer",
        "writers",
        "Writer",
        "files that are written for a segmented film",
        use="cxrkit predict FILM.png --write NAME --set writer.NAME.KEY=VALUE",
    ),
    Kind(
        "postprocess",
        "postprocesses",
        "Postprocess",
        "what is done to masks after the threshold",
        use="cxrkit predict FILM.png --postprocess NAME --set postprocess.KEY=VALUE",
    ),
    Kind(
        "exporter",
        "exporters",
        "Exporter",
        "formats in which networks leave cxrkit",
        factory="factory()",
        use="cxrkit export RUN FILE.SUFFIX",
    ),
    Kind(
        "runtime",
        "runtimes",
        "Runtime",
        "what computes exported networks",
        factory="factory()",
        use="cxrkit predict FILM.png --weights FILE.SUFFIX --runtime NAME",
    ),
    Kind(
        "weights",
        "weights",
        "PretrainedWeights",
        "trained networks, ready to use",
        factory="factory()",
        use="cxrkit predict FILM.png --weights NAME",
    ),
)
KINDS: dict[str, Kind] = {kind.name: kind for kind in _TABLE}

#: The sections of a run's settings that choose components, and the kind of each.
SECTIONS: dict[str, Kind] = {kind.section: kind for kind in KINDS.values() if kind.section}


def names_of_kinds() -> str:
    """The kinds as a sentence lists them."""
    *others, last = KINDS
    return f"{', '.join(others)} or {last}"
