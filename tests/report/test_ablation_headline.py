"""The sentences at the top of an ablation's report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cxrkit.engine.scores import FilmScores
from cxrkit.report.ablation import headline, summarise_ablation
from cxrkit.report.ablation.tables import pairs_table
from tests.ablation.faking import Fake, evaluation, film

COUNT = 24


@pytest.fixture
def three(tmp_path: Path) -> Fake:
    return Fake(tmp_path / "three", {"loss": ["dice", "bce", "tversky"]})


def said(fake: Fake) -> list[str]:
    return headline(summarise_ablation(fake.results()))


def tied(*, lead: float, steady: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two arms of the same mean and a third one that is lower by `lead`: the first steadily, the second by few films.

    Where `steady` is set, the second as well.
    """
    third = np.random.default_rng(0).normal(0.8, 0.01, COUNT)
    first = third + lead
    second = first
    if not steady:
        second = third + np.where(np.arange(COUNT) < COUNT // 2, -lead / 2, 5 * lead / 2)
    return first, second, third


def test_a_tie_beats_only_what_each_of_its_arms_beats(three: Fake) -> None:
    for slug, values in zip(("dice", "bce", "tversky"), tied(lead=0.02, steady=False), strict=True):
        three.score(slug, values)
    first = said(three)[0]
    assert "dice and bce (" in first
    assert ", a tie" in first
    assert "no other arm differs significantly from each of them" in first
    assert "better than" not in first


def test_a_tie_that_beats_the_rest_says_so(three: Fake) -> None:
    for slug, values in zip(("dice", "bce", "tversky"), tied(lead=0.02, steady=True), strict=True):
        three.score(slug, values)
    assert "a tie, better than tversky (p < 0.05, Holm-corrected)" in said(three)[0]


def test_the_arm_of_a_tie_that_most_films_speak_against_is_named(three: Fake) -> None:
    third = np.random.default_rng(0).normal(0.8, 0.001, COUNT)
    three.score("dice", third + 0.01)
    three.score("bce", third + np.where(np.arange(COUNT) < COUNT - 1, -0.01, 0.01 * (2 * COUNT - 1)))
    three.score("tversky", third)
    assert f"bce is lower on most films than tversky ({COUNT - 1} of {COUNT})" in said(three)[0]


def of_patients(values: np.ndarray, patients: int) -> list[FilmScores]:
    return [film(f"f{n}", value, patient=f"p{n % patients}") for n, value in enumerate(values)]


def test_patients_are_not_called_films(tmp_path: Path) -> None:
    fake = Fake(tmp_path / "two", {"loss": ["dice", "bce"]})
    base = np.random.default_rng(0).normal(0.8, 0.01, 36)
    fake.write("dice", evaluation(of_patients(base + 0.02, 12)))
    fake.write("bce", evaluation(of_patients(base, 12)))
    assert said(fake)[-1].startswith("The tests are over patients: ")
    numbers = summarise_ablation(fake.results())
    assert "The tests are over patients: " in pairs_table(numbers, numbers.comparisons).caption
    less = np.where(np.arange(36) % 12 < 11, -0.01, 0.13)
    fake.write("dice", evaluation(of_patients(base + less, 12)))
    assert "lower on most patients than bce (11 of 12)" in said(fake)[0]


def test_too_few_patients_are_called_that(tmp_path: Path) -> None:
    fake = Fake(tmp_path / "two", {"loss": ["dice", "bce"]})
    base = np.random.default_rng(0).normal(0.8, 0.01, 20)
    fake.write("dice", evaluation(of_patients(base + 0.02, 1)))
    fake.write("bce", evaluation(of_patients(base, 1)))
    assert "1 patient is too few for any difference" in said(fake)[0]


def test_each_kind_of_outcome_against_a_rival_is_reported(tmp_path: Path) -> None:
    fake = Fake(tmp_path / "four", {"loss": ["dice", "bce", "tversky", "focal-tversky"]})
    noise = np.random.default_rng(0).normal(0, 0.01, COUNT)
    fake.score("dice", 0.8 + noise)
    fake.score("bce", 0.75 + noise)
    fake.score("tversky", 0.799 + np.roll(noise, 5))
    fake.score("focal-tversky", 0.74 + noise)
    first = said(fake)[0]
    assert "better than 2 of the 3 other arms (p < 0.05, Holm-corrected)" in first
    assert first.endswith("; no significant difference from the other one.")


def test_a_best_arm_with_no_significant_lead_is_reported(three: Fake) -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, COUNT)
    three.score("dice", 0.8 + noise)
    three.score("bce", 0.799 + np.roll(noise, 5))
    three.score("tversky", 0.799 + np.roll(noise, 5) - 0.0005)
    assert "none of its differences from the others is significant" in said(three)[0]
