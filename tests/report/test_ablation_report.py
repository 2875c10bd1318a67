"""The files of an ablation's report, of runs that were never trained."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from cxrkit import comparisons
from cxrkit.engine.scores import StructureScores
from cxrkit.report.ablation import summarise_ablation
from cxrkit.report.ablation.curves import draw_curves, read_curves
from cxrkit.report.ablation.figures import draw_all_figures
from cxrkit.report.text_table import escape_latex, latex_label
from tests.ablation.faking import Fake, evaluation, film


def add_curve(folder: Path) -> None:
    lines = [{"step": n, "loss": 1.0, "train_dsc": 0.5, "validation": {"dsc": 0.4}, "on": "test"} for n in (1, 2, 3)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Fake:
    """Four arms × two seeds: one run failed, one arm not started."""
    fake = Fake(
        tmp_path_factory.mktemp("report") / "mine",
        {"loss": ["dice", "bce", "tversky", "focal-tversky"]},
        seeds=2,
        name="10.of_films",
    )
    random = np.random.default_rng(0)
    for slug in ("dice", "bce", "tversky"):
        for seed in (0, 1):
            if (slug, seed) == ("tversky", 1):
                fake.fail(slug, seed, "the loss is nan")
                continue
            films = [
                film(f"{seed}-{n}", dice, structures=("left_lung", "lungs", "heart"), ctr=(0.5, 0.51))
                for n, dice in enumerate(random.uniform(0.8, 0.99, 8))
            ]
            folder = fake.write(slug, evaluation(films), seed)
            add_curve(folder)
            (folder / "report").mkdir()
            cv2.imwrite(str(folder / "report" / "overlays.png"), np.zeros((30, 90, 3), np.uint8))
    return fake


@pytest.fixture(scope="module")
def report(fake: Fake) -> Path:
    comparisons.report(fake.path)
    return fake.path / "report"


def test_films_are_files_that_the_markdown_shows(report: Path) -> None:
    text = (report / "report.md").read_text()
    for slug in ("dice", "bce", "tversky"):
        assert f"(figures/films-{slug}.jpg)" in text
        assert cv2.imread(str(report / "figures" / f"films-{slug}.jpg")).shape == (30, 90, 3)
    assert "seed 0, weights of update 100 (the last ones)" in text
    assert (report / "report.html").read_text().count("data:image/jpeg") == 3


def test_an_arm_without_pictures_is_named(tmp_path: Path) -> None:
    fake = Fake(tmp_path / "mine", {"loss": ["dice", "bce", "tversky"]})
    for slug in ("dice", "bce"):
        folder = fake.score(slug, [0.9, 0.8])
        (folder / "report").mkdir()
    cv2.imwrite(str(folder / "report" / "overlays.png"), np.zeros((30, 90, 3), np.uint8))
    comparisons.report(fake.path)
    for name in ("report.md", "report.html"):
        assert "No picture of dice:" in (fake.path / "report" / name).read_text()


def test_readings_of_a_validation_without_its_score_are_left_out(tmp_path: Path) -> None:
    fake = Fake(tmp_path / "mine", {"loss": ["dice", "bce"]})
    add_curve(fake.score("dice", [0.9, 0.8]))
    arm = summarise_ablation(fake.results()).arms[0]
    with (arm.runs[0].run.path / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 4, "validation": {"loss": 1.0}, "on": "validation"}\n')
        stream.write('{"step": 5, "validation": {"dsc": 1}, "on": "validation"}\n')
    assert sorted(read_curves(arm).valid) == [1, 2, 3, 5]


def test_parts_and_holes_have_a_table(tmp_path: Path) -> None:
    fake = Fake(tmp_path / "mine", {"loss": ["dice", "bce"]})
    for slug, parts in (("dice", (1, 2)), ("bce", (4, 4))):
        hearts = [StructureScores(dice=0.9, parts=n, holes=0, parts_after=1, holes_after=0) for n in parts]
        films = [film(f"{n}", 0.9).model_copy(update={"structures": {"heart": one}}) for n, one in enumerate(hearts)]
        fake.write(slug, evaluation(films))
    comparisons.report(fake.path)
    section = (fake.path / "report" / "report.md").read_text().partition("## Parts and holes")[2].partition("\n## ")[0]
    assert "| arm | seeds | heart Parts | heart Holes | heart Parts after | heart Holes after |" in section
    assert "| dice | 1/1 | **1.50** | 0.00 | 1.00 | 0.00 |" in section
    assert "| bce | 1/1 | 4.00 | 0.00 | 1.00 | 0.00 |" in section


def test_pictures_of_an_earlier_report_go(fake: Fake, report: Path) -> None:
    stale, own = report / "figures" / "films-gone.jpg", report / "figures" / "mine.png"
    stale.touch()
    own.touch()
    comparisons.report(fake.path)
    assert not stale.exists()
    assert own.exists()


def test_the_latex_table_names_what_is_missing_and_has_a_plain_label(report: Path) -> None:
    text = (report / "table.tex").read_text()
    assert r"\label{tab:10.of-films}" in text
    caption = next(line for line in text.splitlines() if r"\caption" in line)
    assert "Without 3 of 8 runs: tversky, seed 1 (failed); focal-tversky, seed 0 (not started)" in caption
    assert r"10.of\_films." in caption


def test_labels_and_text_for_latex() -> None:
    assert latex_label("a b_c%d") == "a-b-c-d"
    assert latex_label("%") == "ablation"
    assert escape_latex("50 % ≥ a_b – c") == r"50 \% $\geq$ a\_b -- c"


def test_runs_csv_says_which_weights_were_judged(report: Path) -> None:
    rows = list(csv.DictReader((report / "runs.csv").open()))
    assert (rows[0]["weights"], rows[0]["step"], rows[0]["selected_on"]) == ("last", "100", "nothing")
    failed = next(row for row in rows if row["state"] == "failed")
    assert (failed["error"], failed["weights"], failed["lungs_dice"]) == ("the loss is nan", "", "")


def test_comparisons_csv_has_every_measure(report: Path) -> None:
    rows = list(csv.DictReader((report / "comparisons.csv").open()))
    measures = {row["measure"] for row in rows}
    assert {"left_lung_dice", "heart_hd95", "lungs_iou", "ctr_error", "paper_iou"} <= measures
    assert all(row["low"] for row in rows if row["measure"] == "lungs_dice")


def test_every_structure_distance_and_ratio_is_drawn(fake: Fake) -> None:
    drawn = {one.stem: one for one in draw_all_figures(summarise_ablation(fake.results()))}
    assert set(drawn) == {"curves", "validation", "distributions", "distances", "effects"}
    titles = [axes.get_title("left") for axes in drawn["distributions"].figure.axes if axes.get_visible()]
    assert titles == ["lungs Dice %", "heart Dice %", "left lung Dice %", "paper DSC %"]
    titles = [axes.get_title("left") for axes in drawn["distances"].figure.axes if axes.get_visible()]
    assert titles == ["lungs HD95 px", "heart HD95 px", "left lung HD95 px", "CTR error"]


def test_curves_tell_of_failures_and_every_column_has_its_updates(fake: Fake) -> None:
    figure = draw_curves([read_curves(arm) for arm in summarise_ablation(fake.results()).arms], "test")
    shown = [axes for axes in figure.axes if axes.get_visible()]
    said = [" ".join(text.get_text() for text in axes.texts) for axes in shown]
    assert said == ["", "", "seed 1 failed", "seeds 0, 1 not started"]
    assert [axes.get_xlabel() for axes in shown] == ["", "update", "update", "update"]
    figure.canvas.draw()
    assert all(axes.xaxis.get_tick_params()["labelbottom"] for axes in shown[1:])


def test_factors_without_an_effect_have_no_column(tmp_path: Path) -> None:
    fake = Fake(tmp_path, {"loss": ["dice", "bce"], "train_size": [4, 6]})
    fake.score("dice_train-size-4", [0.8] * 8)
    fake.score("dice_train-size-6", [0.9] * 8)
    drawn = {one.stem: one for one in draw_all_figures(summarise_ablation(fake.results()))}
    assert drawn["effects"].figure.axes[0].get_title("left") == "train_size"
    assert len(drawn["effects"].figure.axes) == 3, "lungs, heart, paper"


def test_a_report_computes_its_tests_once(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    from cxrkit.report.ablation import differences, headline, seeds_table

    calls = 0
    original = differences.compare

    def counted(*arguments: object, **settings: object) -> object:
        nonlocal calls
        calls += 1
        return original(*arguments, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(differences, "compare", counted)
    numbers = comparisons.report(fake.path)
    headline(numbers)
    seeds_table(numbers).rich()
    assert calls == 3 * len(numbers.columns)
