"""Scores on stdout, as tables or JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrkit.cli.console import show, show_json

if TYPE_CHECKING:
    from cxrkit.engine.outcomes import Failure
    from cxrkit.engine.scores import Evaluation


def show_scores(run: Path, evaluation: Evaluation | None, *, as_json: bool) -> None:
    """Print a run's scores, or only its folder if it has none."""
    if as_json:
        show_json({"run": str(run), **_content(evaluation)})
    elif evaluation is not None:
        from cxrkit.report.summary import summarise
        from cxrkit.report.tables import remarks, rich_tables

        summary = summarise(evaluation)
        show(*rich_tables(summary), *remarks(summary))


def show_comparison(found: Mapping[str, Evaluation], failures: Sequence[Failure], *, as_json: bool) -> None:
    """Print the scores of one candidate as a run's, and those of several by name, side by side."""
    from cxrkit.report.summary import summarise
    from cxrkit.report.tables import common_notes, side_by_side

    contents = [{"run": name, **_content(one)} for name, one in found.items()]
    if as_json:
        left_out = [asdict(one) for one in failures]
        whole = contents[0] if len(contents) == 1 else {"scores": contents}
        show_json({**whole, "failures": left_out})
    elif len(found) == 1:
        ((name, evaluation),) = found.items()
        show_scores(Path(name), evaluation, as_json=False)
    else:
        summaries = {name: summarise(one) for name, one in found.items()}
        scores, ratios = side_by_side(summaries)
        tables = [scores.rich(f"{next(iter(summaries.values())).films}, honest protocol")]
        show(*tables, *([ratios.rich("cardiothoracic ratio")] if ratios.rows else []), *common_notes(summaries))


def _content(evaluation: Evaluation | None) -> dict[str, Any]:
    if evaluation is None:
        return {"summary": None, "evaluation": None}
    from cxrkit.report.summary import summarise

    return {"summary": summarise(evaluation).content(), "evaluation": evaluation.model_dump(mode="json")}
