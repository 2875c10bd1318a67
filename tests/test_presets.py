"""Presets lie between the defaults and what the user says."""

from __future__ import annotations

import pytest

from cxrkit.cli.settings import choose_settings
from cxrkit.config import make_config, resolve
from cxrkit.errors import ConfigError
from cxrkit.plugins import load_plugins
from cxrkit.presets import preset_names, read_preset


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_resolves(name: str) -> None:
    resolve(make_config(read_preset(name)), load_plugins().registry)


def test_flags_win_over_a_preset() -> None:
    datasets = load_plugins().registry.components("dataset")
    chosen = choose_settings({"lr": 5e-3, "loss": "dice"}, datasets=datasets, preset="small-data").config
    assert chosen.train.lr == 5e-3
    assert [loss.name for loss in chosen.loss] == ["dice"]
    assert [augment.name for augment in chosen.augment] == ["geometric", "intensity", "mixup"]


def test_mixup_of_a_preset_is_changed_by_its_flag() -> None:
    datasets = load_plugins().registry.components("dataset")
    chosen = choose_settings({"mixup": 0.0}, datasets=datasets, preset="small-data").config
    assert [augment.name for augment in chosen.augment] == ["geometric", "intensity"]


def test_an_unknown_preset_is_reported() -> None:
    with pytest.raises(ConfigError, match="small-data"):
        read_preset("small-dta")
