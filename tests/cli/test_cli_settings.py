"""Flags, files and --set become one configuration."""

from __future__ import annotations

from functools import reduce
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field

from cxrkit import plugins
from cxrkit.ablation.plan import make_plan
from cxrkit.cli.settings import choose_settings
from cxrkit.config import RunConfig, demo_settings
from cxrkit.data.sources import parse_source
from cxrkit.errors import ConfigError, CxrkitError, DataError
from cxrkit.hookspecs import Shorthand
from cxrkit.interfaces import Augment, Dataset
from cxrkit.plugins import registry
from cxrkit.registry import Component
from cxrkit.settings import SETTINGS, Setting

DATASETS = registry().components("dataset")


def choose(values=None, **more) -> RunConfig:
    return choose_settings(values or {}, datasets=DATASETS, **more).config


def test_a_flag_without_a_value_as_its_default_says_what_holds() -> None:
    for name, setting in SETTINGS.items():
        value = reduce(getattr, setting.path.split("."), RunConfig())
        assert bool(setting.words) == (value is None or value == []), name


def test_a_new_flag_is_a_line_in_the_table(cxrkit, monkeypatch) -> None:
    monkeypatch.setitem(SETTINGS, "warmup", Setting("train.warmup", "Training"))
    assert "--warmup <int> Steps over which" in " ".join(cxrkit("train", "--help").out.split())
    assert "warmup: 7" in cxrkit("train", "--warmup", 7, "--dry-run").out


def test_a_plugins_augmentation_may_have_a_flag_of_its_own(cxrkit, monkeypatch) -> None:
    class Blend(Augment):
        """Blend."""

        def __init__(self, *, share: Annotated[float, Field(description="how much")] = 0.5) -> None:
            self.share = share

        def __call__(self, batch, generator):
            return batch

    loaded = plugins.load_plugins()
    shorthand = Shorthand("share", "Blend films.", "SHARE")
    loaded.registry.add(Component("augment", "blend", Blend, "blending", "cxrkit-blend", "1", shorthand=shorthand))
    monkeypatch.setattr(plugins, "registry", lambda: loaded.registry)
    monkeypatch.setattr(plugins, "installed", lambda: loaded)
    monkeypatch.setattr("cxrkit.settings.registry", lambda: loaded.registry)
    assert "Blend films. [default: no blend]" in " ".join(cxrkit("train", "--help").out.split())
    assert "- name: blend\n  share: 0.25" in cxrkit("train", "--blend", 0.25, "--dry-run").out
    assert "--blend" in cxrkit("ablate", "--help").out
    plan = make_plan({"factors": {"blend": [0, 0.25]}}, over={"mixup": 0.2})
    assert [[item.name for item in run.config.augment] for run in plan.runs(loaded.registry)] == [
        ["mixup"],
        ["mixup", "blend"],
    ]


