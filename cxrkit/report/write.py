"""Writing a run's report: `table.md`, `curves.png`, `overlays.png`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cxrkit.engine.run import RunDirectory
from cxrkit.engine.scores import Evaluation
from cxrkit.files import atomic_path, write_text
from cxrkit.readings import Reading, TrainingReading
from cxrkit.report.figures import draw_curves, draw_panels
from cxrkit.report.panels import Panel
from cxrkit.report.sections import Alarm, Bullets, Picture, Section, markdown
from cxrkit.report.summary import summarise
from cxrkit.report.tables import score_sections

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_report(run: RunDirectory, evaluation: Evaluation, panels: Sequence[Panel]) -> None:
    """Write the report of an evaluation into the run's `report/`.

    The files of the test part and the run's own choice of weights are `table.md` and `overlays.png`. Those of
    another part, dataset or checkpoint carry its name (`table-validation.md`, `table-last.md`), so that they stand
    beside those. `curves.png` is of the training.

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
    pictures = [("Training", curves, bool(readings)), ("Films", overlays, bool(panels))]
    sections = [
        Section(run.path.resolve().name, (Bullets(_settings(run)), *_remarks(readings)), level=1),
        Section(f"Scores on {evaluation.part}"),
        *score_sections(summarise(evaluation)),
        *(Section(name, (Picture(file.name, name),), level=3) for name, file, drawn in pictures if drawn),
    ]
    write_text(run.report / f"table{suffix}.md", markdown(sections))


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
