"""The page on what `cxrkit predict` writes for other programs: the JSON and its schema, and the table's columns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, get_type_hints

from pydantic import TypeAdapter
from rendering import code, docstring, table, type_name

from cxrkit.engine.outcomes import SCHEMA_VERSION, Failure, Listing, PredictionRow, Table
from cxrkit.segmentation import CardiothoracicRatio, Extent, WeightsSource

_TITLES = {
    Listing: "The JSON",
    PredictionRow: "A film",
    Failure: "A failure",
    WeightsSource: "The weights",
    CardiothoracicRatio: "The extents",
    Extent: "An extent",
}


def predictions_page() -> Iterator[str]:
    """The JSON and the table of predictions, from their types."""
    yield "# Predictions"
    yield (
        "What `cxrkit predict` leaves for other programs: `predictions.json`, which `--json` prints too, and the table "
        f"`predictions.csv`. This is schema version {SCHEMA_VERSION}; fields may be added to a version."
    )
    for target, title in _TITLES.items():
        yield f"## {title}"
        yield from _fields(target)
    yield "## The table"
    yield (
        "One row per film, also for those that failed. The columns here are those of the weights that come with "
        "cxrkit; others have their own structures. Empty cells are null in the JSON."
    )
    yield ", ".join(code(name) for name in Table(("left_lung", "right_lung", "heart"), None).headings) + "."
    yield "## An error"
    yield (
        "With `--json`, every command that ends with an error prints an object on stdout in place of its result, and "
        "the message on stderr as always. `exit_code` is that of the process: see [exit codes](cli.md#exit-codes)."
    )
    what, remedy = "gone.png: there is no such file.", "Check the path; names are case-sensitive."
    error = {"kind": "DataError", "what": what, "remedy": remedy, "exit_code": 3}
    yield f"```json\n{json.dumps({'error': error}, indent=2)}\n```"
    yield "## JSON schema"
    yield f"```json\n{json.dumps(TypeAdapter(Listing).json_schema(mode='serialization'), indent=1)}\n```"


def _fields(target: Any) -> Iterator[str]:
    yield docstring(target)
    hints = get_type_hints(target, include_extras=True)
    described = {name: hint for name, hint in hints.items() if hasattr(hint, "__metadata__")}
    if described:
        rows = [(code(name), _type(hint), hint.__metadata__[0].description or "") for name, hint in described.items()]
        yield table(["field", "type", "meaning"], rows)


def _type(hint: Any) -> str:
    """A type as JSON has it."""
    return type_name(hint).replace("tuple of", "list of").replace("dict of text", "object")
