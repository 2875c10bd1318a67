"""Names to components: schemas from signatures, readable refusals, clashes that cost only themselves."""

from __future__ import annotations

import contextlib
import functools
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Optional

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field
from torch import Tensor

from cxrkit.errors import ConfigError, CxrkitError, PluginError
from cxrkit.interfaces import Augment, Batch, Loss, Model
from cxrkit.registry import RESERVED, Component, Registry


class Net(Model):
    """A network with a parameter of every sort."""

    def __init__(
        self,
        channels: Sequence[str],
        *,
        depth: Annotated[int, Field(ge=1, le=6, description="levels")] = 3,
        rate: Annotated[float, Field(gt=0, description="a rate")] = 0.5,
        merge: Annotated[Literal["sum", "concat"], Field(description="how")] = "sum",
        limit: Annotated[Optional[int], Field(description="or none")] = None,  # noqa: UP045 - spelt either way
        widths: Annotated[tuple[int, ...], Field(description="a level each")] = (1, 2),
        norm: Annotated[bool, Field(description="switch")] = True,
    ) -> None:
        super().__init__(channels)
        self.values = (depth, rate, merge, limit, widths, norm)

    def forward(self, images: Tensor) -> Tensor:
        return images.expand(-1, len(self.channels), -1, -1)


class PlainLoss(Loss):
    """A loss without a constructor of its own."""

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return (logits - targets).square().mean()


class Nothing(Augment):
    """An augment whose constructor is object's."""

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        return batch


def component(
    factory: str | Callable[..., Any], kind: str = "model", name: str = "net", by: str = "dist-a"
) -> Component:
    return Component(kind, name, factory, "a summary", by, "1.2")


def built(**values: Any) -> tuple[Any, ...]:
    model = component(Net).build(("heart",), **values)
    assert isinstance(model, Net)
    return model.values


class TestSchema:
    def test_is_of_the_keyword_only_parameters(self) -> None:
        fields = component(Net).parameters.model_fields
        assert list(fields) == ["depth", "rate", "merge", "limit", "widths", "norm"]
        assert fields["depth"].default == 3
        assert fields["depth"].description == "levels"

    def test_fills_in_defaults(self) -> None:
        assert component(Net).validate({"depth": 2}) == {
            "depth": 2,
            "rate": 0.5,
            "merge": "sum",
            "limit": None,
            "widths": (1, 2),
            "norm": True,
        }

    def test_gives_values_their_declared_types(self) -> None:
        assert built(depth="4", rate=1, limit="7", widths=["3", 4], norm="no") == (4, 1.0, "sum", 7, (3, 4), False)

    def test_of_a_class_without_a_constructor_is_empty(self) -> None:
        assert component(PlainLoss, "loss").validate({}) == {}
        assert component(Nothing, "augment").validate({}) == {}

    def test_of_a_function(self) -> None:
        def make(channels: Sequence[str], *, depth: int = 2) -> Model:
            return Net(channels, depth=depth)

        assert component(make).build(("a",)).values[0] == 2

    def test_of_a_partial_has_its_defaults(self) -> None:
        preset = component(functools.partial(Net, depth=5))
        assert preset.validate({})["depth"] == 5
        assert preset.build(("a",)).values[0] == 5
        assert preset.build(("a",), depth=1).values[0] == 1
        with pytest.raises(ConfigError):
            preset.build(("a",), depth=7)

    def test_of_a_callable_object(self) -> None:
        class Maker:
            def __call__(self, channels: Sequence[str], *, depth: Annotated[int, Field(ge=1)] = 2) -> Model:
                return Net(channels, depth=depth)

        assert component(Maker()).build(("a",), depth=3).values[0] == 3

    @pytest.mark.parametrize("name", sorted(RESERVED))
    def test_refuses_reserved_names(self, name: str) -> None:
        scope: dict[str, Any] = {}
        exec(f"def make(channels, *, {name}: int = 1): ...", scope)  # the name must be part of the signature
        with pytest.raises(PluginError, match=f"'{name}'.*reserved name"):
            _ = component(scope["make"]).parameters

    def test_refuses_parameters_without_annotation(self) -> None:
        def make(channels, *, depth=3):  # type: ignore[no-untyped-def]
            return Net(channels)

        with pytest.raises(PluginError, match=r"'depth'.*no type annotation") as caught:
            _ = component(make).parameters
        assert "dist-a" in caught.value.remedy

    def test_an_annotation_that_does_not_exist_is_reported(self) -> None:
        def make(channels: Sequence[str], *, depth: Missing = 3) -> Model:  # type: ignore[name-defined]  # noqa: F821
            return Net(channels)

        with pytest.raises(PluginError, match=r"can't be read: NameError.*Missing"):
            _ = component(make).parameters

    def test_leaves_private_parameters_to_their_author(self) -> None:
        def make(channels: Sequence[str], *, _depth: int = 3) -> Model:
            return Net(channels, depth=_depth)

        assert component(make).build(("a",)).values[0] == 3
        with pytest.raises(ConfigError, match="no parameter '_depth'"):
            component(make).build(("a",), _depth=2)


