"""`cxrkit list` and `cxrkit show`: the components, and their parameters."""

from __future__ import annotations

import inspect
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Annotated

import typer

from cxrkit.cli.completion import component as names_of_kind
from cxrkit.cli.completion import kinds
from cxrkit.cli.flags import Json, with_default
from cxrkit.errors import CxrkitError
from cxrkit.kinds import KINDS, names_of_kinds

if TYPE_CHECKING:
    from rich.table import Table

    from cxrkit.cli.describe import Parameter
    from cxrkit.registry import Component

#: Channels that a model is built with to count its parameters.
_CHANNELS = ("left_lung", "right_lung", "heart", "background")


def list_components(
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="KIND",
            help=with_default(f"{names_of_kinds()}.", "all kinds"),
            show_default=False,
            autocompletion=kinds,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List components of every kind: models, losses, and whatever else plugins register."""
    from cxrkit.cli.console import show, show_json
    from cxrkit.cli.loading import load_plugins

    chosen = [_kind(kind)] if kind is not None else list(KINDS)
    registry = load_plugins().registry
    found = [component for each in chosen for component in registry.components(each)]
    if as_json:
        keys = ("kind", "name", "summary", "distribution", "version")
        show_json([{key: getattr(component, key) for key in keys} for component in found])
        return
    show(_table(found, registry.clashes()))


def show_component(
    kind: Annotated[
        str,
        typer.Argument(metavar="KIND", help=f"{names_of_kinds()}.", show_default=False, autocompletion=kinds),
    ],
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="Its name; see: cxrkit list KIND.", show_default=False, autocompletion=names_of_kind
        ),
    ],
    as_json: Json = False,
) -> None:
    """Explain a component and its parameters."""
    from dataclasses import asdict

    from cxrkit.cli.console import show, show_json
    from cxrkit.cli.describe import parameters_of
    from cxrkit.cli.loading import load_plugins

    component = load_plugins().registry.get(_kind(kind), name)
    with redirect_stdout(sys.stderr):  # what the component prints
        parameters = parameters_of(component)
        documentation = inspect.getdoc(component.target) or ""
        if component.kind == "weights":
            documentation = component.build().card
        weights = _count_weights(component, parameters) if component.kind == "model" else None
    if as_json:
        show_json(
            {
                "kind": component.kind,
                "name": component.name,
                "summary": component.summary,
                "documentation": documentation,
                "distribution": component.distribution,
                "version": component.version,
                "parameters": [asdict(parameter) for parameter in parameters],
            }
            | ({"weights": weights} if component.kind == "model" else {})
        )
        return
    heading = f"{component.kind} {component.name}: {component.summary}"
    show(heading, f"from {component.distribution} {component.version}")
    if weights is not None:
        show(f"{weights:,} weights with the default parameters, for {len(_CHANNELS)} output channels")
    if documentation:
        show("", documentation)
    if component.kind == "weights":
        show("", f"Use them with: {KINDS['weights'].example.replace('NAME', component.name)}")
        return
    show("", _parameter_table(parameters) if parameters else "It has no parameters.")
    if parameters:
        show(f"Set one with: {_example(component, parameters[0])}")


def _kind(text: str) -> str:
    """A kind by its name or plural; any other text as it is."""
    return next((kind.name for kind in KINDS.values() if text.lower() in (kind.name, kind.plural)), text.lower())


def _table(found: list[Component], clashes: dict[tuple[str, str], list[str]]) -> Table:
    from cxrkit.cli.console import table

    def about(component: Component) -> str:
        clash = " (claimed by two packages: can't be used)" if (component.kind, component.name) in clashes else ""
        return component.summary + clash

    rows = [(c.kind, c.name, about(c), f"{c.distribution} {c.version}") for c in found]
    return table(("kind", "name", "what it is", "package"), rows, whole=("kind", "name"))


def _parameter_table(parameters: list[Parameter]) -> Table:
    from cxrkit.cli.console import table

    rows = [(item.name, item.type, item.default, item.range, item.description) for item in parameters]
    return table(("parameter", "type", "default", "range", "what it does"), rows, whole=("parameter",))


def _example(component: Component, parameter: Parameter) -> str:
    """How the command line names one of its parameters."""
    value = "VALUE" if parameter.default in ("required", "null") else parameter.default
    example = KINDS[component.kind].example
    return example.replace("NAME", component.name).replace("KEY", parameter.name).replace("VALUE", value)


def _count_weights(component: Component, parameters: list[Parameter]) -> int | None:
    """Trainable numbers of a model with default parameters; None where it needs more settings."""
    try:
        model = component.build(_CHANNELS, **getattr(component.target, "when_loading", {}))
    except CxrkitError:
        return None
    return sum(parameter.numel() for parameter in model.parameters())
