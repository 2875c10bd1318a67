"""Several datasets as one: structures, films, stores, splits and findings."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cxrkit.config import SplitConfig, make_config
from cxrkit.data.check import check_datasets
from cxrkit.data.joined import JoinedStore, join_structures
from cxrkit.data.making import index_hash
from cxrkit.data.splits import make_split
from cxrkit.data.store import Store
from cxrkit.engine.films import build_datasets, prepare_store
from cxrkit.engine.observer import Silent
from cxrkit.errors import DataError
from cxrkit.interfaces import Entry
from cxrkit.plugins import registry

Hospital = Callable[..., Path]
LUNGS = ("left_lung", "right_lung")


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    """A folder of films of noise whose structures are rectangles."""

    def make(name: str, structures: tuple[str, ...], count: int = 4, seed: int = 0) -> Path:
        random, root = np.random.default_rng([seed, len(name)]), tmp_path / name
        for number in range(count):
            film = Image.fromarray(random.integers(0, 255, (40, 40), dtype=np.uint8))
            for place, part in enumerate(["images", *(f"masks/{structure}" for structure in structures)]):
                (root / part).mkdir(parents=True, exist_ok=True)
                mask = np.zeros((40, 40), np.uint8)
                mask[5 : 30 - number, 4 * place : 4 * place + 10] = 255
                (film if part == "images" else Image.fromarray(mask)).save(root / part / f"{number}.png")
        return root

    return make


def open_(*roots: Path, missing: str = "error", **more: Any) -> Store:
    data = [{"name": "folder", "root": str(root), "missing": missing} for root in roots]
    return prepare_store(make_config({"data": data, "preprocess": {"size": 32}, **more}), registry(), Silent())


def test_films_keep_what_they_have_and_the_rest_is_unknown(hospital: Hospital) -> None:
    both, lungs = hospital("both", (*LUNGS, "heart")), hospital("lungs", LUNGS)
    store = open_(lungs, both)
    assert isinstance(store, JoinedStore)
    assert store.structures == (*LUNGS, "heart")
    assert store.ids == tuple(f"{name}+{number}" for name in ("lungs", "both") for number in range(4))
    assert [entry.dataset for entry in store.entries] == ["lungs"] * 4 + ["both"] * 4
    alone = {"lungs": open_(lungs), "both": open_(both)}
    assert {name: part.content_hash for name, part in store.parts.items()} == {
        name: part.content_hash for name, part in alone.items()
    }
    assert [part.path for part in store.parts.values()] == [part.path for part in alone.values()]
    batch = store.batch([6, 1, 0], background=True, standardise=True)
    assert batch.known is not None
    assert batch.known.tolist() == [[True] * 4, [True, True, False, False], [True, True, False, False]]
    for place, (name, film) in enumerate((("both", 2), ("lungs", 1), ("lungs", 0))):
        own = alone[name].batch([film], background=False, standardise=True)
        channels = [store.structures.index(structure) for structure in alone[name].structures]
        assert batch.images[place].equal(own.images[0])
        assert batch.targets[place, channels].equal(own.targets[0])


def test_a_dataset_without_any_of_the_structures_is_left_out(hospital: Hospital) -> None:
    both, lungs = hospital("both", (*LUNGS, "heart")), hospital("lungs", LUNGS)
    with pytest.warns(UserWarning, match="lungs has none of the structures and is left out"):
        store = open_(both, lungs, structures=["heart"])
    assert {entry.dataset for entry in store.entries} == {"both"}
    with pytest.raises(DataError, match=r"both, lungs: there are no masks of 'hart'(?s:.*)Did you mean 'heart'"):
        open_(both, lungs, structures=["hart"])


def test_masks_that_films_of_one_dataset_lack_are_unknown_where_that_is_asked_for(hospital: Hospital) -> None:
    root = hospital("one", (*LUNGS, "heart"))
    for missing in ("heart/1.png", "heart/2.png", "left_lung/2.png", "right_lung/2.png"):
        (root / "masks" / missing).unlink()
    with pytest.raises(DataError, match="2 of 4 films can't be used") as caught:
        open_(root)
    assert "--set data.missing=unknown" in caught.value.remedy
    with pytest.warns(UserWarning, match="1 of the 4 films have no mask"):
        store = open_(root, missing="unknown")
    assert store.ids == ("0", "1", "3")
    assert store.known is not None
    assert store.known.tolist() == [[True] * 3, [True, True, False], [True] * 3]
    (root / "manifest.csv").write_text(
        "image,left_lung,heart\nimages/0.png,masks/left_lung/0.png,\nimages/3.png,masks/left_lung/9.png,masks/heart/3.png\n"
    )
    with pytest.raises(DataError, match="line 2: the cell 'heart' is empty"):
        open_(root)
    store = open_(root, missing="unknown")
    assert store.known is not None
    assert store.known.tolist() == [[True, False], [False, True]]
    (root / "images/3.png").unlink()
    with pytest.raises(DataError, match=r"there is no file .*images/3\.png"):
        open_(root, missing="unknown")


@pytest.mark.parametrize(
    ("other", "pair"),
    [
        (("lung_left", "right_lung"), "'left_lung', and other of 'lung_left'"),
        (("left_lungs", "right_lung"), "'left_lung', and other of 'left_lungs'"),
        ((*LUNGS, "hart"), "'heart', and other of 'hart'"),
    ],
)
def test_names_that_contradict_each_other_are_refused_unless_asked_for(other: tuple[str, ...], pair: str) -> None:
    datasets = {"one": (*LUNGS, "heart"), "other": other}
    with pytest.raises(DataError, match=pair):
        join_structures(datasets, None)
    asked = (*LUNGS, "heart", *(name for name in other if name not in (*LUNGS, "heart")))
    assert join_structures(datasets, asked) == asked


def test_names_of_different_things_are_not_contradictory() -> None:
    left, right = ("left_lung", "left_clavicle"), ("right_lung", "right_clavicle")
    with pytest.warns(UserWarning, match="left.*right.*have no structure in common"):
        assert join_structures({"left": left, "right": right}, None) == (*left, *right)


def test_films_that_two_datasets_share_stay_in_one_part_of_a_split(hospital: Hospital) -> None:
    one, other = hospital("one", LUNGS, 12), hospital("other", (*LUNGS, "heart"), 12, seed=1)
    for number in range(6):
        shutil.copy(one / f"images/{number}.png", other / f"images/{11 - number}.png")
    with pytest.warns(UserWarning, match=r"6 films are in several datasets: one\+"):
        entries = open_(one, other).entries
    same = [{f"one+{number}", f"other+{11 - number}"} for number in range(6)]
    for seed in range(20):
        split = make_split(entries, SplitConfig(test_size=0.3, validation=0.3), seed)
        parts = [set(part) for part in (split.train, split.validation, split.test)]
        assert all(sum(bool(pair & part) for part in parts) <= 1 for pair in same)
        assert len(set(split.left_out).union(*parts)) == 24


def test_films_of_several_datasets_are_compared_without_reading_them(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots = hospital("one", LUNGS), hospital("other", LUNGS)
    store = open_(*roots)
    assert isinstance(store, JoinedStore)
    hashes = [hashlib.sha256(store.load([index])[0].tobytes()).hexdigest() for index in range(len(store))]

    def refuse(*_: Any) -> Any:
        raise AssertionError("films were read")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "_planes", refuse)
        again = open_(*roots)
        assert again.image_hashes([3, 0]) == [hashes[3], hashes[0]]
        assert again.without(store, [0, 1]) == tuple(range(2, 8))
    for part in store.parts.values():  # as stores were before
        with h5py.File(part.path, "r+") as file:
            del file["image_hashes"]
            file.attrs["index_hash"] = index_hash(file)
    before = open_(*roots)
    assert before.hashes == store.hashes


def films(sizes: Mapping[str, int], fold: str | None = None) -> list[Entry]:
    return [
        Entry(f"{name}+{number}", f"{name}+{number}", dataset=name, fold=fold if number % 4 == 0 else None)
        for name, size in sizes.items()
        for number in range(size)
    ]


sizes = st.dictionaries(st.sampled_from("abcd"), st.integers(8, 40), min_size=2)


@settings(deadline=None, max_examples=40)
@given(sizes, st.integers(0, 99))
def test_by_fractions_each_dataset_is_split_as_it_is_alone(sizes: dict[str, int], seed: int) -> None:
    config = SplitConfig(test_size=0.2, validation=0.1)
    together = make_split(films(sizes), config, seed)
    for name, size in sizes.items():
        alone = make_split(films({name: size}), config, seed)
        for part in ("train", "validation", "test"):
            own = [film for film in getattr(together, part) if film.startswith(f"{name}+")]
            assert own == list(getattr(alone, part))


@settings(deadline=None, max_examples=40)
@given(sizes, st.integers(0, 99), st.data())
def test_counts_are_divided_and_more_films_include_fewer(sizes: dict[str, int], seed: int, data: st.DataObject) -> None:
    total = sum(sizes.values())
    tests = data.draw(st.integers(len(sizes), total // 3))
    most = data.draw(st.integers(len(sizes) + 1, total - tests))
    large, small = (
        make_split(films(sizes), SplitConfig(train_size=size, test_size=tests, validation=0), seed)
        for size in (most, data.draw(st.integers(len(sizes), most)))
    )
    assert (len(large.train), len(large.test)) == (most, tests)
    assert set(small.train) <= set(large.train)
    assert small.test == large.test
    for part in (small.train, small.test):
        assert {film.partition("+")[0] for film in part} == sizes.keys()


def test_a_fold_of_one_dataset_leaves_the_others_to_their_sizes() -> None:
    split = make_split([*films({"a": 20}, fold="official"), *films({"b": 20})], SplitConfig(test_fold="official"), 0)
    assert [film for film in split.test if film.startswith("a")] == [
        film for film in split.test if film in {f"a+{number}" for number in range(0, 20, 4)}
    ]
    assert sum(film.startswith("b") for film in split.test) == 3
    with pytest.raises(DataError, match="no fold 'other'"):
        make_split(films({"a": 20, "b": 20}, fold="official"), SplitConfig(test_fold="other"), 0)


@pytest.mark.parametrize("size", [1, 35])
def test_training_films_that_cannot_be_divided(size: int) -> None:
    with pytest.raises(DataError, match=f"{size} training films were requested of 2 datasets, which have 34"):
        make_split(films({"a": 20, "b": 20}), SplitConfig(train_size=size), 0)


def test_a_check_says_who_annotates_what_and_finds_films_of_both(hospital: Hospital) -> None:
    both, lungs = hospital("both", (*LUNGS, "heart")), hospital("lungs", LUNGS, 3)
    shutil.copy(both / "images/1.png", lungs / "images/2.png")
    data = [{"name": "folder", "root": str(root)} for root in (both, lungs)]
    found = check_datasets(build_datasets(make_config({"data": data}), registry()))
    notes = {one.id: one for one in found if "with masks of" in one.message}
    assert notes["both"].message == "4 films, with masks of left_lung on 4, right_lung on 4, heart on 4."
    assert notes["lungs"].message == "3 films, with masks of left_lung on 3, right_lung on 3."
    assert notes["lungs"].remedy == "Here heart is unknown, not absent."
    assert "Several datasets have a film called '0', and 2 more." in [one.message for one in found]
    (same,) = [one for one in found if "same pixels" in one.message]
    assert (same.id, same.severity) == ("lungs+2", "warning")
    assert "'both+1'" in same.message