def test_flags_that_are_not_given_leave_the_file_alone(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("data: phantom\nseed: 5\ntrain: {lr: 0.01, steps: 77}\npreprocess: {size: 64}\n")
    config = choose({}, file=file)
    assert (config.seed, config.train.lr, config.train.steps, config.preprocess.size) == (5, 0.01, 77, 64)


def test_flags_win_over_the_file_and_set_over_flags(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("data: phantom\nseed: 5\ntrain: {lr: 0.01}\n")
    config = choose({"seed": 6, "lr": 0.02}, file=file, assignments=["train.lr=0.03"])
    assert (config.seed, config.train.lr) == (6, 0.03)


def test_without_data_the_demonstrations_settings_lie_below_all(tmp_path: Path) -> None:
    chosen = choose_settings({"steps": 9}, datasets=DATASETS, assignments=["data.count=7"])
    assert chosen.demonstration
    assert chosen.config.train.steps == 9
    assert chosen.config.data.params["count"] == 7
    assert chosen.config.preprocess.size == demo_settings()["preprocess"]["size"]


@pytest.mark.parametrize(
    "more",
    [
        {"data": "phantom"},
        {"assignments": ["data=phantom"]},
        {"assignments": ["data.name=phantom"]},
        {"file": "data: phantom"},
        {"file": "data: {name: phantom, count: 30}"},
    ],
)
def test_named_data_means_no_demonstration(tmp_path: Path, more) -> None:
    if "file" in more:
        (tmp_path / "run.yaml").write_text(more["file"])
        more = {"file": tmp_path / "run.yaml"}
    chosen = choose_settings({}, datasets=DATASETS, **more)
    assert not chosen.demonstration
    assert chosen.config.preprocess.size == RunConfig().preprocess.size


def test_mixup_comes_last_and_keeps_what_the_file_says_of_it(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("augment: [{name: mixup, delta: 0.4, target: losses}, intensity]\n")
    augments = choose({"mixup": 0.1}, file=file).augment
    assert [item.name for item in augments] == ["intensity", "mixup"]
    assert augments[1].params == {"delta": 0.1, "target": "losses"}
    assert [item.name for item in choose({"mixup": 0}, file=file).augment] == ["intensity"]
    assert [item.name for item in choose(file=file).augment] == ["mixup", "intensity"]


@pytest.mark.parametrize("written", ["5", "[5]", "true"])
def test_a_file_whose_augments_are_not_a_list_is_reported(tmp_path: Path, written) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(f"augment: {written}\n")
    with pytest.raises(ConfigError, match="not a list of augmentations"):
        choose({"mixup": 0.2}, file=file)


def test_augment_flags_replace_the_files() -> None:
    augments = choose({"mixup": 0.2, "augment": ["geometric", "intensity"]}).augment
    assert [item.name for item in augments] == ["geometric", "intensity", "mixup"]
    assert choose({"mixup": 0}).augment == []


def test_loss_may_be_a_sum() -> None:
    assert [(item.name, item.weight) for item in choose({"loss": "dice + 0.5*bce"}).loss] == [
        ("dice", 1.0),
        ("bce", 0.5),
    ]


def test_steps_overrule_the_files_epochs_but_not_the_flags(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("train: {epochs: 3}\n")
    assert choose(file=file).train.epochs == 3
    assert choose({"steps": 10}, file=file).train.epochs is None
    with pytest.raises(ConfigError, match="--steps and --epochs"):
        choose({"steps": 10, "epochs": 2})


def test_structures_are_names_with_commas() -> None:
    assert choose(structures="heart, left_lung,").structures == ["heart", "left_lung"]
    with pytest.raises(ConfigError, match="is empty"):
        choose(structures=" , ")


def test_text_values_are_read(tmp_path: Path) -> None:
    split = choose({"validation": "rest", "test_size": 38.0, "train_size": 10}).split
    assert (split.validation, split.test_size, split.train_size) == ("rest", 38, 10)
    assert choose({"validation": "0.2"}).split.validation == 0.2
    assert choose({"unlabelled": "rest"}).unlabelled.films == "rest"
    assert choose({"unlabelled": "none"}, preset="small-data").unlabelled.films == "none"
    with pytest.raises(CxrkitError, match="validation"):
        choose({"validation": "some"})


def test_a_datasets_name_is_that_dataset_even_beside_a_folder_of_that_name(tmp_path, monkeypatch) -> None:
    for name in ("images", "masks"):
        (tmp_path / "jsrt" / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert parse_source("jsrt", DATASETS) == {"name": "jsrt"}
    assert parse_source("./jsrt", DATASETS) == {"name": "folder", "root": str(tmp_path / "jsrt")}


def test_a_place_may_say_which_dataset_reads_it(tmp_path: Path) -> None:
    assert parse_source(f"jsrt:{tmp_path}", DATASETS) == {"name": "jsrt", "root": str(tmp_path)}
    with pytest.raises(ConfigError, match="no such file or folder"):
        parse_source(f"jsrt:{tmp_path / 'nowhere'}", DATASETS)
    with pytest.raises(ConfigError, match="colon"):
        parse_source("jsrt:", DATASETS)


def test_a_table_is_read_by_the_folder_dataset(tmp_path: Path) -> None:
    (tmp_path / "films.csv").write_text("id\n")
    assert parse_source(str(tmp_path / "films.csv"), DATASETS)["name"] == "folder"


def test_a_missing_place_is_reported_with_datasets_of_similar_names() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'phantom'") as caught:
        parse_source("phantmo", DATASETS)
    assert "no such file or folder" in caught.value.what


class Tapes(Dataset):
    """Films on tape."""

    @classmethod
    def recognises(cls, root: Path) -> bool:
        return (root / "tape").exists()


class Crashing(Tapes):
    """Fails when it is asked."""

    @classmethod
    def recognises(cls, root: Path) -> bool:
        raise ZeroDivisionError("of a plugin")


def dataset(name: str, factory: object) -> Component:
    return Component("dataset", name, factory, f"what {name} reads", "cxrkit-tapes", "1.0")  # type: ignore[arg-type]


def test_the_dataset_that_recognises_a_place_reads_it(tmp_path: Path) -> None:
    (tmp_path / "tape").touch()
    others = [
        dataset("crashing", Crashing),
        dataset("lost", "no_such_module:Tapes"),
        dataset("made", lambda root: None),
    ]
    assert parse_source(str(tmp_path), [*DATASETS, *others, dataset("tapes", Tapes)]) == {
        "name": "tapes",
        "root": str(tmp_path),
    }


def test_a_place_that_several_datasets_recognise_needs_a_dataset_name(tmp_path: Path) -> None:
    (tmp_path / "tape").touch()
    with pytest.raises(ConfigError, match="several datasets recognise it: tapes, reels") as caught:
        parse_source(str(tmp_path), [dataset("tapes", Tapes), dataset("reels", Tapes)])
    assert f"--data tapes:{tmp_path}" in caught.value.remedy
    assert parse_source(f"reels:{tmp_path}", [dataset("tapes", Tapes), dataset("reels", Tapes)])["name"] == "reels"


def test_a_place_that_no_dataset_recognises_is_reported_with_what_datasets_expect(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / ".hidden").touch()
    broken = [dataset("crashing", Crashing), dataset("lost", "no_such_module:Tapes")]
    with pytest.raises(DataError, match=r"recognises what is there: pictures/\.\n") as caught:
        parse_source(str(tmp_path), [*DATASETS, *broken])
    remedy = caught.value.remedy
    assert f"--data NAME:{tmp_path}" in remedy
    assert all(f"{component.name} ({component.summary})" in remedy for component in DATASETS)
    assert "'crashing' could not be asked (ZeroDivisionError: of a plugin)" in remedy
    assert "'lost' could not be asked (The dataset 'lost' of cxrkit-tapes 1.0 can't be loaded" in remedy
    (tmp_path / "film.png").touch()
    with pytest.raises(DataError, match=r"what is there: a \.png file"):
        parse_source(str(tmp_path / "film.png"), DATASETS)
