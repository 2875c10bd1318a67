"""Where the weights of a prediction come from: a run, a file or a package."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cxrkit.errors import ConfigError, available, nearest
from cxrkit.files import checksum
from cxrkit.registry import Registry
from cxrkit.segmentation import WeightsSource
from cxrkit.version import __version__


def weights_source(file: Path, step: int, registry: Registry, name: str | None) -> WeightsSource:
    """What is recorded of a weights file; `name` is that of weights that a package provides."""
    package = None
    if name is not None:
        component = registry.get("weights", name)
        package = f"{component.distribution} {component.version}"
    return WeightsSource(name, package, str(file), checksum(file), step, __version__)


def find_weights(weights: Path | str | None, components: Registry) -> tuple[Path, str | None]:
    """As `find_all_weights`, where there must be one network.

    Raises:
        ConfigError: as there, or a name stands for several networks.
    """
    (file, name), *others = find_all_weights(weights, components)
    if others:
        files = ", ".join(str(path) for path, _ in ((file, name), *others))
        raise ConfigError(f"{name}: holds {len(others) + 1} networks, and one is needed.", f"Give a file of: {files}.")
    return file, name


def find_all_weights(
    weights: Path | str | Sequence[Path | str] | None, components: Registry
) -> list[tuple[Path, str | None]]:
    """The files or folders of weights, and their names if a package provides them.

    A path that exists wins over a name. The default weights are the first by name whose package declares them so.

    Raises:
        ConfigError: there is neither such a path nor such a name, or no package provides default weights.
    """
    if weights is not None and not isinstance(weights, Path | str):
        if not weights:
            raise ConfigError("No weights were given.", "Give at least one, or None for the default ones.")
        return [found for one in weights for found in find_all_weights(one, components)]
    provided = components.components("weights")
    if weights is None:
        for component in provided:
            if getattr(component.target, "default", False):
                return [(file, component.name) for file in component.build().files]
        raise ConfigError(
            "--weights is missing, and no installed package provides default weights.",
            "Give a run (--weights runs/NAME) or a weights file; `cxrkit train` makes a run.",
        )
    names = [component.name for component in provided]
    if not Path(weights).exists() and str(weights) in names:
        return [(file, str(weights)) for file in components.get("weights", str(weights)).build().files]
    if not Path(weights).exists() and Path(weights).suffix == "" and Path(weights).parent == Path():
        raise ConfigError(
            f"{weights}: there is no such run or file, and no weights of that name.",
            nearest(str(weights), names) + available(names, "Weights that packages provide"),
        )
    return [(Path(weights), None)]


def about_weights(name: str, components: Registry) -> str:
    """A line that says which weights of a package are used, and where their model card is."""
    component = components.get("weights", name)
    return (
        f"Weights: {name} of {component.distribution} {component.version}, {component.summary}. For research, not "
        f"for diagnosis; what they were trained on and how good they are: cxrkit show weights {name}"
    )