class TestRefusals:
    @pytest.mark.parametrize(
        ("values", "words"),
        [
            ({"depth": 9}, "depth=9 is not accepted: input should be less than or equal to 6"),
            ({"depth": "three"}, "depth='three' is not accepted"),
            ({"rate": 0}, "greater than 0"),
            ({"merge": "add"}, "'sum' or 'concat'"),
            ({"widths": 3}, "widths=3"),
        ],
    )
    def test_say_what_would_be_accepted(self, values: dict[str, Any], words: str) -> None:
        with pytest.raises(ConfigError) as caught:
            component(Net).validate(values)
        assert caught.value.what.startswith("model 'net': ")
        assert words in caught.value.what
        assert "cxrkit show model net" in caught.value.remedy

    def test_name_the_nearest_parameter(self) -> None:
        with pytest.raises(ConfigError, match=r"no parameter 'dept'. Did you mean 'depth'\? It has: depth, rate"):
            component(Net).validate({"dept": 3})

    def test_of_a_component_without_parameters(self) -> None:
        with pytest.raises(ConfigError, match="It has: none"):
            component(PlainLoss, "loss").validate({"alpha": 1})

    def test_tell_all_faults_at_once(self) -> None:
        with pytest.raises(ConfigError) as caught:
            component(Net).validate({"dept": 3, "rate": -1})
        assert "dept" in caught.value.what
        assert "rate" in caught.value.what

    def test_ask_for_a_parameter_that_must_be_given(self) -> None:
        def make(channels: Sequence[str], *, depth: int) -> Model:
            return Net(channels, depth=depth)

        with pytest.raises(ConfigError, match="'depth' must be given"):
            component(make).build(("a",))

    @settings(deadline=None, max_examples=50)
    @given(
        values=st.dictionaries(
            st.sampled_from(["depth", "rate", "merge", "limit", "widths", "norm", "other"]),
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers()),
            max_size=4,
        )
    )
    def test_any_values_are_taken_or_refused_readably(self, values: dict[str, Any]) -> None:
        net = component(Net)
        with contextlib.suppress(ConfigError):  # anything else is a defect
            taken = net.validate(values)
            assert net.validate(taken) == taken
            assert 1 <= taken["depth"] <= 6


class TestBuild:
    def test_gives_context_and_parameters(self) -> None:
        model = component(Net).build(("left_lung", "heart"), depth=1)
        assert model.channels == ("left_lung", "heart")
        assert model.values[0] == 1

    def test_imports_a_lazy_factory(self) -> None:
        lazy = component("cxrkit.interfaces:Model")
        assert lazy.target is Model

    @pytest.mark.parametrize(
        ("factory", "words"),
        [
            ("no_such_module_here:Net", "ModuleNotFoundError"),
            ("cxrkit.interfaces:Nett", "AttributeError"),
            ("cxrkit.interfaces", "AttributeError"),
            ("cxrkit.interfaces:BACKGROUND", "not callable"),
        ],
    )
    def test_a_missing_factory_is_reported(self, factory: str, words: str) -> None:
        with pytest.raises(PluginError, match=words) as caught:
            component(factory).build(("a",))
        assert "dist-a 1.2" in caught.value.what
        assert caught.value.remedy

    def test_a_factory_that_is_not_callable_is_reported(self) -> None:
        with pytest.raises(PluginError, match="not callable"):
            component(7).build()  # type: ignore[arg-type]

    @pytest.mark.parametrize("line", ["raise RuntimeError('broken')", "import sys; sys.exit(4)", "1 +"])
    def test_a_module_that_fails_when_it_is_used_is_reported(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
    ) -> None:
        module = f"lazy_module_{abs(hash(line))}"
        (tmp_path / f"{module}.py").write_text(line)
        monkeypatch.syspath_prepend(str(tmp_path))
        with pytest.raises(PluginError, match="can't be loaded") as caught:
            component(f"{module}:Net").build(("a",))
        assert "Reinstall or update dist-a" in caught.value.remedy

    @pytest.mark.parametrize("fault", [ValueError("odd"), SystemExit(2)])
    def test_a_constructor_that_fails_is_reported(self, fault: BaseException) -> None:
        def make(channels: Sequence[str], *, depth: int = 3) -> Model:
            raise fault

        with pytest.raises(PluginError, match=r"can't be built with \{'depth': 3\}"):
            component(make).build(("a",))

    def test_a_constructor_that_says_what_is_wrong_is_heard(self) -> None:
        def make(channels: Sequence[str]) -> Model:
            raise ConfigError("the encoder 'x' isn't known.", "Choose resnet18.")

        with pytest.raises(ConfigError, match="the encoder 'x' isn't known"):
            component(make).build(("a",))

    def test_a_component_of_another_kind_is_reported(self) -> None:
        def make(channels: Sequence[str]) -> Any:
            return torch.nn.Conv2d(1, 1, 1)

        with pytest.raises(PluginError, match=r"returned a Conv2d, not a cxrkit\.Model") as caught:
            component(make).build(("a",))
        assert "cxrkit plugins check dist-a" in caught.value.remedy


