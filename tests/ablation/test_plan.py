"""Plans: from YAML and plain values to arms and runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrkit.ablation.plan import make_plan, parse_seeds, read_content, read_plan, save_plan
from cxrkit.config import make_config, save_config
from cxrkit.errors import ConfigError
from cxrkit.plugins import registry

BASE: dict[str, Any] = {"data": {"name": "phantom", "count": 12}, "preprocess": {"size": 32}}


def plan(**content: Any) -> Any:
    return make_plan({"base": BASE, **content})


def test_every_combination_runs_with_every_seed() -> None:
    made = plan(factors={"model": ["unet", "attn-unet"], "mixup": [0, 0.2]}, seeds=2)
    runs = made.runs(registry())
    assert [run.folder for run in runs][:3] == [
        "runs/unet_mixup-0/seed-0",
        "runs/unet_mixup-0/seed-1",
        "runs/unet_mixup-0.2/seed-0",
    ]
    assert len(runs) == 8
    assert runs[2].arm.label == "unet · mixup 0.2"
    assert [a.name for a in runs[2].config.augment] == ["mixup"]
    assert runs[0].config.augment == []


def test_arms_of_one_seed_are_paired() -> None:
    runs = plan(factors={"loss": ["dice", "bce"]}, seeds=[4, 7]).runs(registry())
    assert [run.config.seed for run in runs] == [4, 7, 4, 7]
    assert runs[0].config.split == runs[2].config.split


def test_exclusions_leave_arms_out() -> None:
    made = plan(
        factors={"model": ["unet", "attn-unet"], "train_size": [5, "all"]},
        exclude=[{"model": "unet", "train_size": "all"}],
    )
    assert [arm.label for arm in made.arms()] == [
        "unet · train_size 5",
        "attn-unet · train_size 5",
        "attn-unet · train_size all",
    ]


def test_films_without_masks_are_a_factor() -> None:
    runs = plan(factors={"unlabelled": ["none", "rest"]}).runs(registry())
    assert [run.config.unlabelled.films for run in runs] == ["none", "rest"]
    assert [run.arm.label for run in runs] == ["unlabelled none", "unlabelled rest"]


def test_named_levels_set_several_things() -> None:
    made = plan(factors={"normalisation": {"slow": {"model.norm_momentum": 0.01}, "group": {"model.norm": "group"}}})
    slow, group = made.runs(registry())
    assert (slow.config.model.params["norm_momentum"], group.config.model.params["norm"]) == (0.01, "group")
    assert slow.folder == "runs/slow/seed-0"


def test_names_come_before_parameters_whatever_the_order() -> None:
    made = plan(factors={"n": {"a": {"model.base_channels": 8, "model": "unet"}, "b": {"model": "unet"}}})
    assert made.runs(registry())[0].config.model.params["base_channels"] == 8


def test_without_factors_there_is_a_baseline() -> None:
    assert [run.folder for run in plan(seeds=2).runs(registry())] == ["runs/baseline/seed-0", "runs/baseline/seed-1"]


def test_without_data_the_demonstration_holds() -> None:
    assert make_plan({"factors": {"loss": ["dice", "bce"]}}).base["data"]["name"] == "phantom"


def test_a_file_is_read_with_its_config_beside_it(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("preprocess: {size: 48}\ntrain: {steps: 9}\n")
    (tmp_path / "mine.yaml").write_text("config: base.yaml\nbase: {train: {lr: 0.5}}\nfactors: {loss: [dice, bce]}\n")
    made = make_plan(read_content(tmp_path / "mine.yaml"), over={"steps": 7})
    config = made.runs(registry())[0].config
    assert (made.name, config.preprocess.size, config.train.lr, config.train.steps) == ("mine", 48, 0.5, 7)


def test_the_seed_of_a_run_whose_config_is_used_is_left_out(tmp_path: Path) -> None:
    save_config(make_config(BASE, {"seed": 7, "train": {"lr": 0.25}}), tmp_path / "config.yaml")
    (tmp_path / "mine.yaml").write_text("config: config.yaml\nseeds: 2\n")
    runs = read_plan(tmp_path / "mine.yaml").runs(registry())
    assert [(run.config.seed, run.config.train.lr) for run in runs] == [(0, 0.25), (1, 0.25)]


def test_steps_that_are_asked_for_win_over_epochs_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("train: {epochs: 2}\n")
    content = {"config": str(tmp_path / "base.yaml"), "base": BASE}
    train = make_plan(content, over={"steps": 6}).runs(registry())[0].config.train
    assert (train.steps, train.epochs) == (6, None)
    with pytest.raises(ConfigError, match="equal number of updates") as caught:
        make_plan(content).runs(registry())
    assert "--steps" in caught.value.remedy


def test_places_are_relative_to_the_file_that_they_stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "plans").mkdir()
    monkeypatch.chdir(tmp_path / "shared")
    (tmp_path / "shared" / "base.yaml").write_text("split: {file: split.json}\n")
    (tmp_path / "plans" / "mine.yaml").write_text(
        "config: ../shared/base.yaml\n"
        "base: {data: {name: folder, root: ../films}}\n"
        "factors:\n  unlabelled: [none, wild]\n  where: {a: {data.root: b}, c: {data: {name: folder, root: c}}}\n"
    )
    made = read_plan(tmp_path / "plans" / "mine.yaml")
    assert made.base["data"]["root"] == str(tmp_path / "films")
    assert made.base["split"]["file"] == str(tmp_path / "shared" / "split.json")
    assert [dict(level.settings) for level in made.factors[0].levels] == [
        {"unlabelled": "none"},
        {"unlabelled": str(tmp_path / "plans" / "wild")},
    ]
    assert [level.label for level in made.factors[0].levels] == ["none", "wild"]
    assert [dict(level.settings) for level in made.factors[1].levels] == [
        {"data.root": str(tmp_path / "plans" / "b")},
        {"data": {"name": "folder", "root": str(tmp_path / "plans" / "c")}},
    ]


def test_a_plan_means_the_same_from_any_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = make_plan(
        {"base": {"data": {"name": "folder", "root": "films"}}, "factors": {"split": ["a.json", "b.json"]}}
    )
    save_plan(made, tmp_path / "plan.yaml")
    runs = made.runs(registry())
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert read_plan(tmp_path / "plan.yaml").runs(registry()) == runs
    assert runs[0].config.data.root == tmp_path / "films"
    assert runs[0].folder == "runs/a.json/seed-0"
    over = make_plan({}, over={"data": {"name": "folder", "root": "films"}})
    assert over.base["data"]["root"] == str(tmp_path / "elsewhere" / "films")


def test_a_plan_is_named_after_its_file_in_letters_that_a_folder_may_have(tmp_path: Path) -> None:
    (tmp_path / "my plan (2).yaml").write_text("seeds: 1\n")
    assert read_plan(tmp_path / "my plan (2).yaml").name == "my-plan-2"


def test_data_that_is_set_by_name_holds() -> None:
    assert make_plan({}, over={"data": "montgomery"}).base["data"] == {"name": "montgomery"}


def test_a_saved_plan_needs_no_other_file(tmp_path: Path) -> None:
    made = plan(
        name="x", factors={"loss": ["dice", "bce"], "train_size": [5, "all"]}, exclude=[{"loss": "bce"}], seeds=3
    )
    save_plan(made, tmp_path / "plan.yaml")
    assert read_plan(tmp_path / "plan.yaml") == made


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        ({"factor": {}}, "factors"),
        ({"factors": {"modle": ["a", "b"]}}, "no setting 'modle'"),
        ({"factors": {"loss": []}}, "is not a list of levels"),
        ({"factors": {"loss": ["dice", "dice"]}}, "two levels have the same name"),
        ({"factors": {"x": {"a": 3}}}, "sets nothing"),
        ({"factors": {"seed": [0, 1]}}, "seed can't be a factor"),
        ({"factors": {"loss": ["dice"]}, "exclude": [{"loss": "bce"}]}, "level 'bce'"),
        ({"factors": {"loss": ["dice"]}, "exclude": [{"model": "unet"}]}, "factor 'model'"),
        ({"factors": {"loss": ["dice"]}, "exclude": [{"loss": "dice"}]}, "no arm is left"),
        ({"seeds": 0}, "seeds"),
        ({"seeds": [1, 1]}, "seeds"),
        ({"seeds": "many"}, "seeds"),
        ({"base": {"seed": 3}}, "the seed cannot be set here"),
        ({"base": {"train": {"epochs": 2}}}, "equal number of updates"),
        ({"base": 3}, "base"),
        ({"factors": ["loss", "model"]}, "key: value"),
        ({"exclude": 3}, "not a list"),
        ({"name": "../../x"}, "is not a valid folder name"),
        ({"name": ".."}, "is not a valid folder name"),
        ({"factors": {"lr": [0.1, 0.2], "train.lr": [0.3, 0.4]}}, "both set train.lr"),
        ({"factors": {"a": {"x": {"train.lr": 0.1}, "y": {}}, "lr": [0.3, 0.4]}}, "both set train.lr"),
        ({"factors": {"loss": ["dice", "nope"]}}, "nope"),
        ({"factors": {"lr": [1e-3, -1]}}, "lr"),
        ({"factors": {"a": {"x y": {"loss": "dice"}, "x-y": {"loss": "bce"}}}}, "the same folder"),
        ({"factors": {"a": {"x": {"loss": "dice"}, "y": {"loss": "dice"}}}}, "same configuration"),
    ],
)
def test_what_is_not_a_plan_is_reported(content: dict[str, Any], hint: str) -> None:
    with pytest.raises(Exception, match=hint) as caught:
        make_plan({"base": BASE, **content}).runs(registry())
    assert hasattr(caught.value, "remedy"), "an error of ours, with what to do"


@given(st.integers(1, 50))
def test_a_count_of_seeds_begins_at_zero(count: int) -> None:
    assert parse_seeds(count) == tuple(range(count))


def test_seeds_are_not_true_or_false() -> None:
    with pytest.raises(ConfigError):
        parse_seeds(True)


def test_a_setting_that_is_switched_off_is_called_so() -> None:
    plan = make_plan({"base": BASE, "factors": {"train.clip_norm": [None, 1.0], "train_size": [None, 6]}})
    assert [level.label for factor in plan.factors for level in factor.levels] == ["none", "1", "all", "6"]


def test_numbers_with_exponents_are_numbers_in_files(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(
        "factors: {lr: [1e-3, 5E-4], mixup: [0, 1e-1], w: {1e+06: {train.weight_decay: 1e-2}}}"
    )
    levels = [level for factor in read_plan(tmp_path / "plan.yaml").factors for level in factor.levels]
    assert [level.label for level in levels] == ["0.001", "0.0005", "0", "0.1", "1e+06"]
    assert levels[3].settings == {"mixup": 0.1}


def test_levels_may_be_named_in_any_alphabet() -> None:
    factors = {"сеть": {"малая": {"model.base_channels": 8}, "groß": {"model.base_channels": 16}}}
    arms = make_plan({"base": BASE, "factors": factors}).arms()
    assert [arm.slug for arm in arms] == ["малая", "groß"]


def test_parameters_of_a_component_that_a_factor_chooses_hold_for_all_its_levels() -> None:
    content = {"factors": {"model": ["unet", "attn-unet"]}}
    for plan in (
        make_plan(content, over={"model.base_channels": 4}),
        make_plan({"base": {"model": {"base_channels": 4}}, **content}),
    ):
        again = make_plan(plan.content())
        for runs in (plan.runs(registry()), again.runs(registry())):
            assert [run.config.model.name for run in runs] == ["unet", "attn-unet"]
            assert [run.config.model.params["base_channels"] for run in runs] == [4, 4]


def test_parameters_of_a_component_that_a_flag_chooses_hold_for_it_as_for_a_level() -> None:
    base = {"model": {"base_channels": 4, "depth": 2}}
    plan = make_plan({"base": base, "factors": {"train_size": [5, 10]}}, over={"model": "attn-unet", "model.depth": 3})
    assert {run.config.model.name for run in plan.runs(registry())} == {"attn-unet"}
    assert [run.config.model.params["base_channels"] for run in plan.runs(registry())] == [4, 4]
    assert [run.config.model.params["depth"] for run in plan.runs(registry())] == [3, 3]
    plan = make_plan({"base": base, "factors": {"model.depth": [1, 2]}}, over={"model": "unet"})
    assert [run.config.model.params["depth"] for run in plan.runs(registry())] == [1, 2]


def test_a_level_and_a_factor_win_over_what_is_set_for_all() -> None:
    levels = {"wide": {"model": "unet", "model.base_channels": 8}, "other": {"model": "attn-unet"}}
    plan = make_plan({"base": {"model": {"base_channels": 4}}, "factors": {"network": levels}}, over={"model.depth": 3})
    assert [run.config.model.params["depth"] for run in plan.runs(registry())] == [3, 3]
    assert [run.config.model.params["base_channels"] for run in plan.runs(registry())] == [8, 4]
    base = {"model": {"depth": 4}}
    plan = make_plan({"base": base, "factors": {"model": ["unet", "attn-unet"], "model.depth": [2, 3]}})
    assert [run.config.model.params["depth"] for run in plan.runs(registry())] == [2, 3, 2, 3]


@pytest.mark.parametrize("key", ["lr", "train.lr"])
def test_a_flag_for_all_runs_and_a_factor_of_the_same_setting_are_refused(key: str) -> None:
    levels = {"slow": {"train.lr": 1e-4}, "quick": {"train.lr": 1e-3}}
    with pytest.raises(ConfigError, match="the factor pace sets it"):
        make_plan({"factors": {"pace": levels}}, over={key: 0.5})


def test_a_parameter_that_a_chosen_component_lacks_is_reported() -> None:
    plan = make_plan({"factors": {"model": ["unet", "attn-bcdu"]}}, over={"model.lstm_filters": 8})
    with pytest.raises(ConfigError, match=r"^unet: .*lstm_filters"):
        plan.runs(registry())


def test_parameters_of_a_named_loss_or_augment_go_to_the_levels_that_have_it() -> None:
    plan = make_plan(
        {"factors": {"loss": ["dice", "dice+focal-tversky"]}}, over={"loss.focal-tversky.inverse_gamma": 0.5}
    )
    one, both = (run.config.loss for run in plan.runs(registry()))
    assert "inverse_gamma" not in one[0].params
    assert both[1].params["inverse_gamma"] == 0.5
    plan = make_plan({"factors": {"augment": ["none", "geometric"]}}, over={"augment.geometric.rotation": 3})
    none, geometric = (run.config.augment for run in plan.runs(registry()))
    assert none == []
    assert geometric[0].params["rotation"] == 3
    with pytest.raises(ConfigError, match="no level of loss has bce"):
        make_plan({"factors": {"loss": ["dice", "tversky"]}}, over={"loss.bce.weight": 0.5})


def test_text_that_looks_like_a_number_stays_text_in_a_saved_plan(tmp_path: Path) -> None:
    plan = make_plan({"base": BASE, "factors": {"lr": {"1e-3": {"train.lr": 1e-3}, "1e-4": {"train.lr": 1e-4}}}})
    save_plan(plan, tmp_path / "ablation.yaml")
    assert read_plan(tmp_path / "ablation.yaml").arms() == plan.arms()


def test_levels_that_are_switches_can_be_excluded_as_they_are_written(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(
        "factors: {clip: {on: {train.clip_norm: 1}, off: {train.clip_norm: null}}}\nexclude: [{clip: off}]\n"
    )
    assert [arm.label for arm in read_plan(tmp_path / "plan.yaml").arms()] == ["clip true"]


def test_levels_that_differ_in_the_seventh_digit_are_two() -> None:
    plan = make_plan({"base": BASE, "factors": {"train.lr": [0.00012345678, 0.00012345679]}})
    assert len({arm.slug for arm in plan.arms()}) == 2


def test_folders_of_long_names_are_short_and_differ() -> None:
    long = "a level that is told at some length " * 9
    plan = make_plan({"factors": {"lr": {f"{long}{end}": {"train.lr": lr} for end, lr in (("1", 1e-3), ("ä", 1e-4))}}})
    slugs = [arm.slug for arm in plan.arms()]
    assert len(set(slugs)) == 2
    assert all(len(slug.encode()) < 200 for slug in slugs)


def test_a_place_that_all_levels_share_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plan = make_plan({"base": {"data": {"root": "films"}}, "factors": {"data.name": ["folder", "jsrt"]}})
    assert all(level.settings["data.root"] == str(tmp_path / "films") for level in plan.factors[0].levels)


def test_several_datasets_are_given_for_all_runs_or_as_levels_of_a_factor(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(
        "base: {data: {name: folder, mask_threshold: 9}}\n"
        "factors:\n  data: [[{name: folder, root: a}, {name: folder, root: b}], [phantom, {name: folder, root: a}]]\n"
    )
    made = read_plan(tmp_path / "plan.yaml")
    assert [level.label for level in made.factors[0].levels] == ["a+b", "phantom+a"]
    runs = made.runs(registry())
    assert [[item.root for item in run.config.datasets] for run in runs] == [
        [tmp_path / "a", tmp_path / "b"],
        [None, tmp_path / "a"],
    ]
    assert runs[0].folder == "runs/a+b/seed-0"
    assert runs[0].config.preprocess.size == make_config({}).preprocess.size  # not the demonstration's
    two = [{"name": "folder", "root": str(tmp_path / name)} for name in "ab"]
    over = make_plan(
        {"base": {"data": {"name": "folder", "mask_threshold": 9}}}, over={"data": two, "data.b.weight": 2}
    )
    (run,) = over.runs(registry())
    assert [(item.params["mask_threshold"], item.weight) for item in run.config.datasets] == [(9, 1), (9, 2)]
    assert not over.is_demonstration
