"""`cxrkit list` and `cxrkit show`: the components, and their parameters."""

from __future__ import annotations

import inspect
import sys
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
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
#: Side of the film that a model is drawn with, unless another is named.
_SIZE = 256


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
        int | None,
        option("--size", "Of a model: side of the film, in pixels.", metavar="N", default=str(_SIZE), min=16, max=4096),
    ] = None,
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
    """Explain a component and its parameters; of a model also its blocks, weights and multiply-adds."""
    from cxrkit.cli.console import show, show_json
    from cxrkit.cli.describe import parameters_of
    from cxrkit.cli.loading import load_plugins
    from cxrkit.cli.settings import names_of

    component, values = load_plugins().registry.find(_kind(kind), name)
    for_models = {"--size": size, "--structures": structures, "--svg": svg, "--set": set_}
    if component.kind != "model" and (flags := [flag for flag, value in for_models.items() if value]):
        what = f"{' and '.join(flags)}: only for models, not for the {component.kind} {name}."
        raise ConfigError(what, "Leave it out.")
    channels = _CHANNELS if structures is None else tuple(names_of(structures))
    with redirect_stdout(sys.stderr):  # what the component prints
        parameters = parameters_of(component)
        documentation = inspect.getdoc(component.target) or ""
        if component.kind == "weights":
            documentation = component.build().card
        given = values | _model_parameters(set_ or [])
        network = _network(component, given, channels, size or _SIZE) if component.kind == "model" else _Network()
    if network.fault is not None and (svg is not None or given):
        raise network.fault
    if svg is not None and network.diagram is not None:
        from cxrkit.report.diagram_picture import picture

        write_text(svg, picture(network.diagram))
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
            | (network.numbers() if component.kind == "model" else {})
        )
        return
    heading = f"{component.kind} {component.name}: {component.summary}"
    show(heading, f"from {component.distribution} {component.version}")
    if component.kind == "augment":
        show(_STAGES.get(getattr(component.target, "stage", "input"), "acts at an unknown stage"))
    if network.weights is not None:
        meant = "these" if values or set_ else "the default"
        outputs = f"{len(channels)} output channel{'s' if len(channels) != 1 else ''}"
        show(f"{network.weights:,} weights with {meant} parameters, for {outputs}")
    if drawn := network.diagram:
        if drawn.used != drawn.weights:
            show(f"{drawn.used:,} of them are used outside training")
        side = "×".join(map(str, drawn.size))
        show(f"{drawn.multiply_adds / 1e9:,.3f} billion multiply-adds for a film of {side}")
    elif network.fault is not None:
        show(f"Not drawn: {network.fault}")
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


@dataclass(frozen=True)
class _Network:
    """What was found out about a model: nothing, its weights or all; and why no more."""

    weights: int | None = None
    diagram: Diagram | None = None
    fault: CxrkitError | None = None

    def numbers(self) -> dict[str, Any]:
        """For `--json`."""
        found: dict[str, Any] = {"weights": self.weights}
        if self.fault is not None:
            found["not_drawn"] = str(self.fault)
        if self.diagram is not None:
            drawn = asdict(self.diagram)
            found |= {key: drawn[key] for key in ("used", "unused", "size", "multiply_adds", "blocks")}
        return found


def _network(component: Component, values: dict[str, Any], channels: tuple[str, ...], size: int) -> _Network:
    from torch.nn.parameter import is_lazy

    from cxrkit.report.diagram import diagram

    weights = None
    try:
        model = component.build(channels, **{**getattr(component.target, "when_loading", {}), **values})
        parameters = list(model.parameters())
        if not any(is_lazy(parameter) for parameter in parameters):  # those have no number before a first film
            weights = sum(parameter.numel() for parameter in parameters)
        return _Network(weights, diagram(model, size))
    except CxrkitError as fault:
        return _Network(weights, fault=fault)
