"""Writing a run's report: `table.md`, `curves.png`, `overlays.png`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cxrkit.engine.outcomes import Failure
from cxrkit.engine.run import RunDirectory
from cxrkit.engine.scores import Evaluation
from cxrkit.files import atomic_path, write_text
from cxrkit.readings import Reading, TrainingReading
from cxrkit.report.figures import draw_agreement, draw_curves, draw_panels
from cxrkit.report.panels import Panel
from cxrkit.report.sections import Alarm, Bullets, Picture, Section, markdown
from cxrkit.report.summary import summarise
from cxrkit.report.tables import common_notes, score_sections, side_by_side

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_report(run: RunDirectory, evaluation: Evaluation, panels: Sequence[Panel]) -> None:
    """Write the report of an evaluation into the run's `report/`.

    The files of the test part and the run's own choice of weights are `table.md` and `overlays.png`. Those of
    another part, dataset or checkpoint carry its name (`table-validation.md`, `table-last.md`), so that they stand
    beside those. `curves.png` is of the training, `agreement.png` of the cardiothoracic ratio.

    Raises:
        StorageError: the place can't be written to.
    """
    others = [evaluation.stem] if evaluation.stem != "test" else []
    others += [evaluation.weights] if evaluation.weights != run.weights().stem else []
    suffix = "".join(f"-{name}" for name in others)
    curves, overlays = run.report / "curves.png", run.report / f"overlays{suffix}.png"
    readings = list(run.metrics())
    if readings:
        best = evaluation.step if evaluation.selected_on != "nothing" else None
        save_figure(draw_curves(readings, title=run.path.resolve().name, best=best), curves)
    if panels:
        of = f"{run.path.resolve().name}: {evaluation.part} films by their mean Dice"
        save_figure(draw_panels(panels, title=of), overlays)
    agreement = run.report / f"agreement{suffix}.png"
    if has_ratio := has_ratios(evaluation):
        save_figure(draw_agreement({f"{run.path.resolve().name}: {evaluation.part} films": evaluation}), agreement)
    pictures = [
        ("Training", curves, bool(readings)),
        ("Cardiothoracic ratio against the true one", agreement, has_ratio),
        ("Films", overlays, bool(panels)),
    ]
    sections = [
        Section(run.path.resolve().name, (Bullets(_settings(run)), *_remarks(readings)), level=1),
        Section(f"Scores on {evaluation.part}"),
        *score_sections(summarise(evaluation)),
        *(Section(name, (Picture(file.name, name),), level=3) for name, file, drawn in pictures if drawn),
    ]
    write_text(run.report / f"table{suffix}.md", markdown(sections))


def write_comparison(
    out: Path, evaluations: Mapping[str, Evaluation], panels: Mapping[str, Sequence[Panel]], failures: Sequence[Failure]
) -> None:
    """Write the scores of candidates, by the stems of their files, and their common report into a folder.

    `NAME.json` and `NAME.csv` are each one's scores film by film, `overlays-NAME.png` its best, median and worst film;
    `table.md` has all side by side, `agreement.png` their cardiothoracic ratios.

    Raises:
        StorageError: the place can't be written to.
    """
    summaries = {name: summarise(evaluation) for name, evaluation in evaluations.items()}
    part = next(iter(evaluations.values())).part
    pictures: list[tuple[str, Path]] = []
    for name, evaluation in evaluations.items():
        write_text(out / f"{name}.json", evaluation.model_dump_json(indent=1) + "\n")
        write_text(out / f"{name}.csv", evaluation.to_csv())
        if panels[name]:
            pictures.append((f"Films: {name}", out / f"overlays-{name}.png"))
            save_figure(draw_panels(panels[name], title=f"{name}: {part} films by their mean Dice"), pictures[-1][1])
    if rated := {name: evaluation for name, evaluation in evaluations.items() if has_ratios(evaluation)}:
        pictures.insert(0, ("Cardiothoracic ratio against the true one", out / "agreement.png"))
        save_figure(draw_agreement(rated), pictures[0][1])
    scores, ratios = side_by_side(summaries)
    sections = [
        Section(f"Scores on {part}", (scores, *([ratios] if ratios.rows else [])), level=1),
        Section("How to read this", (Bullets([("", note) for note in common_notes(summaries)]),)),
        *(
            [Section("Films that were left out", (Bullets([(one.film, one.what) for one in failures]),))]
            * bool(failures)
        ),
        *(Section(name, (Picture(file.name, name),)) for name, file in pictures),
    ]
    write_text(out / "table.md", markdown(sections))


def has_ratios(evaluation: Evaluation) -> bool:
    """Whether films enough have a measured and a true cardiothoracic ratio for limits of agreement."""
    found = evaluation.agreement
    return found is not None and found.limits is not None


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure, atomically; the format is that of the suffix."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary)


def _remarks(readings: Sequence[Reading]) -> list[Alarm]:
    """What losses said of their own training, and when."""
    steps: dict[str, list[int]] = {}
    for reading in readings:
        if isinstance(reading, TrainingReading) and reading.remark:
            steps.setdefault(reading.remark, []).append(reading.step)
    return [Alarm(f"Training, steps {found[0]} to {found[-1]}: {text}") for text, found in steps.items()]


def _settings(run: RunDirectory) -> list[tuple[str, str]]:
    config = run.config()
    losses = " + ".join(loss.name if loss.weight == 1 else f"{loss.weight:g}·{loss.name}" for loss in config.loss)
    return [
        ("model", config.model.name),
        ("loss", losses),
        ("augmentation", ", ".join(augment.name for augment in config.augment) or "none"),
        ("films without masks", str(config.unlabelled.films)),
        (
            "data",
            ", ".join(item.name if item.root is None else f"{item.name} ({item.root})" for item in config.datasets),
        ),
        ("input", f"{config.preprocess.size} × {config.preprocess.size}"),
        ("seed", str(config.seed)),
    ]
