from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrkit.config import SplitConfig
from cxrkit.data.splits import Split, has_tests, make_split
from cxrkit.errors import DataError
from cxrkit.interfaces import Entry

quickly = settings(deadline=None, max_examples=40)


def films(count: int, group_size: int = 1) -> list[Entry]:
    return [Entry(f"f{n:03d}", f"p{n // group_size:03d}") for n in range(count)]


def split(entries: list[Entry], *, seed: int = 0, protocol: Any = "honest", **config: Any) -> Split:
    return make_split(entries, SplitConfig(**config), seed, protocol)


def refused(entries: list[Entry], *parts: str, protocol: Any = "honest", **config: Any) -> None:
    with pytest.raises(DataError) as caught:
        split(entries, protocol=protocol, **config)
    for part in parts:
        assert part in str(caught.value)
    assert caught.value.remedy


def parts_of(made: Split) -> list[set[str]]:
    return [set(made.train), set(made.validation), set(made.test), set(made.left_out)]


@quickly
@given(st.data(), st.integers(0, 999), st.lists(st.integers(1, 5), min_size=8, max_size=30))
def test_patients_never_straddle_and_sizes_are_exact(data: st.DataObject, seed: int, sizes: list[int]) -> None:
    entries = [Entry(f"g{g}m{m}", f"g{g}") for g, size in enumerate(sizes) for m in range(size)]
    test_size = data.draw(st.integers(1, len(entries) // 4))
    train_size = data.draw(st.integers(2, len(entries) // 4 + 1))
    validation = data.draw(st.integers(0, train_size - 1))
    made = split(entries, seed=seed, test_size=test_size, train_size=train_size, validation=validation)
    assert len(made.test) == test_size
    assert len(made.train) == train_size - validation
    assert validation - 4 <= len(made.validation) <= validation
    parts = parts_of(made)
    assert sum(map(len, parts)) == len(set.union(*parts))
    patient = {entry.id: entry.group for entry in entries}
    patients = [{patient[film] for film in part} for part in parts[:3]]
    assert sum(map(len, patients)) == len(set.union(*patients))
    # Whoever is left out has a patient in some part, else there was no reason to.
    assert {patient[film] for film in made.left_out} <= set.union(*patients)


@quickly
@given(st.integers(0, 9999), st.integers(2, 60), st.permutations(range(100)))
def test_one_test_set_for_every_size_whatever_the_order_of_the_entries(
    seed: int, train_size: int, order: list[int]
) -> None:
    entries = films(100)
    small = split(entries, seed=seed, test_size=38, train_size=train_size, validation=0)
    full = split([entries[index] for index in order], seed=seed, test_size=38, validation=0)
    assert small.test == full.test
    assert small.train == full.train[:train_size]
    assert len(full.train) == 62
    assert not small.left_out


def test_the_paper_sizes() -> None:
    entries = films(247)
    tests = set()
    for size in (10, 20, 209):
        made = split(entries, seed=3, test_size=38, train_size=size, protocol="paper")
        assert (len(made.train), len(made.validation), len(made.test)) == (size, 0, 38)
        tests.add(made.test)
    assert len(tests) == 1


def test_seeds_differ() -> None:
    entries = films(60)
    made = [split(entries, seed=seed) for seed in range(5)]
    assert len({frozenset(item.test) for item in made}) == 5
    assert [item.seed for item in made] == list(range(5))


def test_a_seed_means_the_same_split_tomorrow() -> None:
    # Recorded with numpy 2.4's default_rng (PCG64); a change would silently change everyone's experiments.
    made = split(films(12), seed=7, test_size=3, train_size=6, validation=2)
    assert made.train == ("f004", "f006", "f010", "f000")
    assert made.validation == ("f001", "f003")
    assert made.test == ("f011", "f009", "f005")


def test_defaults_are_fractions() -> None:
    made = split(films(200))
    assert (len(made.train), len(made.validation), len(made.test)) == (153, 17, 30)


def test_validation_is_the_end_of_the_training_part() -> None:
    entries = films(50)
    whole = split(entries, test_size=10, train_size=20, validation=0)
    parted = split(entries, test_size=10, train_size=20, validation=5)
    assert (*parted.train, *parted.validation) == whole.train
    assert len(parted.validation) == 5


def test_validation_from_the_rest() -> None:
    entries = films(50)
    made = split(entries, test_size=10, train_size=15, validation="rest")
    assert len(made.train) == 15
    assert set(made.validation) == {entry.id for entry in entries} - set(made.train) - set(made.test)
    assert made.train == split(entries, test_size=10, train_size=15, validation=0).train
    refused(entries, "rest", "all 40", test_size=10, validation="rest")


def test_a_cut_patient_is_left_out_of_the_rest() -> None:
    made = split(films(40, group_size=4), test_size=6, train_size=6, validation="rest")
    assert (len(made.train), len(made.test), len(made.left_out)) == (6, 6, 4)
    assert len(made.validation) == 40 - 6 - 6 - 4


def test_very_few_films() -> None:
    one = split(films(3), test_size=1, train_size=1)
    assert (len(one.train), len(one.validation), len(one.test)) == (1, 0, 1)
    two = split(films(3), test_size=1, train_size=2)
    assert (len(two.train), len(two.validation)) == (1, 1)
    assert split(films(2), test_size=0, validation=0).test == ()
    assert len(split(films(3), test_size=0.01).test) == 1


def test_too_few_films() -> None:
    refused(films(50), "41 training films", "10 test films", "only 40", test_size=10, train_size=41)
    refused(films(5), "5 test films", "only 5", test_size=5)
    refused(films(20), "6 of the 6", "leaves none for training", test_size=2, train_size=6, validation=6)
    refused(films(9, group_size=9), "8 more belong", test_size=1)


def test_the_paper_protocol_needs_test_films() -> None:
    refused(films(9), "test films", protocol="paper", test_size=0)


def folded() -> list[Entry]:
    return [Entry(f"f{n}", f"p{n}", fold="fold1" if n < 6 else "fold2") for n in range(20)]


def test_the_test_films_of_a_fold() -> None:
    made = split(folded(), test_fold="fold1", validation=3)
    assert set(made.test) == {f"f{n}" for n in range(6)}
    assert (len(made.train), len(made.validation)) == (11, 3)
    assert set(split(folded(), seed=1, test_fold="fold1").test) == set(made.test)
    assert split(folded(), seed=1, test_fold="fold1").train != made.train
    refused(folded(), "no fold 'fold3'", "fold1, fold2", test_fold="fold3")
    refused(films(5), "without folds", test_fold="fold1")
    refused(folded(), "15 training films", "6 test films", "only 14", test_fold="fold1", train_size=15)


def test_a_patient_of_the_test_fold_does_not_train() -> None:
    entries = [*folded(), Entry("again", "p2", fold="fold2")]
    made = split(entries, test_fold="fold1", validation=0)
    assert made.left_out == ("again",)
    assert len(made.train) == 14


def test_saved_splits_come_back(tmp_path: Path) -> None:
    made = split(films(30, group_size=4), seed=5, test_size=6, train_size=9)
    made.save(tmp_path / "runs" / "split.json")
    assert Split.load(tmp_path / "runs" / "split.json") == made
    again = split(films(40, group_size=4), file=tmp_path / "runs" / "split.json", test_size=39, seed=9)
    assert again == made


def test_split_files_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    refused(films(9), "no such split file", file=path)
    split(films(12)).save(path)
    refused(films(6), str(path), "not in the dataset", file=path)
    content = json.loads(path.read_text())
    for spoilt, told in (
        ("{", "not a split"),
        (json.dumps([1, 2]), "not a split"),
        (json.dumps(content | {"test": content["train"]}), "again in test"),
        (json.dumps(content | {"train": []}), "no film trains"),
        (json.dumps(content | {"trian": []}), "trian"),
        (json.dumps({"train": ["f001"]}), "validation"),
    ):
        path.write_text(spoilt)
        refused(films(12), str(path), told, file=path)
    path.write_bytes(b"\xff\xfe\x00")
    refused(films(12), "can't be read", file=path)
    refused(films(12), "can't be read", file=tmp_path)


def test_a_file_that_tests_patients_who_train_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "split.json"
    Split(train=("f000", "f002"), validation=(), test=("f001",), seed=0).save(file)
    refused(films(6, group_size=2), str(file), "patient 'p000'", "in train and in test", file=file)
    assert split(films(6), file=file).test == ("f001",), "each film a patient of its own"


def test_the_paper_protocol_needs_a_file_with_test_films(tmp_path: Path) -> None:
    file = tmp_path / "split.json"
    Split(train=("f000",), validation=("f001",), test=(), seed=0).save(file)
    refused(films(3), "weights on the test films, but there are none", protocol="paper", file=file)


def test_whether_a_configuration_tests(tmp_path: Path) -> None:
    Split(train=("f000",), validation=(), test=(), seed=0).save(tmp_path / "none.json")
    Split(train=("f000",), validation=(), test=("f001",), seed=0).save(tmp_path / "one.json")
    assert has_tests(SplitConfig())
    assert not has_tests(SplitConfig(test_size=0))
    assert has_tests(SplitConfig(test_size=0, test_fold="fold2"))
    assert not has_tests(SplitConfig(file=tmp_path / "none.json"))
    assert has_tests(SplitConfig(test_size=0, file=tmp_path / "one.json"))
