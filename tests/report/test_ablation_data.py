"""Arms of different data: a film of one isn't the film of that name in another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxrkit.report.ablation import all_caveats, headline, summarise_ablation
from cxrkit.report.ablation.numbers import Numbers
from cxrkit.report.ablation.tables import effects_table, pairs_table
from tests.ablation.faking import Fake, evaluation, film, with_provenance

DIFFERENT = "tested on different data"


def noise(seed: int, mean: float = 0.9) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 0.01, 12)


def numbers(fake: Fake) -> Numbers:
    return summarise_ablation(fake.results())


def scored(path: Path, factors: dict[str, Any], **fingerprints: str) -> Numbers:
    """Two arms of one seed, the first better on each film; their fingerprints, where they are given, in order."""
    fake = Fake(path / "mine", factors)
    prints = iter(fingerprints.values())
    for place, (slug, seed) in enumerate(fake.runs):
        folder = fake.score(slug, noise(0, 0.9 - 0.02 * place), seed)
        if fingerprints:
            with_provenance(folder, fingerprint=next(prints))
    return numbers(fake)


def warned(found: Numbers) -> bool:
    return any(DIFFERENT in warning for warning in all_caveats(found))


@pytest.mark.parametrize("prints", [{}, {"a": "f", "b": "g"}])
def test_films_that_share_only_a_name_are_not_paired(tmp_path: Path, prints: dict[str, str]) -> None:
    found = scored(tmp_path, {"data.seed": [0, 1]}, **prints)
    assert all(c.test is None and not c.by_seed for c in found.comparisons)
    assert pairs_table(found, found.comparisons).rows[0][3] == "not comparable"
    assert found.rankings["lungs_dice"].best == ()
    assert headline(found)[0] == f"lungs Dice %: the arms can't be compared: they were {DIFFERENT}."
    assert effects_table(found) is None
    assert any(f"its levels were {DIFFERENT}" in warning for warning in all_caveats(found))
    assert any(f"{DIFFERENT} with seed 0" in warning and "neither ranked" in warning for warning in all_caveats(found))


def test_the_same_films_in_another_folder_are_the_same_films(tmp_path: Path) -> None:
    found = scored(tmp_path, {"data.seed": [0, 1]}, a="f", b="f")
    assert all(c.test is not None for c in found.comparisons)
    assert not warned(found)


@pytest.mark.parametrize(
    "factor",
    [
        {"size": [32, 64]},
        {"clahe": {"on": {"preprocess.clahe.tiles": 8}, "off": {"preprocess.clahe": None}}},
        {"parts": {"one": {"structures": ["heart"]}, "two": {"structures": ["left_lung", "heart"]}}},
    ],
)
def test_the_same_films_prepared_in_another_way_are_paired(tmp_path: Path, factor: dict[str, Any]) -> None:
    found = scored(tmp_path, factor, a="f", b="g")
    assert next(c for c in found.comparisons if c.column.key == "lungs_dice").test is not None
    assert effects_table(found) is not None
    assert not warned(found)


def test_films_that_changed_between_runs_are_not_paired(tmp_path: Path) -> None:
    found = scored(tmp_path, {"loss": ["dice", "bce"]}, a="f", b="g")
    assert all(c.test is None for c in found.comparisons)
    assert warned(found)


def test_films_that_another_version_prepares_are_paired(tmp_path: Path) -> None:
    fake = Fake(tmp_path / "mine", {"loss": ["dice", "bce"]})
    with_provenance(fake.score("dice", noise(0)), fingerprint="f")
    with_provenance(fake.score("bce", noise(1)), fingerprint="g", packages={"opencv-python-headless": "5"})
    assert all(c.test is not None for c in numbers(fake).comparisons)


def test_arms_of_the_same_data_are_compared_beside_others(tmp_path: Path) -> None:
    fake = Fake(tmp_path / "mine", {"loss": ["dice", "bce"], "data.seed": [0, 1]}, seeds=2)
    for slug, seed in fake.runs:
        fake.score(slug, noise(seed, 0.92 if slug.startswith("dice") else 0.9), seed)
    found = numbers(fake)
    tested = [c for c in found.comparisons if c.column.key == "lungs_dice" and c.test is not None]
    assert len(tested) == 2
    assert all(c.first.levels["data.seed"] == c.second.levels["data.seed"] for c in tested)
    assert {(e.factor, len(v)) for e in found.effects for v in e.levels.values()} == {("loss", 4)}
    assert any(f"{DIFFERENT} with seed 0, 1" in warning for warning in all_caveats(found))


def test_overlaps_on_other_grids_are_ranked_and_reported(tmp_path: Path) -> None:
    found = scored(tmp_path, {"size": [32, 64]})
    assert [arm.label for arm in found.rankings["lungs_dice"].best] == ["size 32"]
    assert found.rankings["paper_dsc"].best != ()
    assert any("inputs differ (32, 64): Dice and IoU" in warning for warning in all_caveats(found))
    assert not any("inputs differ" in w for w in all_caveats(scored(tmp_path / "equal", {"loss": ["dice", "bce"]})))


def test_padding_keeps_the_papers_measures_from_being_ranked(tmp_path: Path) -> None:
    found = scored(tmp_path, {"preprocess.fit": ["pad", "stretch"]})
    assert found.rankings["paper_dsc"].best == found.rankings["paper_iou"].best == ()
    assert found.rankings["lungs_dice"].best != ()
    assert any("inputs differ (32 pad, 32 stretch)" in warning for warning in all_caveats(found))
    assert any("paper DSC %" in w and "count padding" in w and "(pad, stretch)" in w for w in all_caveats(found))


def test_scores_of_several_datasets_have_columns_of_their_own(tmp_path: Path) -> None:
    fake = Fake(tmp_path / "mine", {"loss": ["dice", "bce"]})
    for slug, dices in (("dice", (0.9, 0.8, 0.6)), ("bce", (0.8, 0.7, 0.5))):
        films = [film(name, dice) for name, dice in zip(("a+1", "a+2", "b+1"), dices, strict=True)]
        fake.write(slug, evaluation([one.model_copy(update={"dataset": one.id[0]}) for one in films]))
    found = numbers(fake)
    labels = {column.key: column.label for column in found.main}
    assert labels["lungs_dice"] == "lungs Dice %"
    assert labels["lungs_dice_a"] == "lungs Dice % (a)"
    means = {key: found.arms[0].cells[key].mean for key in ("lungs_dice", "lungs_dice_a", "lungs_dice_b")}
    assert means == pytest.approx({"lungs_dice": 2.3 / 3, "lungs_dice_a": 0.85, "lungs_dice_b": 0.6})
    assert [column.key for column in found.primary if column.dataset] == []
    alone = scored(tmp_path / "alone", {"loss": ["dice", "bce"]})
    assert all(column.dataset is None for column in alone.columns)
