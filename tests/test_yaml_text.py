"""Settings are read as they are meant, and no text costs more than its length."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cxrkit.config import make_config
from cxrkit.errors import ConfigError
from cxrkit.yaml_text import read_value, read_yaml, to_yaml

_TEN = ", ".join
LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{_TEN([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10))
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [{_TEN([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, 10))
CHAIN = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: *a{n - 1}}}\n" for n in range(1, 2000))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: unet\nmodel: smp\n", "line 2, column 1: the key 'model' is given twice"),
        ("train: {lr: 1, lr: 2}\n", "the key 'lr' is given twice"),
        ("a: !!map [1, 2]\n", "not a readable YAML file"),
        ("a: !!int abc\n", "'abc' is not a number"),
        ("a: !!bool abc\n", "neither true nor false"),
        ("a: !!timestamp abc\n", "not a readable YAML file"),
        ("[" * 5000, "nested too deeply"),
        ("? " * 5000, "nested too deeply"),
        ("model: !!python/object/apply:os.system [true]\n", "not a readable YAML file"),
        (LAUGHS, "more than 20,000 values"),
        (MERGES, "more than 20,000 values"),
        (CHAIN, "nested too deeply"),
        ("a: &a [*a]\n", "an alias within what it stands for"),
        (f"a: {'9' * 5000}\n", "too large a whole number"),
        ("a: 1e999\n", "too large a number"),
        ('a: "\\0"\n', "a character that text can't have"),
        ('a: "\\ud800"\n', "a character that text can't have"),
        ('a: "\\UFFFFFFFF"\n', "a character that doesn't exist"),
        (f"{'k' * 900}: 1\n", "a key of 900 characters"),
        ("x" * 600_000, "longer than 500,000 characters"),
        ("- 1\n" * 60_000, "more than 20,000 values"),
        ("*" + "b" * 50_000, "undefined alias"),
    ],
    ids=range(22),
)
def test_files_that_could_mean_anything_or_cost_much_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "settings.yaml").write_text(text)
    began = time.process_time()
    with pytest.raises(ConfigError, match=message) as caught:
        read_yaml(tmp_path / "settings.yaml")
    assert time.process_time() - began < 10
    assert len(str(caught.value)) < 600


def test_an_endless_file_is_not_read_to_its_end() -> None:
    with pytest.raises(ConfigError, match="/dev/zero: not a readable YAML file"):
        read_yaml(Path("/dev/zero"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1:30", "1:30"),
        ("12:30:45", "12:30:45"),
        ("1_000", "1_000"),
        ("010", "010"),
        ("2026-01-01", "2026-01-01"),
        ("=", "="),
        ("1e-3", 0.001),
        ("+.5", 0.5),
        ("-.inf", -math.inf),
        ("0x1F", 31),
        ("-7", -7),
        ("off", False),
        ("Yes", True),
        ("~", None),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_values_are_what_they_look_like(text: str, value: Any) -> None:
    read = read_value(text)
    assert (read, type(read)) == (value, type(value))


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
    | st.from_regex(r"[-+0-9_.:eExon~]{1,8}", fullmatch=True),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc1:.", max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(_VALUES)
@example("\x85")
@example(["a\u2028b", "\r\n"])
def test_what_is_written_is_read_back(value: Any) -> None:
    assert read_value(to_yaml({"key": value})) == {"key": value}


def test_a_name_in_another_encoding_is_refused_before_it_is_written() -> None:
    with pytest.raises(ConfigError, match=r"'/films/\\udcff': this name is not UTF-8"):
        to_yaml({"data": {"root": "/films/\udcff"}})


def test_a_merge_key_still_works(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: &c {<<: *a, x: 3}\nd: {<<: *c}\n")
    read = read_yaml(tmp_path / "settings.yaml")
    assert read["b"] == {"x": 1, "y": 2}
    assert read["c"] == read["d"] == {"x": 3}


@pytest.mark.parametrize(
    "settings",
    [
        {"train": {"steps": "x" * 100_000}},
        {"loss": "x " * 50_000},
        {"x" * 200: 1},
        {f"key{number}": 1 for number in range(5000)},
        {"model": {"name": "unet"}, "seed": 10**4000},
        {"train": [[1] * 5000] * 100},
    ],
    ids=range(6),
)
def test_messages_stay_short_whatever_the_value(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        make_config(settings)
    assert len(str(caught.value)) < 5000


def test_a_switch_is_a_switch_however_yaml_reads_it() -> None:
    for text in ("on", '"on"', "true"):
        assert make_config({"train": read_value(f"compile: {text}")}).train.compile == "on"
