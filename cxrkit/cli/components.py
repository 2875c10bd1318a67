"""`cxrkit list` and `cxrkit show`: the components, and their parameters."""

from __future__ import annotations

import inspect
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxrkit.cli.completion import component as names_of_kind
from cxrkit.cli.completion import kinds
from cxrkit.cli.flags import Json, option, with_default
from cxrkit.errors import ConfigError, CxrkitError
from cxrkit.files import write_text
from cxrkit.kinds import KINDS, names_of_kinds

if TYPE_CHECKING:
    from rich.table import Table

    from cxrkit.cli.describe import Parameter
    from cxrkit.registry import Component
    from cxrkit.report.diagram import Diagram

#: What the stage of an augment means.
_STAGES = {
    "film": "acts on films as they were taken, before levels and CLAHE",
    "input": "acts on the network's input, after levels and CLAHE",
}
#: Channels that a model is built with to count its parameters, unless others are named.
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
    size: Annotated[
        int, typer.Option("--size", min=16, max=4096, help="Of a model: side of the film, in pixels.")
    ] = 256,
    structures: Annotated[
        str | None,
        option(
            "--structures",
            "Of a model: its output channels, separated by commas.",
            metavar="A,B",
            default=",".join(_CHANNELS),
        ),
    ] = None,
    svg: Annotated[
        Path | None, typer.Option("--svg", metavar="FILE", help="Of a model: draw it here as SVG.", show_default=False)
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Of a model: a parameter, model.KEY.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Explain a component and its parameters; of a model also its blocks, parameters and multiply-adds."""
    from dataclasses import asdict

    from cxrkit.cli.console import show, show_json
    from cxrkit.cli.describe import parameters_of
    from cxrkit.cli.loading import load_plugins
    from cxrkit.cli.settings import names_of

    component, values = load_plugins().registry.find(_kind(kind), name)
    if component.kind != "model" and (svg or set_ or structures):
        raise ConfigError(f"A {component.kind} has no diagram.", "Leave out --svg, --set and --structures.")
    channels = _CHANNELS if structures is None else tuple(names_of(structures))
    with redirect_stdout(sys.stderr):  # what the component prints
        parameters = parameters_of(component)
        documentation = inspect.getdoc(component.target) or ""
        if component.kind == "weights":
            documentation = component.build().card
        given = values | _model_parameters(set_ or [])
        drawn = _draw(component, given, channels, size) if component.kind == "model" else None
    if svg is not None and drawn is not None:
        from cxrkit.report.diagram_picture import picture

        write_text(svg, picture(drawn))
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
            | ({"stage": getattr(component.target, "stage", "input")} if component.kind == "augment" else {})
            | _numbers(component, drawn)
        )
        return
    heading = f"{component.kind} {component.name}: {component.summary}"
    show(heading, f"from {component.distribution} {component.version}")
    if component.kind == "augment":
        show(_STAGES.get(getattr(component.target, "stage", "input"), "acts at an unknown stage"))
    if drawn is not None:
        meant = "these" if values or set_ else "the default"
        outputs = f"{len(channels)} output channel{'s' if len(channels) != 1 else ''}"
        show(f"{drawn.parameters:,} weights with {meant} parameters, for {outputs}")
        if drawn.used != drawn.parameters:
            show(f"{drawn.used:,} of them are used outside training")
        side = "×".join(map(str, drawn.size))
        show(f"{drawn.multiply_adds / 1e9:,.3f} billion multiply-adds for a film of {side}")
    if documentation:
        show("", documentation)
    if component.kind == "weights":
        show("", f"Use them with: {KINDS['weights'].example.replace('NAME', component.name)}")
        return
    show("", _parameter_table(parameters) if parameters else "It has no parameters.")
    if drawn is not None:
        show("", drawn.text())
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


def _model_parameters(assignments: list[str]) -> dict[str, Any]:
    """`["model.depth=3"]` to the model's parameters."""
    from cxrkit.overrides import assign, parse_set

    settings: dict[str, Any] = {"model": {"": None}}  # not empty, so that no default name is filled in
    for key, value in parse_set(assignments).items():
        assign(settings, key, value, ["model"])
    parameters = {key: value for key, value in settings["model"].items() if key}
    if "name" in parameters:
        raise ConfigError("--set model.name: the name is given already.", "Leave it out.")
    return parameters


def _draw(component: Component, values: dict[str, Any], channels: tuple[str, ...], size: int) -> Diagram | None:
    """A model's diagram; None where it can't be built as it is, unless parameters were given for it."""
    from cxrkit.report.diagram import diagram

    try:
        model = component.build(channels, **{**getattr(component.target, "when_loading", {}), **values})
        return diagram(model, size)
    except CxrkitError:
        if values:
            raise
        return None


def _numbers(component: Component, drawn: Diagram | None) -> dict[str, Any]:
    """What `--json` says of a model beyond its parameters."""
    from dataclasses import asdict

    if component.kind != "model":
        return {}
    if drawn is None:
        return {"weights": None}
    keys = ("used", "unused", "size", "multiply_adds", "blocks")
    return {"weights": drawn.parameters} | {key: asdict(drawn)[key] for key in keys}
