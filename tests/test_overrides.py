from __future__ import annotations

from pathlib import Path

import pytest

from cxrkit.errors import ConfigError
from cxrkit.yaml_text import read_yaml


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: unet\nmodel: smp\n", "the key 'model' is given twice"),
        ("train: {lr: 1, lr: 2}\n", "the key 'lr' is given twice"),
        ("a: !!map [1, 2]\n", "not a readable YAML file"),
        ("[" * 5000, "nested too deeply"),
        ("model: !!python/object/apply:os.system [true]\n", "not a readable YAML file"),
    ],
)
def test_files_that_could_mean_anything_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "settings.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_yaml(tmp_path / "settings.yaml")


def test_a_merge_key_still_works(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: &c {<<: *a, x: 3}\nd: {<<: *c}\n")
    read = read_yaml(tmp_path / "settings.yaml")
    assert read["b"] == {"x": 1, "y": 2}
    assert read["c"] == read["d"] == {"x": 3}
