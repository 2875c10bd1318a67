"""One validated description of a run: layers, overrides, components, and YAML there and back."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrkit.config import RunConfig, SplitConfig, make_config, save_config
from cxrkit.errors import ConfigError, StorageError
from cxrkit.overrides import parse_losses, parse_set
from cxrkit.yaml_text import read_yaml

NAMES = st.from_regex(r"[a-z][a-z0-9]{0,6}(-[a-z0-9]{1,4}){0,2}", fullmatch=True).filter(str.isascii)


class TestLayers:
    def test_none_give_the_defaults(self) -> None:
        config = make_config()
        assert (config.model.name, config.data.name) == ("attn-bcdu", "phantom")
        assert [(term.name, term.weight) for term in config.loss] == [("focal-tversky", 1.0)]
        assert config.augment == []

    def test_later_ones_win(self) -> None:
        file = {"train": {"lr": 0.1, "steps": 7}, "seed": 1}
        flags = {"train": {"lr": 0.2}}
        config = make_config(file, flags, overrides={"train.lr": 0.3})
        assert (config.train.lr, config.train.steps, config.seed) == (0.3, 7, 1)
        assert make_config(file, flags).train.lr == 0.2
        assert make_config(file).train.lr == 0.1

    def test_merging_leaves_the_layers_as_they_were(self) -> None:
        file = {"model": {"name": "unet", "depth": 3}, "loss": [{"name": "dice"}], "train": {"lr": 0.1}}
        before = yaml.safe_dump(file)
        make_config(
            file, overrides={"model.depth": 4, "loss.dice.weight": 2, "train.lr": 0.5, "preprocess.clahe.tiles": 4}
        )
        assert yaml.safe_dump(file) == before

    def test_a_component_keeps_its_parameters_under_its_own_name(self) -> None:
        file = {"model": {"name": "unet", "depth": 3}}
        assert make_config(file, {"model": {"name": "unet", "width": 8}}).model.params == {"depth": 3, "width": 8}
        assert make_config(file, {"model": {"width": 8}}).model.params == {"depth": 3, "width": 8}
        assert make_config(file, overrides={"model": "unet"}).model.params == {"depth": 3}

    @pytest.mark.parametrize("anew", [{"model": {"name": "smp"}}, {"model": "smp"}])
    def test_a_component_that_is_named_again_loses_its_old_parameters(self, anew: dict[str, Any]) -> None:
        file = {"model": {"name": "unet", "depth": 3}}
        assert make_config(file, anew).model.params == {}
        assert make_config(file, overrides={"model": "smp"}).model.params == {}

    def test_a_name_and_its_parameter_may_come_together(self) -> None:
        # Whatever their order on the command line.
        for overrides in ({"model": "smp", "model.depth": 5}, {"model.depth": 5, "model": "smp"}):
            model = make_config({"model": {"name": "unet", "width": 1}}, overrides=overrides).model
            assert (model.name, model.params) == ("smp", {"depth": 5})

    def test_null_switches_a_part_off(self) -> None:
        assert make_config(overrides={"preprocess.clahe": None}).preprocess.clahe is None

    def test_a_part_that_is_off_can_be_set_again(self) -> None:
        config = make_config({"preprocess": {"clahe": None}}, overrides={"preprocess.clahe.tiles": 4})
        assert config.preprocess.clahe is not None
        assert config.preprocess.clahe.tiles == 4


class TestOverrides:
    def test_reach_a_component_that_the_file_names_alone(self) -> None:
        assert make_config({"model": "unet"}, overrides={"model.depth": 2}).model.params == {"depth": 2}

    def test_reach_the_default_components(self) -> None:
        config = make_config(overrides={"model.depth": 2, "loss.alpha": 0.7, "data.films": 9})
        assert config.model.params == {"depth": 2}
        assert config.loss[0].params == {"alpha": 0.7}
        assert config.data.params == {"films": 9}

    def test_reach_one_loss_of_several_by_name(self) -> None:
        config = make_config({"loss": "dice + 0.5*bce"}, overrides={"loss.bce.weight": 2, "loss.dice.epsilon": 0.1})
        assert [(t.name, t.weight, t.params) for t in config.loss] == [("dice", 1, {"epsilon": 0.1}), ("bce", 2, {})]

    def test_reach_an_augment_by_name(self) -> None:
        config = make_config({"augment": ["geometric", "mixup"]}, overrides={"augment.mixup.delta": 0.2})
        assert [a.params for a in config.augment] == [{}, {"delta": 0.2}]

    @pytest.mark.parametrize(
        ("file", "path", "words"),
        [
            ({"loss": "dice + bce"}, "loss.alpha", "dice, bce"),
            ({"loss": "dice + bce"}, "loss.tversky.alpha", "dice, bce"),
            ({}, "augment.mixup.delta", "no augment is chosen"),
            ({}, "augment.delta", "no augment is chosen"),
            ({"loss": "dice"}, "loss.dice.a.b", "dice"),
        ],
    )
    def test_that_could_mean_several_components_ask(self, file: dict[str, Any], path: str, words: str) -> None:
        with pytest.raises(ConfigError, match="isn't clear which") as caught:
            make_config(file, overrides={path: 1})
        assert words in caught.value.what
        assert ".NAME.PARAMETER=value" in caught.value.remedy

    @pytest.mark.parametrize(
        ("loss", "words"),
        [
            ("dice + 0*critic", "loss.critic.weight: Input should be greater"),
            ("0*dice", "loss.weight: Input should be greater"),
            ({"name": "dice", "weight": 0}, "loss.weight: Input should be greater"),
            (["bce", {"name": "dice", "weight": 0}], "loss.dice.weight: Input should be greater"),
            (["bce", {"weight": 0}], "loss.1.name: Field required"),
            (["bce", 3], "loss.1: Input should be"),
        ],
    )
    def test_in_a_loss_name_it(self, loss: Any, words: str) -> None:
        with pytest.raises(ConfigError) as caught:
            make_config({"loss": loss})
        assert caught.value.what.startswith(words)

    @pytest.mark.parametrize(
        ("path", "hint"),
        [
            ("modle.depth", "'model'"),
            ("train.stepz", "'steps'"),
            ("preprocess.clahe.tile", "'tiles'"),
            ("split.test_sise", "'test_size'"),
            ("sead", "'seed'"),
        ],
    )
    def test_of_unknown_settings_get_the_nearest(self, path: str, hint: str) -> None:
        with pytest.raises(ConfigError, match="There is no setting") as caught:
            make_config(overrides={path: 1})
        assert path in caught.value.what
        assert hint in str(caught.value)

    @settings(deadline=None, max_examples=100)
    @given(
        file=st.dictionaries(
            st.sampled_from([*RunConfig.model_fields, "other"]),
            st.recursive(
                st.none() | st.booleans() | st.integers(-2, 9) | st.floats() | st.text(max_size=4),
                lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["name", "x"]), inner),
                max_leaves=4,
            ),
            max_size=3,
        ),
        path=st.sampled_from(
            ["model.x", "loss.x", "loss.x.y", "augment.x.y", "train.lr", "preprocess.clahe.tiles", "seed"]
        ),
        value=st.none() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2),
    )
    def test_of_anything_are_taken_or_refused_readably(self, file: dict[str, Any], path: str, value: Any) -> None:
        with contextlib.suppress(ConfigError):  # anything else is a defect
            make_config(file, overrides={path: value})


class TestRefusals:
    @pytest.mark.parametrize(
        ("values", "words"),
        [
            ({"train": {"lr": 0}}, "train.lr"),
            ({"train": {"precision": "8"}}, "train.precision"),
            ({"train": {"steps": "many"}}, "got 'many'"),
            ({"preprocess": {"size": 8}}, "preprocess.size"),
            ({"preprocess": {"clahe": {"bits": 12}}}, "preprocess.clahe.bits"),
            ({"split": {"test_size": 1.5}}, "give a count (0, 1, 2, ...) or a fraction"),
            ({"split": {"test_size": -1}}, "split.test_size"),
            ({"split": {"validation": "some"}}, "split.validation"),
            ({"seed": -1}, "seed"),
            ({"loss": []}, "loss"),
            ({"loss": [{"name": "dice", "weight": 0}]}, "weight"),
            ({"loss": "dice + dice"}, "the same loss is given twice: dice, dice"),
            ({"augment": ["mixup", "mixup"]}, "the same augment is given twice"),
            ({"model": 3}, "model"),
            ({"model": {"depth": 3}}, "model.name"),
            ({"loss": 3}, "loss"),
            ({"augment": 3}, "augment"),
            ({"augment": [3]}, "augment"),
            ({"train": 3}, "train"),
            ({"train": []}, "train"),
        ],
    )
    def test_name_the_setting(self, values: dict[str, Any], words: str) -> None:
        with pytest.raises(ConfigError) as caught:
            make_config(values)
        assert words in caught.value.what
        assert caught.value.remedy

    def test_tell_all_faults_at_once(self) -> None:
        with pytest.raises(ConfigError) as caught:
            make_config({"seed": -1, "train": {"lr": -1, "step": 3}})
        assert all(words in caught.value.what for words in ("seed", "train.lr", "train.step"))


class TestNumbers:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [(38, 38), (0.15, 0.15), (0, 0), (0.0, 0), (38.0, 38), ("38", 38), ("0.15", 0.15)],
    )
    def test_of_films_are_counts_or_fractions(self, value: Any, expected: float) -> None:
        assert SplitConfig(test_size=value).test_size == expected
        assert SplitConfig(validation=value).validation == expected
        assert isinstance(SplitConfig(validation=value).validation, type(expected)) or expected == 0

    @pytest.mark.parametrize("key", ["test_size", "validation"])
    def test_one_point_nought_is_neither_one_nor_all(self, key: str) -> None:
        with pytest.raises(ValueError, match="one film or all"):
            SplitConfig(**{key: 1.0})

    def test_of_validation_films_may_be_the_rest(self) -> None:
        assert SplitConfig(validation="rest").validation == "rest"

    @given(value=st.floats(1e-12, 1e12))
    def test_in_scientific_notation_are_numbers(self, value: float) -> None:
        # YAML 1.1 wants a point and a sign, and reads `1e-3` as text.
        short = f"{value:e}".replace("e+", "e").replace(".000000", "")
        assert parse_set([f"train.lr={short}"])["train.lr"] == pytest.approx(value, rel=1e-5)
        assert parse_set([f"train.lr={value!r}"]) == {"train.lr": value}

    def test_in_scientific_notation_are_numbers_in_files_too(self, tmp_path: Path) -> None:
        (tmp_path / "a.yaml").write_text("train: {lr: 1e-3}\n")
        assert make_config(read_yaml(tmp_path / "a.yaml")).train.lr == 1e-3


class TestSet:
    def test_values_are_read_as_yaml(self) -> None:
        assignments = [
            "a=3",
            "b=0.5",
            "c=true",
            "d=null",
            "e=[1, 2]",
            "f=text",
            "g={x: 1}",
            "h='3'",
            "i=",
            "j=a=b",
            "k=-1e3",
        ]
        assert parse_set(assignments) == {
            "a": 3,
            "b": 0.5,
            "c": True,
            "d": None,
            "e": [1, 2],
            "f": "text",
            "g": {"x": 1},
            "h": "3",
            "i": None,
            "j": "a=b",
            "k": -1000.0,
        }

    def test_the_last_of_a_key_wins(self) -> None:
        assert parse_set(["seed=1", " seed = 2"]) == {"seed": 2}

    @pytest.mark.parametrize("text", ["seed", "=3", "  =3", ""])
    def test_without_a_key_or_value_is_refused(self, text: str) -> None:
        with pytest.raises(ConfigError, match="is not an assignment") as caught:
            parse_set([text])
        assert "--set key=value" in caught.value.remedy

    def test_a_value_that_is_not_yaml_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="the value can't be read"):
            parse_set(["model.widths=[1, 2"])


class TestLossSums:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("dice", [("dice", None)]),
            ("focal-tversky + 0.5*bce", [("focal-tversky", None), ("bce", 0.5)]),
            (" 2 * dice+1e-3*bce ", [("dice", 2.0), ("bce", 1e-3)]),
            (".5*dice", [("dice", 0.5)]),
            ("2e+1*dice+1E-2*bce", [("dice", 20.0), ("bce", 1e-2)]),
            ("Dice", [("Dice", None)]),  # told as an unknown name
            ("3.*dice", [("dice", 3.0)]),
        ],
    )
    def test_are_read(self, text: str, expected: list[tuple[str, float | None]]) -> None:
        assert [(term["name"], term.get("weight")) for term in parse_losses(text)] == expected

    @pytest.mark.parametrize(
        "text", ["", "+", "dice +", "dice - bce", "dice*2", "-1*dice", "1.2.3*dice", ".*dice", "2**dice", "a b"]
    )
    def test_that_are_none_are_refused(self, text: str) -> None:
        with pytest.raises(ConfigError, match="is not a sum of losses") as caught:
            parse_losses(text)
        assert "dice + 0.5*bce" in caught.value.remedy

    @settings(max_examples=50)
    @given(
        terms=st.lists(st.tuples(NAMES, st.none() | st.floats(0.001, 999)), min_size=1, max_size=4),
        gap=st.sampled_from(["", " ", "  "]),
    )
    def test_of_any_terms_are_read_back(self, terms: list[tuple[str, float | None]], gap: str) -> None:
        text = f"{gap}+{gap}".join(name if weight is None else f"{weight!r}{gap}*{gap}{name}" for name, weight in terms)
        assert [(term["name"], term.get("weight")) for term in parse_losses(text)] == terms

    @given(text=st.text(alphabet="abe019.*+- ", max_size=12))
    def test_of_any_text_are_read_or_refused(self, text: str) -> None:
        with contextlib.suppress(ConfigError):  # anything else is a defect
            assert parse_losses(text)


class TestFiles:
    def test_are_mappings(self, tmp_path: Path) -> None:
        (tmp_path / "a.yaml").write_text("model: unet\nseed: 3\n")
        assert read_yaml(tmp_path / "a.yaml") == {"model": "unet", "seed": 3}

    def test_may_be_empty(self, tmp_path: Path) -> None:
        (tmp_path / "a.yaml").write_text("# nothing yet\n")
        assert read_yaml(tmp_path / "a.yaml") == {}

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"- a\n- b\n", "holds a list"),
            (b"just text\n", "holds a str"),
            (b"a: [1\n", "not a readable YAML file"),
            (b"a: \xff\xfe\n", "not a readable YAML file"),
            (b"a: !!python/object/apply:os.getcwd []\n", "not a readable YAML file"),
        ],
    )
    def test_that_are_none_are_refused(self, tmp_path: Path, content: bytes, words: str) -> None:
        (tmp_path / "a.yaml").write_bytes(content)
        with pytest.raises(ConfigError, match=words) as caught:
            read_yaml(tmp_path / "a.yaml")
        assert "a.yaml" in caught.value.what
        assert caught.value.remedy

    def test_that_are_missing_are_reported(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"a\.yaml: there is no such configuration file"):
            read_yaml(tmp_path / "a.yaml")
        with pytest.raises(ConfigError, match="there is no such configuration file"):
            read_yaml(tmp_path)

    def test_with_odd_keys_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a.yaml").write_text("1: 2\n")
        with pytest.raises(ConfigError):
            make_config(read_yaml(tmp_path / "a.yaml"))

    def test_are_saved_and_read_back(self, tmp_path: Path) -> None:
        config = make_config(
            {"loss": "dice + 0.5*bce", "augment": ["mixup"], "data": {"name": "folder", "root": "films"}}
        )
        save_config(config, tmp_path / "run" / "config.yaml")
        assert make_config(read_yaml(tmp_path / "run" / "config.yaml")) == config

    def test_that_cannot_be_saved_are_reported(self, tmp_path: Path) -> None:
        (tmp_path / "run").write_text("in the way")
        with pytest.raises(StorageError):
            save_config(make_config(), tmp_path / "run" / "config.yaml")
