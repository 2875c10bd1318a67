"""List, create and check plugins."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxrkit.cli import completion
from cxrkit.cli.flags import Json, option
from cxrkit.errors import ConfigError
from cxrkit.files import home_path

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from cxrkit.plugins import PluginStatus
    from cxrkit.testing import Result

app = typer.Typer(no_args_is_help=True, help=__doc__)

_BROKEN_CONTRACT = 4


@app.command("list")
def list_plugins(
    details: Annotated[bool, typer.Option("--details", help="Show the tracebacks of broken plugins.")] = False,
    as_json: Json = False,
) -> None:
    """List installed plugins: what each provides, and why one failed to load."""
    from cxrkit.cli.console import show, show_json
    from cxrkit.cli.verbs import other_verbs
    from cxrkit.plugins import installed

    plugins, (verbs, faults) = installed(), other_verbs()
    if as_json:
        show_json([_record(status) for status in plugins.statuses])
        return
    show(_table(plugins.statuses))
    for (kind, name), packages in plugins.registry.clashes().items():
        show(f"The {kind} '{name}' can't be used: {' and '.join(packages)} both claim it.")
    if verbs:
        show("Verbs: " + ", ".join(f"{verb.name} ({verb.distribution} {verb.version})" for verb in verbs))
    show(*faults)
    if details:
        for status in plugins.statuses:
            if status.details:
                show("", f"{status.name} ({status.distribution} {status.version}):", status.details.rstrip())


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Its name, in kebab-case, such as heart-nets.", show_default=False)],
    folder: Annotated[
        Path | None,
        option("--folder", "Where to write it.", metavar="DIR", default="./cxrkit-NAME"),
    ] = None,
) -> None:
    """Write a complete plugin package, with a network, a loss and passing tests."""
    from cxrkit.cli.console import say, show
    from cxrkit.scaffold import PREFIX, create_plugin

    project = folder or Path(name if name.startswith(PREFIX) else PREFIX + name)
    files = create_plugin(name, project)
    show(*(str(file) for file in files))
    say(
        "Try it:",
        f"  pip install -e {project}",
        f"  cxrkit plugins check {PREFIX}{name.removeprefix(PREFIX)}",
        f"  pytest {project}",
    )


@app.command()
def check(
    name: Annotated[
        str,
        typer.Argument(
            help="An installed package, or a plugin's name in `cxrkit plugins list`.",
            show_default=False,
            autocompletion=completion.packages,
        ),
    ],
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DATASET=DIR",
            help="Test a dataset of the plugin with this folder; may be repeated.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check whether everything that a plugin registers keeps the contracts; exits with 4 if not."""
    from dataclasses import asdict

    from cxrkit.cli.console import show, show_json
    from cxrkit.testing import run_conformance

    _forget(name)
    with redirect_stdout(sys.stderr):  # what the plugin prints
        results = run_conformance(name, roots=_roots(data or []))
    if as_json:
        show_json([asdict(result) for result in results])
    else:
        show(_results(results))
        counts = {kind: sum(r.outcome == kind for r in results) for kind in ("passed", "failed", "skipped")}
        show(", ".join(f"{count} {kind}" for kind, count in counts.items()) + ".")
    if not all(result.passed for result in results):
        raise typer.Exit(_BROKEN_CONTRACT)


def _forget(name: str) -> None:
    """Let a plugin that couldn't be loaded safely be tried again."""
    from importlib.metadata import entry_points

    from cxrkit.entry_points import COMPONENTS, origin
    from cxrkit.probing import forget

    for point in entry_points(group=COMPONENTS):
        if name in (point.name, origin(point)[0]):
            forget(point)


def _roots(assignments: list[str]) -> dict[str, Path]:
    roots: dict[str, Path] = {}
    for item in assignments:
        dataset, equals, place = item.partition("=")
        if not (dataset and equals and place):
            raise ConfigError(f"--data {item} is not DATASET=DIR.", "Name the dataset: --data my-films=/data/films.")
        path = home_path(place)
        if not path.exists():
            raise ConfigError(f"--data {item}: there is no such file or folder.", "Check the path.")
        roots[dataset] = path.resolve()
    return roots


def _record(status: PluginStatus) -> dict[str, Any]:
    return {
        "name": status.name,
        "distribution": status.distribution,
        "version": status.version,
        "status": _status(status),
        "seconds": round(status.seconds, 4),
        "error": status.error,
        "details": status.details,
        "components": [f"{component.kind} {component.name}" for component in status.components],
    }


def _status(status: PluginStatus) -> str:
    if status.disabled:
        return "disabled"
    if status.error is not None:
        return "broken"
    return "slow" if status.slow else "ok"


def _table(statuses: list[PluginStatus]) -> Table:
    from cxrkit.cli.console import styled, table

    styles = {"ok": "green", "slow": "yellow", "broken": "bold red", "disabled": "dim"}

    def row(status: PluginStatus) -> tuple[str | Text, ...]:
        kinds: dict[str, list[str]] = {}
        for component in status.components:
            kinds.setdefault(component.kind, []).append(component.name)
        provides = "\n".join(f"{kind}: {', '.join(names)}" for kind, names in kinds.items())
        return (
            status.name,
            f"{status.distribution} {status.version}",
            styled(_status(status), styles[_status(status)]),
            f"{1000 * status.seconds:.0f} ms",
            status.error or provides,
        )

    return table(("plugin", "package", "status", "loaded in", "what it provides"), [row(s) for s in statuses])


def _results(results: list[Result]) -> Table:
    from cxrkit.cli.console import styled, table

    styles = {"passed": "green", "failed": "bold red", "skipped": "dim"}
    rows = [(styled(r.outcome, styles[r.outcome]), f"{r.kind} {r.name}", r.check, r.message) for r in results]
    return table(("", "component", "check", "why"), rows)
