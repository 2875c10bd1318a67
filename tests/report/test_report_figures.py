from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from cxrkit.config import make_config
from cxrkit.engine.run import RunDirectory
from cxrkit.errors import StorageError
from cxrkit.files import write_bytes
from cxrkit.readings import Reading, TrainingReading, ValidationReading
from cxrkit.report.figures import caption, draw_curves, draw_panels, smooth
from cxrkit.report.panels import Panel
from cxrkit.report.write import write_report


def readings(steps: int) -> list[Reading]:
    training = [
        TrainingReading(step=s, loss=2 / s, train_dsc=1 - 1 / (s + 1), lr=1e-3, seconds=s) for s in steps_of(steps)
    ]
    return [*training, ValidationReading(steps, {"dsc": 0.9, "iou": 0.8, "dice": 0.85}, on="validation")]


def steps_of(steps: int) -> range:
    return range(1, steps + 1)


@pytest.fixture
def panels(chest, evaluation) -> list[Panel]:
    masks = chest(48)
    moved = {name: np.roll(mask, 2, axis=1) for name, mask in masks.items()}
    image = np.random.default_rng(0).random((48, 48), dtype=np.float32)
    films = evaluation([0.9, 0.8, 0.7]).films
    return [
        Panel(label, image, moved, masks, film) for label, film in zip(("best", "median", "worst"), films, strict=True)
    ]


def test_what_losses_report_of_themselves_has_curves() -> None:
    own = [{"critic_accuracy": 0.5 + step / 100, "critic_term": 0.7} for step in range(3)]
    figure = draw_curves([TrainingReading(10 * n, 0.5, 0.7, 1e-3, 1.0, one) for n, one in enumerate(own)])
    shown = {axes.get_title(loc="left"): axes for axes in figure.axes if axes.axison}
    assert list(shown)[2:] == ["critic accuracy", "critic term"]
    assert list(shown["critic accuracy"].lines[0].get_ydata()) == [0.5, 0.51, 0.52]


@pytest.fixture
def run(tmp_path) -> RunDirectory:
    made = RunDirectory.create(tmp_path / "run", make_config({"seed": 7}))
    write_bytes(made.path / "checkpoints" / "best.safetensors", b"")
    for record in readings(30):
        made.log(record)
    return made


@given(arrays(np.float64, st.integers(1, 200), elements=st.floats(-100, 100)))
@settings(deadline=None, max_examples=50)
def test_smoothing_stays_between_the_extremes(values: np.ndarray) -> None:
    smoothed = smooth(values)
    assert smoothed.shape == values.shape
    assert smoothed.min() >= values.min() - 1e-9
    assert smoothed.max() <= values.max() + 1e-9


def test_smoothing_keeps_a_line_a_line() -> None:
    line = np.linspace(0, 5, 120)
    assert np.allclose(smooth(line), line)


def test_curves_show_what_was_read() -> None:
    loss, scores = draw_curves(readings(30), title="a run", best=30).axes
    assert [line.get_label() for line in scores.get_lines()[:3]] == [
        "training DSC",
        "validation DSC",
        "validation Dice",
    ]
    assert list(scores.get_lines()[2].get_ydata()) == [85.0]
    assert loss.get_title(loc="left") == "training loss"


def test_scores_on_test_films_are_labelled_so() -> None:
    records = [ValidationReading(5, {"dsc": 0.9, "iou": 0.8, "dice": 0.7}, on="test")]
    labels = [line.get_label() for line in draw_curves(records).axes[1].get_lines()]
    assert labels == ["test DSC", "test Dice"]


@pytest.mark.parametrize("records", [[], readings(1)[:1]])
def test_curves_of_hardly_anything_can_be_drawn(records, tmp_path) -> None:
    draw_curves(records).savefig(tmp_path / "curves.png")


def test_panels_are_rows_of_film_truth_and_prediction(panels) -> None:
    figure = draw_panels(panels, title="films")
    assert len(figure.axes) == 9
    assert [axes.get_ylabel() for axes in figure.axes[::3]] == ["best", "median", "worst"]
    assert figure.axes[0].get_xlabel() == "film-0"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["left lung", "right lung", "heart"]


def test_a_caption_gives_each_structures_dice(panels) -> None:
    assert caption(panels[1]).replace("\u00a0", " ") == "Dice %: heart 80.0, lungs 100.0"


def test_a_report_is_a_table_curves_and_overlays(run, evaluation, panels) -> None:
    write_report(run, evaluation(), panels)
    assert sorted(path.name for path in run.report.iterdir()) == ["curves.png", "overlays.png", "table.md"]
    for name in ("curves.png", "overlays.png"):
        with Image.open(run.report / name) as picture:
            assert min(picture.size) > 400
    text = (run.report / "table.md").read_text(encoding="utf-8")
    assert "- model: attn-bcdu" in text
    assert "- seed: 7" in text
    assert "![Training](curves.png)" in text


def test_another_part_stands_beside_the_test_films(run, evaluation, panels) -> None:
    write_report(run, evaluation(), panels)
    before = (run.report / "table.md").read_text(encoding="utf-8")
    write_report(run, evaluation(part="validation"), panels[:1])
    assert (run.report / "table.md").read_text(encoding="utf-8") == before
    assert (run.report / "table-validation.md").is_file()
    assert (run.report / "overlays-validation.png").is_file()


def test_nothing_is_linked_that_is_not_there(run, evaluation) -> None:
    write_report(run, evaluation(), [])
    assert "overlays" not in (run.report / "table.md").read_text(encoding="utf-8")


def test_a_place_that_cannot_be_written_is_reported(run, evaluation) -> None:
    run.report.write_text("a file where the folder must be")
    with pytest.raises(StorageError, match="report"):
        write_report(run, evaluation(), [])


@pytest.mark.slow
def test_importing_the_report_does_not_import_matplotlib() -> None:
    script = "import sys, cxrkit.report; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "False"
