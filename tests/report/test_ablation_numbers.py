"""Which arms of an ablation can be ranked, what their differences are worth, and what is reported beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxrkit.engine.scores import Evaluation
from cxrkit.metrics.statistics import bootstrap_interval
from cxrkit.report.ablation import all_caveats, headline, summarise_ablation
from cxrkit.report.ablation.numbers import Numbers
from cxrkit.report.ablation.tables import effects_table, levels_table, pairs_table, seeds_table
from tests.ablation.faking import Fake, evaluation, film, with_provenance


def noise(seed: int, count: int = 38, mean: float = 0.9) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 0.01, count)


@pytest.fixture
def two(tmp_path: Path) -> Fake:
    """Arms A and B with one seed."""
    return Fake(tmp_path / "two", {"arm": {"A": {"loss": "dice"}, "B": {"loss": "bce"}}})


@pytest.fixture
def two_seeds(tmp_path: Path) -> Fake:
    return Fake(tmp_path / "seeds", {"arm": {"A": {"loss": "dice"}, "B": {"loss": "bce"}}}, seeds=2)


def numbers(fake: Fake) -> Numbers:
    return summarise_ablation(fake.results())


def best(found: Numbers, key: str) -> list[str]:
    return [arm.label for arm in found.rankings[key].best]


def bold(found: Numbers, heading: str) -> list[str]:
    table = seeds_table(found)
    column = table.headings.index(heading)
    return [row[0] for index, row in enumerate(table.rows) if (index, column) in table.bold]


def first_line(found: Numbers) -> str:
    return headline(found)[0]


def test_a_higher_mean_that_most_films_speak_against_is_no_proof(two: Fake) -> None:
    a = noise(0)
    b = a + np.where(np.arange(38) < 35, 0.01, -0.35)
    two.score("A", a)
    two.score("B", b)
    said = first_line(numbers(two))
    assert said.startswith("Highest lungs Dice %: A (")
    assert "a higher mean, but lower on most films than B (35 of 38)" in said
    assert "better than" not in said


def test_a_real_difference_is_reported(two: Fake) -> None:
    two.score("A", noise(0) + 0.02)
    two.score("B", noise(0))
    said = headline(numbers(two))
    assert "A (" in said[0]
    assert "better than B (p < 0.05, Holm-corrected)" in said[0]
    assert "hold for these trained networks" in said[-1]


def test_differences_within_noise_are_called_that(two: Fake) -> None:
    two.score("A", noise(0))
    two.score("B", noise(1))
    assert "no difference is significant (all p ≥ 0.05, Holm-corrected)" in first_line(numbers(two))


def test_equal_arms_are_a_tie(two: Fake) -> None:
    two.score("A", [0.1 + 0.2] * 10)
    two.score("B", [0.3] * 10)
    found = numbers(two)
    assert "A and B (30.0): a tie." in first_line(found)
    assert "p <" not in " ".join(headline(found))
    assert bold(found, "lungs Dice %") == []


def test_too_few_films_are_called_that(two: Fake) -> None:
    two.score("A", noise(0, 5) + 0.05)
    two.score("B", noise(0, 5))
    assert "5 films are too few for any difference to be significant" in first_line(numbers(two))


def test_an_arm_with_an_easy_seed_only_does_not_win(two_seeds: Fake) -> None:
    two_seeds.score("A", noise(0, mean=0.80), 0)
    two_seeds.score("A", noise(1, mean=0.95), 1)
    two_seeds.score("B", noise(2, mean=0.94), 1)
    found = numbers(two_seeds)
    assert best(found, "lungs_dice") == ["A"]
    assert bold(found, "lungs Dice %") == ["A"]
    assert "the only arm that can be ranked. Not ranked: B (seed 0 missing)." in first_line(found)
    assert any("B: seed 0 is missing" in warning and "isn't ranked" in warning for warning in all_caveats(found))


def test_without_a_whole_arm_shared_seeds_decide(tmp_path: Path) -> None:
    fake = Fake(tmp_path, {"arm": {"A": {"loss": "dice"}, "B": {"loss": "bce"}}}, seeds=3)
    fake.score("A", noise(0, mean=0.80), 0)
    fake.score("A", noise(1, mean=0.95), 1)
    fake.score("B", noise(2, mean=0.94), 1)
    fake.score("B", noise(2, mean=0.99), 2)
    found = numbers(fake)
    assert best(found, "lungs_dice") == ["A"], "0.95 against 0.94 with the seed that both have"
    assert "on the films of seed 1 that all ranked arms share)" in first_line(found)
    assert any("No arm has every seed" in warning for warning in all_caveats(found))


def test_arms_that_share_no_seed_are_not_ranked(two_seeds: Fake) -> None:
    two_seeds.score("A", noise(0), 0)
    two_seeds.score("B", noise(1), 1)
    found = numbers(two_seeds)
    assert best(found, "lungs_dice") == []
    assert "can't be compared" in first_line(found)
    assert pairs_table(found, found.comparisons).rows[0][3] == "not comparable"
    assert any(warning.startswith("Arms aren't comparable in") for warning in all_caveats(found))


def test_an_arm_that_lost_its_hard_films_does_not_win(two: Fake) -> None:
    true = 0.5
    lost = [film(f"film-{n}", 0.9, ctr=(0.51 if n == 0 else None, true)) for n in range(8)]
    whole = [film(f"film-{n}", 0.9, ctr=(0.52, true)) for n in range(7)] + [film("film-7", 0.9, ctr=(0.53, true))]
    two.write("A", evaluation(lost))
    two.write("B", evaluation(whole))
    found = numbers(two)
    assert best(found, "ctr_error") == ["B"]
    assert bold(found, "CTR error") == ["B"]
    assert any("CTR error: no value for A (7 of 8 films)" in warning for warning in all_caveats(found))
    assert found.arms[0].cells["ctr_error"].lost == 7


def test_a_measure_that_a_finished_run_lacks_is_absent_not_damaged(two: Fake) -> None:
    content = evaluation([film("a", 0.9), film("b", 0.8)]).model_dump()
    two.write("A", evaluation([film("a", 0.9), film("b", 0.8)]))
    for scored in content["films"]:
        for structure in scored["structures"].values():
            del structure["assd"]
    two.write("B", Evaluation.model_validate(content))
    found = numbers(two)
    assert [run.state for run in found.results.runs] == ["finished", "finished"]
    assert best(found, "lungs_assd") == ["A"]
    assert found.arms[1].cells["lungs_assd"].values == {}
    assert not any("ASSD" in warning for warning in all_caveats(found))


def test_a_film_without_a_true_ratio_is_not_lost(two: Fake) -> None:
    for arm in ("A", "B"):
        two.write(arm, evaluation([film("a", 0.9, ctr=(None, None)), film("b", 0.9, ctr=(0.5, 0.5))]))
    found = numbers(two)
    assert found.arms[0].cells["ctr_error"].lost == 0
    assert not any("CTR" in warning for warning in all_caveats(found))


def test_arms_with_other_test_films_are_ranked_on_the_common_ones(two: Fake) -> None:
    two.score("A", {"easy": 0.99, "common": 0.80, "other": 0.80})
    two.score("B", {"hard": 0.50, "common": 0.85, "other": 0.85})
    found = numbers(two)
    assert best(found, "lungs_dice") == ["B"]
    assert any("different films with seed 0 (2 films are common to all)" in warning for warning in all_caveats(found))


def test_arms_without_a_common_film_are_not_comparable(two: Fake) -> None:
    two.score("A", {"a": 0.99})
    two.score("B", {"b": 0.50})
    found = numbers(two)
    assert best(found, "lungs_dice") == []
    row = pairs_table(found, found.comparisons).rows[0]
    assert row[:4] == ("lungs Dice %", "A", "B", "not comparable")


def test_distances_in_pixels_of_other_sizes_are_not_ranked(tmp_path: Path) -> None:
    fake = Fake(tmp_path, {"size": [32, 64]})
    for slug in ("size-32", "size-64"):
        fake.score(slug, noise(0, 8))
    found = numbers(fake)
    assert best(found, "lungs_hd95") == []
    assert len(best(found, "lungs_dice")) == 2
    assert any("lungs HD95 px" in warning and "32, 64" in warning for warning in all_caveats(found))


def test_structures_may_differ_between_arms(tmp_path: Path) -> None:
    factor: dict[str, Any] = {"lungs": {"structures": ["left_lung"]}, "both": {"structures": ["left_lung", "heart"]}}
    fake = Fake(tmp_path, {"parts": factor})
    fake.write("lungs", evaluation([film(f"{n}", 0.9, structures=["lungs"]) for n in range(8)]))
    fake.write("both", evaluation([film(f"{n}", 0.8) for n in range(8)]))
    found = numbers(fake)
    table = effects_table(found)
    heart = table.headings.index("heart Dice %")
    assert [row[heart] for row in table.rows] == ["–", "–"]
    main = seeds_table(found)
    assert [row[main.headings.index("heart Dice %")] for row in main.rows] == ["–", "80.0"]
    assert any("main effect of parts on heart Dice %" in warning for warning in all_caveats(found))


class TestMainEffects:
    @staticmethod
    def square(path: Path) -> Fake:
        return Fake(path, {"loss": ["dice", "bce"], "train_size": [4, 6]})

    def test_a_missing_hard_cell_does_not_help_its_level(self, tmp_path: Path) -> None:
        fake = self.square(tmp_path)
        fake.score("dice_train-size-4", [0.70] * 8)
        fake.score("dice_train-size-6", [0.90] * 8)
        fake.score("bce_train-size-6", [0.89] * 8)
        found = numbers(fake)
        loss = next(e for e in found.effects if e.factor == "loss" and e.column.key == "lungs_dice").levels
        assert loss["dice"] == pytest.approx([0.90]), "not 0.80, the mean over both of its runs"
        assert loss["bce"] == pytest.approx([0.89])
        assert [row[2] for row in effects_table(found).rows] == ["1 of 2"] * 4

    def test_levels_that_share_no_block_have_no_effect(self, tmp_path: Path) -> None:
        fake = self.square(tmp_path)
        fake.score("dice_train-size-4", [0.70] * 8)
        fake.score("bce_train-size-6", [0.89] * 8)
        found = numbers(fake)
        assert effects_table(found) is None
        assert any("The main effect of loss on" in w and "is left out" in w for w in all_caveats(found))

    def test_only_common_films_count(self, tmp_path: Path) -> None:
        fake = Fake(tmp_path, {"loss": ["dice", "bce"]})
        fake.score("dice", {"a": 0.9, "b": 0.5})
        fake.score("bce", {"a": 0.8})
        [effects] = [e for e in numbers(fake).effects if e.column.key == "lungs_dice"]
        assert [*effects.levels["dice"], *effects.levels["bce"]] == pytest.approx([0.9, 0.8])


class TestLevelsOverRuns:
    def test_a_small_difference_in_every_pair_of_runs_is_reported(self, tmp_path: Path) -> None:
        fake = Fake(tmp_path, {"loss": ["dice", "bce"], "train_size": [4, 6]}, seeds=4)
        for size, level in ((4, 0.70), (6, 0.90)):
            for seed in range(4):
                films = noise(10 * size + seed, 8, mean=level)
                fake.score(f"dice_train-size-{size}", films, seed)
                fake.score(f"bce_train-size-{size}", films - 0.01 - 0.001 * seed, seed)
        found = numbers(fake)
        loss, size = [p for p in found.level_pairs if p.column.key == "lungs_dice"]
        assert (loss.first, loss.second, loss.test.items, loss.test.above) == ("dice", "bce", 8, 8)
        assert loss.test.difference == pytest.approx(0.0115)
        assert loss.std == pytest.approx(np.std([0, 1e-3, 2e-3, 3e-3] * 2, ddof=1))
        assert loss.test.p == pytest.approx(2 / 2**8)
        assert size.test.above == 0, "six films train better than four"
        row = levels_table(found).rows[0]
        assert row[:6] == ("lungs Dice %", "loss", "dice", "bce", "+1.15 ± 0.12", "8 of 8")

    def test_p_is_corrected_over_the_factors_pairs(self, tmp_path: Path) -> None:
        fake = Fake(tmp_path, {"loss": ["dice", "bce", "tversky"]}, seeds=7)
        for place, slug in enumerate(("dice", "bce", "tversky")):
            for seed in range(7):
                fake.score(slug, noise(seed, 8, mean=0.9 + 0.02 * place), seed)
        pairs = [p for p in numbers(fake).level_pairs if p.column.key == "heart_dice"]
        assert [p.test.p for p in pairs] == pytest.approx([2 / 2**7] * 3)
        assert [p.corrected for p in pairs] == pytest.approx([3 * 2 / 2**7] * 3)

    def test_too_few_runs_are_reported(self, tmp_path: Path) -> None:
        fake = Fake(tmp_path, {"loss": ["dice", "bce"]}, seeds=2)
        for seed in range(2):
            fake.score("dice", [0.9] * 8, seed)
            fake.score("bce", [0.8] * 8, seed)
        assert "too few runs for any corrected p below 0.05 in loss." in levels_table(numbers(fake)).caption

    def test_a_single_run_of_each_level_is_no_comparison(self, tmp_path: Path) -> None:
        fake = Fake(tmp_path, {"loss": ["dice", "bce"]})
        fake.score("dice", [0.9] * 8)
        fake.score("bce", [0.8] * 8)
        assert numbers(fake).level_pairs == ()


def test_the_papers_protocol_shows_both_selections(two: Fake) -> None:
    for arm, last, chosen in (("A", 0.90, 0.91), ("B", 0.80, 0.95)):
        two.write(arm, evaluation([film(f"{n}", last) for n in range(8)]))
        two.write(arm, evaluation([film(f"{n}", chosen) for n in range(8)], "best", "test"))
    found = numbers(two)
    table = seeds_table(found)
    assert "of the last weights" in table.caption
    row = dict(zip(table.headings, table.rows[1], strict=True))
    assert row["lungs Dice %"] == "80.0"
    assert row["paper DSC % (chosen on test)"] == "95.0"
    assert row["paper DSC % (not chosen on test)"] == "80.0"
    assert best(found, "paper_dsc") == ["B"]
    assert best(found, "paper_dsc_honest_weights") == ["A"]
    assert any("optimistic" in warning for warning in all_caveats(found))


def test_missed_structures_have_a_column_where_there_are_any(two: Fake) -> None:
    two.score("A", [0.9] * 8)
    two.score("B", [0.9] * 8)
    assert "missed" not in seeds_table(numbers(two)).headings
    two.score("B", [0.9] * 7 + [0.0])
    table = seeds_table(numbers(two))
    assert [dict(zip(table.headings, row, strict=True))["missed"] for row in table.rows] == ["0", "1"]  # the heart
    assert "no pixel in common with the true one" in table.caption


def test_weights_that_were_chosen_in_different_ways_are_reported(two: Fake) -> None:
    two.write("A", evaluation([film("a", 0.9)]))
    two.write("B", evaluation([film("a", 0.9)], "best", "validation"))
    assert any("chosen in different ways" in warning for warning in all_caveats(numbers(two)))


def test_pairs_are_of_every_measure_and_corrected_within_each(tmp_path: Path) -> None:
    fake = Fake(tmp_path, {"loss": ["dice", "bce", "tversky"]})
    for index, slug in enumerate(("dice", "bce", "tversky")):
        fake.score(slug, noise(index, 12) + 0.01 * index)
    found = numbers(fake)
    keys = [c.column.key for c in found.comparisons]
    assert {key: keys.count(key) for key in keys} == {column.key: 3 for column in found.columns}
    for column in found.columns:
        tests = [c for c in found.comparisons if c.column == column]
        lowest = min(tests, key=lambda c: c.test.p if c.test else 1.0)
        assert lowest.test is not None
        assert lowest.corrected == pytest.approx(min(1.0, 3 * lowest.test.p))


def test_a_live_table_needs_no_tests(two: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    from cxrkit.report.ablation import cells, differences

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("too much work for a live table")

    monkeypatch.setattr(differences, "compare", refuse)
    monkeypatch.setattr(cells, "bootstrap_interval", refuse)
    two.score("A", noise(0))
    two.score("B", noise(1))
    assert seeds_table(numbers(two)).rich().row_count == 2


def test_better_means_with_every_seed(two_seeds: Fake) -> None:
    for seed, lead in ((0, 0.03), (1, -0.01)):
        films = {f"seed-{seed}-{n:02}": value for n, value in enumerate(noise(seed))}
        two_seeds.score("A", {name: value + lead for name, value in films.items()}, seed)
        two_seeds.score("B", films, seed)
    found = numbers(two_seeds)
    row = pairs_table(found, found.comparisons).rows[0]
    assert row[5] == "1 of 2"
    said = first_line(found)
    assert "higher than B, but not with every seed" in said
    assert "better" not in said


def test_films_of_one_patient_are_one_witness(two: Fake) -> None:
    random = np.random.default_rng(0)
    leads = np.repeat(random.normal(0.02, 0.03, 6), 5)  # of 6 patients, 5 films each
    a, b = ([], [])
    for n, (value, lead) in enumerate(zip(noise(1, 30, mean=0.8), leads, strict=True)):
        a.append(film(f"f{n}", value + lead, patient=f"p{n // 5}"))
        b.append(film(f"f{n}", value, patient=f"p{n // 5}"))
    two.write("A", evaluation(a))
    two.write("B", evaluation(b))
    found = numbers(two)
    comparison = next(c for c in found.comparisons if c.column.key == "lungs_dice")
    assert comparison.test is not None
    assert comparison.test.items == 6
    assert comparison.test.difference == pytest.approx(leads.mean())
    assert pairs_table(found, found.comparisons).headings[-1] == "patients"
    cell = found.arms[0].cells["lungs_dice"]
    assert len(cell.films) == 30
    assert cell.interval is not None
    over_patients = bootstrap_interval([np.mean([f.dsc for f in a[5 * k : 5 * k + 5]]) for k in range(6)])
    assert over_patients is not None
    assert cell.interval.low == pytest.approx(over_patients.low, abs=5e-4), "but for rounding"


def test_the_interval_over_films_is_of_the_mean_over_films(two: Fake) -> None:
    many = [film(f"many-{n}", 0.5 + 0.001 * n, patient="many") for n in range(30)]
    few = [film(f"{n}-{k}", 0.9 - 0.01 * n, patient=f"p{n}") for n in range(8) for k in range(1 + n % 2)]
    two.write("A", evaluation([*many, *few]))
    cell = numbers(two).arms[0].cells["lungs_dice"]
    mean = np.mean(list(cell.films.values()))
    assert cell.interval is not None
    assert cell.interval.low < mean < cell.interval.high, "0.62, far below the mean over patients, 0.82"
    assert cell.interval.high - cell.interval.low > 0.1, "one patient has most of the films"


def test_the_papers_measures_of_other_channels_are_not_ranked(two: Fake) -> None:
    with_provenance(two.score("A", noise(0) + 0.02))
    with_provenance(two.score("B", noise(0)), channels=("heart",))
    found = numbers(two)
    assert best(found, "paper_dsc") == best(found, "paper_iou") == []
    assert best(found, "lungs_dice") == ["A"]
    assert any("all of a network's channels, which differ" in warning for warning in all_caveats(found))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"fingerprint": "g"}, "changed between runs"),
        ({"precision": "bf16"}, "differ in precision (32, bf16)"),
        ({"hardware": {"name": "a GPU"}}, "differ in device (a CPU, a GPU)"),
        ({"packages": {"torch": "2.6.0"}}, "differ in torch (2.13.0, 2.6.0)"),
    ],
)
def test_what_else_differs_between_runs_is_reported(two: Fake, changes: dict[str, Any], said: str) -> None:
    with_provenance(two.score("A", noise(0)))
    with_provenance(two.score("B", noise(1)))
    assert not any(said in warning for warning in all_caveats(numbers(two)))
    with_provenance(two.score("B", noise(1)), **changes)
    assert any(said in warning for warning in all_caveats(numbers(two)))


def test_one_split_for_all_seeds_and_batches_of_other_sizes_are_reported(tmp_path: Path) -> None:
    fake = Fake(tmp_path, {"batch_size": [2, 4], "split.file": [str(tmp_path / "split.json")]}, seeds=2)
    for slug, seed in fake.runs:
        fake.score(slug, noise(seed), seed)
    warnings = all_caveats(numbers(fake))
    assert any("split.json" in warning and "initial weights" in warning for warning in warnings)
    assert any("batches differ in size" in warning for warning in warnings)