class TestNames:
    def registry(self, *components: Component) -> Registry:
        made = Registry()
        for one in components:
            made.add(one)
        return made

    @pytest.mark.parametrize("name", ["Net", "my_net", "-net", "net-", "a--b", "", "a b", "nät", "net\n"])
    def test_are_kebab_case(self, name: str) -> None:
        with pytest.raises(PluginError, match="kebab-case"):
            Registry().add(component(Net, name=name))

    @given(name=st.from_regex(r"[a-z0-9]+(-[a-z0-9]+)*", fullmatch=True).filter(str.isascii))
    def test_of_any_kebab_case_are_found_again(self, name: str) -> None:
        assert self.registry(component(Net, name=name)).get("model", name).name == name

    def test_of_an_unknown_kind_are_refused(self) -> None:
        with pytest.raises(PluginError, match="no kind of component called 'modle'"):
            Registry().add(component(Net, kind="modle"))
        with pytest.raises(PluginError, match="Kinds: model, loss, augment, dataset"):
            Registry().get("modle", "net")

    def test_are_sorted_and_apart_by_kind(self) -> None:
        made = self.registry(component(Net, name="b"), component(Net, name="a"), component(PlainLoss, "loss", "c"))
        assert made.names("model") == ["a", "b"]
        assert [c.name for c in made.components("loss")] == ["c"]
        assert made.components("dataset") == []

    def test_that_are_unknown_get_the_nearest(self) -> None:
        made = self.registry(component(Net, name="attn-unet"), component(Net, name="unet"))
        with pytest.raises(PluginError, match="no model called 'attn-une'") as caught:
            made.get("model", "attn-une")
        assert "'attn-unet'" in caught.value.remedy
        assert "Available: attn-unet, unet." in caught.value.remedy

    def test_that_are_unknown_may_be_of_a_broken_plugin(self) -> None:
        made = Registry(broken={"heart": "ImportError: no"})
        with pytest.raises(PluginError) as caught:
            made.get("model", "heart-net")
        assert "failed to load" in caught.value.remedy
        assert "heart" in caught.value.remedy

    def test_that_clash_name_both_and_cost_nothing_else(self) -> None:
        made = self.registry(
            component(Net, name="net", by="dist-a"),
            component(Net, name="net", by="dist-b"),
            component(Net, name="other"),
        )
        with pytest.raises(PluginError, match=r"claimed by dist-a 1\.2 and dist-b 1\.2") as caught:
            made.get("model", "net")
        assert "CXRKIT_DISABLE_PLUGINS=dist-b" in caught.value.remedy
        assert made.get("model", "other").name == "other"
        assert made.clashes() == {("model", "net"): ["dist-a", "dist-b"]}
        assert [c.distribution for c in made.components("model") if c.name == "net"] == ["dist-a", "dist-b"]

    def test_of_two_kinds_do_not_clash(self) -> None:
        made = self.registry(component(Net, name="same"), component(PlainLoss, "loss", "same", by="dist-b"))
        assert made.clashes() == {}
        assert made.get("loss", "same").distribution == "dist-b"


def test_errors_are_of_one_family() -> None:
    with pytest.raises(CxrkitError):
        Registry().get("model", "nothing")


def test_listing_imports_no_torch() -> None:
    script = (
        "import sys; from cxrkit.plugins import registry; from cxrkit.kinds import KINDS\n"
        "import cxrkit.config\n"
        "names = [name for kind in KINDS for name in registry().names(kind)]\n"
        "assert 'attn-bcdu' in names, names\n"
        "print([m for m in ('torch', 'numpy', 'cv2', 'matplotlib', 'lightning') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
