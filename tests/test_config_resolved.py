"""Configurations survive YAML, and a resolved one names every parameter of its components."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field
from torch import Tensor

from cxrkit.config import PreprocessConfig, RunConfig, SplitConfig, TrainConfig, make_config, resolve, to_yaml
from cxrkit.errors import ConfigError, CxrkitError, PluginError
from cxrkit.interfaces import Model
from cxrkit.registry import Component, Registry

NAMES = st.from_regex(r"[a-z][a-z0-9]{0,6}(-[a-z0-9]{1,4}){0,2}", fullmatch=True).filter(str.isascii)

# Text that can be typed: PyYAML folds exotic line ends such as U+0085.
TEXT = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=5,
)
PARAMETERS = st.dictionaries(st.sampled_from(["alpha", "depth", "widths", "mode"]), VALUES, max_size=3)


@st.composite
def configs(draw: st.DrawFn) -> RunConfig:
    """Any configuration that can be written down."""

    def component(**more: Any) -> dict[str, Any]:
        return {"name": draw(NAMES), **draw(PARAMETERS), **more}

    losses = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    return RunConfig.model_validate(
        {
            "model": component(),
            "loss": [{"name": name, "weight": draw(st.floats(1e-6, 1e6)), **draw(PARAMETERS)} for name in losses],
            "augment": [{"name": name, **draw(PARAMETERS)} for name in draw(st.lists(NAMES, max_size=2, unique=True))],
            "data": component(root=draw(st.none() | st.just("films") | st.just("/data/Süd films"))),
            "structures": draw(st.none() | st.lists(NAMES, min_size=1, max_size=3)),
            "background": draw(st.booleans()),
            "preprocess": PreprocessConfig(
                size=draw(st.integers(16, 4096)), fit=draw(st.sampled_from(["pad", "stretch"]))
            ),
            "split": SplitConfig(
                train_size=draw(st.none() | st.integers(1, 500)),
                test_size=draw(st.integers(0, 99) | st.floats(0, 0.99)),
                validation=draw(st.integers(0, 99) | st.floats(0, 0.99) | st.just("rest")),
            ),
            "train": TrainConfig(lr=draw(st.floats(1e-9, 10)), steps=draw(st.integers(1, 10**6))),
            "seed": draw(st.integers(0, 2**31 - 1)),
        }
    )


@settings(deadline=None, max_examples=50)
@given(config=configs())
def test_any_configuration_survives_yaml(config: RunConfig) -> None:
    assert make_config(yaml.safe_load(to_yaml(config))) == config


class Net(Model):
    """A network with parameters."""

    def __init__(
        self,
        channels: Sequence[str],
        *,
        depth: Annotated[int, Field(ge=1)] = 3,
        widths: tuple[int, ...] = (1, 2),
        weights: Path | None = None,
    ) -> None:
        super().__init__(channels)

    def forward(self, images: Tensor) -> Tensor:
        return images


class TestResolve:
    BASE: ClassVar = {"model": "net", "loss": "0.5*mse", "data": "films"}

    @pytest.fixture
    def registry(self) -> Registry:
        def mse(*, margin: Annotated[float, Field(ge=0)] = 0.0) -> None: ...

        def nothing() -> None: ...

        made = Registry()
        made.add(Component("model", "net", Net, "s", "dist", "1"))
        made.add(Component("loss", "mse", mse, "s", "dist", "1"))
        made.add(Component("augment", "mixup", nothing, "s", "dist", "1"))
        made.add(Component("dataset", "films", nothing, "s", "dist", "1"))
        return made

    def test_writes_defaults_out(self, registry: Registry) -> None:
        full = resolve(make_config(self.BASE, overrides={"model.depth": "4"}), registry)
        assert full.model.params["depth"] == 4
        assert list(full.model.params["widths"]) == [1, 2]
        assert full.model.params["weights"] is None
        assert (full.loss[0].weight, full.loss[0].params) == (0.5, {"margin": 0.0})

    def test_is_done_once_and_for_all(self, registry: Registry) -> None:
        full = resolve(make_config(self.BASE | {"augment": ["mixup"]}, overrides={"model.weights": "a/b"}), registry)
        assert resolve(full, registry) == full

    def test_survives_yaml(self, registry: Registry) -> None:
        # Tuples and paths too, which YAML doesn't know.
        full = resolve(make_config(self.BASE, overrides={"model.weights": "a/b"}), registry)
        assert make_config(yaml.safe_load(to_yaml(full))) == full

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"model.depth": 0}, "model 'net': depth=0"),
            ({"model.deep": 1}, "no parameter 'deep'"),
            ({"loss": "mse + dise"}, "no loss called 'dise'"),
            ({"augment": ["mixupp"]}, "no augment called 'mixupp'"),
            ({"data": "flims"}, "no dataset called 'flims'"),
            ({"loss.margin": -1}, "loss 'mse': margin=-1"),
        ],
    )
    def test_refuses_what_the_components_do(self, registry: Registry, change: dict[str, Any], words: str) -> None:
        with pytest.raises(CxrkitError) as caught:
            resolve(make_config(self.BASE, overrides=change), registry)
        assert isinstance(caught.value, ConfigError | PluginError)
        assert words in caught.value.what
        assert caught.value.remedy
