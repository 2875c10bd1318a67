"""Prepare, check and list films."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxrkit.cli import completion
from cxrkit.cli.flags import Json, Quiet, option
from cxrkit.cli.settings import choose_settings
from cxrkit.errors import ConfigError
from cxrkit.settings import SETTINGS

if TYPE_CHECKING:
    from rich.table import Table

    from cxrkit.config import RunConfig
    from cxrkit.data.check import Finding
    from cxrkit.data.store import Store

app = typer.Typer(no_args_is_help=True, help=__doc__)

_FOUND_ERRORS = 3

Data = Annotated[
    list[str] | None,
    option(
        "--data",
        "A folder or file that a dataset recognises, a dataset, or NAME:PLACE, as in training. May be repeated.",
        metavar="PLACE|NAME",
        default="the built-in synthetic films",
    ),
]
Places = Annotated[
    list[str] | None,
    typer.Argument(metavar="PLACE|NAME...", help="As --data.", show_default=False, autocompletion=completion.data),
]
Structures = Annotated[
    str | None,
    option(
        "--structures", "Only these structures, separated by commas.", metavar="A,B", default="all that the data has"
    ),
]
ConfigFile = Annotated[
    Path | None,
    option("--config", "Settings as YAML, as in training.", metavar="FILE"),
]
Assignments = Annotated[
    list[str] | None,
    option("--set", "Any setting, such as data.mask_threshold=127.", metavar="KEY=VALUE"),
]


@app.command()
def prepare(
    places: Places = None,
    data: Data = None,
    structures: Structures = None,
    size: Annotated[
        int | None,
        option("--size", SETTINGS["size"].help, default=SETTINGS["size"].default),
    ] = None,
    config: ConfigFile = None,
    assignments: Assignments = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Preprocess all films into the cache now, so that training begins at once.

    Films that are already prepared are read and verified; a damaged store is rebuilt.
    """
    from cxrkit import api
    from cxrkit.cli.console import show, show_json
    from cxrkit.cli.progress import progress
    from cxrkit.data.joined import JoinedStore

    chosen = _settings(_one(places, data), structures, size, config, assignments)
    with progress(quiet=quiet) as observer:
        store = api.prepare(chosen, observer)
    parts = store.parts if isinstance(store, JoinedStore) else {}
    if as_json:
        datasets = {"datasets": {alias: _described(part) for alias, part in parts.items()}} if parts else {}
        show_json(_described(store) | datasets)
        return
    for alias, part in (parts or {"": store}).items():
        films = f"{len(part)} film{'' if len(part) == 1 else 's'} of {part.size} × {part.size} pixels"
        start = f"{alias}: " if alias else ""
        show(f"{start}{films}, with {', '.join(part.structures)}", f"fingerprint {part.content_hash}", str(part.path))


@app.command()
def check(
    places: Places = None,
    data: Data = None,
    structures: Structures = None,
    config: ConfigFile = None,
    assignments: Assignments = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Read every film and mask, and report what would cause problems in training.

    Exits with 3 if there are errors; warnings and notes don't count.
    """
    from dataclasses import asdict

    from cxrkit import api
    from cxrkit.cli.console import show, show_json
    from cxrkit.cli.progress import progress

    chosen = _settings(_one(places, data), structures, None, config, assignments)
    with progress(quiet=quiet) as observer:
        findings = api.check(chosen, observer)
    counts = {kind: sum(f.severity == kind for f in findings) for kind in ("error", "warning", "note")}
    if as_json:
        show_json({"counts": counts, "findings": [asdict(finding) for finding in findings]})
    else:
        if findings:
            show(_findings(findings))
        show(", ".join(f"{count} {kind}{'' if count == 1 else 's'}" for kind, count in counts.items()) + ".")
    if counts["error"]:
        raise typer.Exit(_FOUND_ERRORS)


@app.command("list")
def list_data(as_json: Json = False) -> None:
    """List the datasets that can be read, and the films that the cache holds."""
    from cxrkit.cli.console import show, show_json, table
    from cxrkit.cli.loading import load_plugins
    from cxrkit.files import cache_folder

    datasets = load_plugins().registry.components("dataset")
    folder = cache_folder()
    # Those that are still being written, or were when the machine stopped, are hidden.
    stores = [(path, path.stat()) for path in sorted(folder.glob("*.h5")) if not path.name.startswith(".")]
    if as_json:
        show_json(
            {
                "datasets": [{"name": c.name, "summary": c.summary, "package": c.distribution} for c in datasets],
                "cache": folder,
                "stores": [{"file": path.name, "bytes": about.st_size} for path, about in stores],
            }
        )
        return
    show(table(("dataset", "what it reads"), [(c.name, c.summary) for c in datasets]))
    if stores:
        show(f"Prepared films in {folder} (rebuilt when needed, so they can be deleted):")
        rows = [(path.name, f"{about.st_size / 1e6:.1f} MB", _day(about.st_mtime)) for path, about in stores]
        show(table(("file", "size", "created"), rows))
    else:
        show(f"No prepared films in {folder} yet.")


def _one(places: list[str] | None, data: list[str] | None) -> list[str]:
    if places and data:
        raise ConfigError(
            f"{' '.join(places)} and --data {' '.join(data)} were both given.", "Use one form: they mean the same."
        )
    return places or data or []


def _described(store: Store) -> dict[str, Any]:
    return {
        "store": store.path,
        "films": len(store),
        "structures": store.structures,
        "size": store.size,
        "fingerprint": store.content_hash,
    }


def _settings(
    data: list[str], structures: str | None, size: int | None, config: Path | None, assignments: list[str] | None
) -> RunConfig:
    """The configuration that these flags describe; the synthetic films where no data is named."""
    from cxrkit.cli.loading import load_plugins

    return choose_settings(
        {} if size is None else {"size": size},
        datasets=load_plugins().registry.components("dataset"),
        file=config,
        assignments=assignments or (),
        data=data,
        structures=structures,
    ).config


def _findings(findings: list[Finding]) -> Table:
    from cxrkit.cli.console import one_line, styled, table

    styles = {"error": "bold red", "warning": "yellow", "note": "dim"}

    def where(finding: Finding) -> str:
        return "" if finding.file is None or str(finding.file) in finding.message else f" ({finding.file})"

    rows = [
        (styled(f.severity, styles[f.severity]), one_line(f.id or "all"), one_line(f.message + where(f)), f.remedy)
        for f in findings
    ]
    return table(("", "film", "finding", "what to do"), rows)


def _day(timestamp: float) -> str:
    from datetime import datetime

    return datetime.fromtimestamp(timestamp).strftime("%Y-%m-%d %H:%M")
