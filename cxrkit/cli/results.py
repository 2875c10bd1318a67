"""Scores on stdout, as tables or JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrkit.cli.console import show, show_json

if TYPE_CHECKING:
    from cxrkit.engine.scores import Evaluation


def show_scores(run: Path, evaluation: Evaluation | None, *, as_json: bool) -> None:
    """Print a run's scores, or only its folder if it has none."""
    if as_json:
        show_json({"run": str(run), **_content(evaluation)})
    elif evaluation is not None:
        from cxrkit.report import remarks, rich_tables, summarise

        summary = summarise(evaluation)
        show(*rich_tables(summary), *remarks(summary))


def _content(evaluation: Evaluation | None) -> dict[str, Any]:
    if evaluation is None:
        return {"summary": None, "evaluation": None}
    from cxrkit.report import summarise

    return {"summary": summarise(evaluation).content(), "evaluation": evaluation.model_dump(mode="json")}
