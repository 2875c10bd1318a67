from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxrkit.data.samples import choose_structures, list_entries, read_sample
from cxrkit.errors import ContractError, CxrkitError, DataError
from cxrkit.interfaces import Entry, Sample

ALL = ("left_lung", "right_lung", "heart")


def read_changed(chests: Callable[..., Any], change: Callable[[Sample], object]) -> Sample:
    dataset = chests(change={"film_000": change})
    return read_sample(dataset, dataset.entries()[0], ALL)


def with_mask(sample: Sample, mask: object) -> Sample:
    return replace(sample, masks={**sample.masks, "heart": mask})  # type: ignore[dict-item]


def test_a_good_sample_passes(chests: Callable[..., Any]) -> None:
    assert read_changed(chests, lambda sample: sample).id == "film_000"
    assert read_changed(chests, lambda sample: replace(sample, spacing=None)).spacing is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda s: None, "a cxrkit.Sample"),
        (lambda s: replace(s, image=s.image.astype(float)), "float64"),
        (lambda s: replace(s, image=s.image[None]), "(1, 160, 144)"),
        (lambda s: replace(s, image=s.image[:0]), "empty"),
        (lambda s: replace(s, image=np.full(s.image.shape, np.nan, np.float32)), "NaN"),
        (lambda s: replace(s, spacing=(0.1, -1.0)), "spacing"),
        (lambda s: with_mask(s, s.masks["heart"].astype(np.uint8)), "uint8"),
        (lambda s: with_mask(s, s.masks["heart"].tolist()), "list"),
    ],
)
def test_broken_contracts_say_what_was_expected_and_what_came(
    chests: Callable[..., Any], change: Callable[[Sample], object], told: str
) -> None:
    with pytest.raises(ContractError) as caught:
        read_changed(chests, change)
    assert told in caught.value.what
    assert "ChestDataset" in caught.value.what
    assert "film_000" in caught.value.what


def test_missing_and_misfitting_masks_name_the_files(chests: Callable[..., Any]) -> None:
    def without_heart(sample: Sample) -> Sample:
        return replace(sample, masks={name: mask for name, mask in sample.masks.items() if name != "heart"})

    for change, told in (
        (without_heart, "no mask of 'heart'"),
        (lambda s: with_mask(s, s.masks["heart"][:100]), "144 × 160 pixels, but its mask of 'heart' is 144 × 100"),
    ):
        with pytest.raises(DataError) as caught:
            read_changed(chests, change)
        assert told in caught.value.what
        assert "film_000.raw" in caught.value.what
        assert caught.value.remedy


def test_errors_of_the_plugin(chests: Callable[..., Any]) -> None:
    def fail(error: Exception) -> Callable[[Sample], object]:
        def change(sample: Sample) -> object:
            raise error

        return change

    with pytest.raises(DataError, match="disk gone"):
        read_changed(chests, fail(OSError("disk gone")))
    own = DataError("mine", "remedy")
    with pytest.raises(CxrkitError) as caught:
        read_changed(chests, fail(own))
    assert caught.value is own
    with pytest.raises(DataError, match=r"'film_000' can't be read \(ZeroDivisionError: nought\)") as foreign:
        read_changed(chests, fail(ZeroDivisionError("nought")))
    assert isinstance(foreign.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize("labelled", [("haert",), "heart", ["heart"]])
def test_labels_are_a_tuple_of_the_datasets_structures(chests: Callable[..., Any], labelled: Any) -> None:
    with pytest.raises(ContractError, match=r"film 'a' is labelled with .*haert|heart"):
        list_entries(chests(entries=[Entry("a", "a", labelled=labelled)]))


def test_structures(chests: Callable[..., Any]) -> None:
    dataset = chests()
    assert choose_structures(dataset, None) == ALL
    assert choose_structures(dataset, ["heart", "left_lung"]) == ("heart", "left_lung")
    for asked, told in ((["haert"], "Did you mean 'heart'"), ([], "No structure"), (["heart", "heart"], "twice")):
        with pytest.raises(DataError, match=told):
            choose_structures(dataset, asked)
    dataset.structures = ("heart", "background")
    with pytest.raises(ContractError, match="background"):
        choose_structures(dataset, ["heart"])
    dataset.structures = ("heart", "../../Lung")
    with pytest.raises(ContractError, match="Lung"):
        choose_structures(dataset, ["heart"])
    dataset.structures = ()
    with pytest.raises(ContractError, match="no structures"):
        choose_structures(dataset, None)


@pytest.mark.parametrize(
    ("ids", "told"),
    [
        ([], "no films"),
        (["a", "b", "a"], "'a' occurs twice"),
        (["a/b"], "file name"),
        ([".."], "file name"),
        ([""], "''"),
        (["byte\udcff"], "isn't text"),
    ],
)
def test_entries_need_ids_that_are_unique_file_names(chests: Callable[..., Any], ids: list[str], told: str) -> None:
    with pytest.raises(DataError) as caught:
        list_entries(chests(entries=[Entry(name, name, (Path("x.png"),)) for name in ids]))
    assert told in caught.value.what
