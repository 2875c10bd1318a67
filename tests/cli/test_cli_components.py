from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Literal
from xml.etree import ElementTree

import pytest
from pydantic import Field
from torch import Tensor, nn

from cxrkit import Model
from cxrkit.cli.describe import parameters_of, type_text, value_text
from cxrkit.registry import Component


@pytest.mark.parametrize("kind", ["model", "models", "loss", "losses", "augment", "dataset", "Datasets"])
def test_kinds_may_be_plural(cxrkit, kind) -> None:
    listed = json.loads(cxrkit("list", kind, "--json").out)
    assert {item["kind"] for item in listed} == {listed[0]["kind"]}
    assert listed[0]["distribution"] == "cxrkit"


def test_without_a_kind_all_are_listed(cxrkit) -> None:
    outcome = cxrkit("list")
    for name in ("attn-bcdu", "focal-tversky", "mixup", "jsrt"):
        assert name in outcome.out


def test_listing_imports_no_torch() -> None:
    import subprocess
    import sys

    script = (
        "import sys\nfrom cxrkit.cli.app import app\n"
        "try:\n    app(['list', '--json'])\nexcept SystemExit:\n    pass\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.endswith("]\nFalse\n")


def test_an_unknown_kind_or_name_is_reported_with_the_nearest(cxrkit) -> None:
    outcome = cxrkit("list", "modle")
    assert (outcome.code, "Did you mean 'model'" in outcome.err) == (4, True)
    outcome = cxrkit("show", "model", "attn-unt")
    assert (outcome.code, "Did you mean 'attn-unet'" in outcome.err) == (4, True)


def test_show_tells_a_models_parameters_and_its_size(cxrkit) -> None:
    content = json.loads(cxrkit("show", "model", "attn-bcdu", "--json").out)
    depth = next(item for item in content["parameters"] if item["name"] == "depth")
    assert depth["default"] == "4"
    assert depth["type"] == "int"
    assert depth["description"]
    assert content["weights"] > 3_000_000
    text = cxrkit("show", "model", "attn-bcdu").out
    assert f"{content['weights']:,} weights" in text
    assert "--set model." in text


def test_show_draws_a_model_and_counts_its_work(cxrkit, tmp_path) -> None:
    picture = tmp_path / "unet.svg"
    flags = ("--set", "model.base_channels=2", "--set", "model.depth=1", "--set", "model.norm=none", "--size", "32")
    content = json.loads(cxrkit("show", "model", "unet", *flags, "--svg", str(picture), "--json").out)
    first, below, up, joined, head = content["blocks"]
    assert (first["path"], first["shape"]) == (["encoder", "0"], [2, 32, 32])
    assert (below["shape"], below["weights"]) == ([4, 16, 16], 9 * 2 * 4 + 4 + 9 * 4 * 4 + 4)
    assert up["layers"] == "ConvTranspose2d 2×2"
    assert joined["shape"] == first["shape"]
    assert (head["shape"], head["weights"]) == ([4, 32, 32], 2 * 4 + 4)
    assert content["weights"] == sum(block["weights"] for block in content["blocks"])
    pixels = 32 * 32
    full = 9 * (1 * 2 + 2 * 2 + 4 * 2 + 2 * 2) + 2 * 4  # of each pixel: both double convolutions and the head
    coarse = 9 * (2 * 4 + 4 * 4) + 4 * (4 * 2)  # of each quarter: the deepest double convolution, the up-convolution
    assert content["multiply_adds"] == pixels * full + pixels // 4 * coarse
    drawn = ElementTree.parse(picture).getroot()
    assert len(list(drawn.iter("{http://www.w3.org/2000/svg}title"))) == 5
    assert len(list(drawn.iter("{http://www.w3.org/2000/svg}path"))) == 5, "four in a row, and the skip"
    text = cxrkit("show", "model", "unet", *flags).out
    assert "  0: 2 × Conv2d 3×3, 2 × ReLU" in text
    assert "2×32×32" in text


def test_show_counts_what_a_pruned_network_uses(cxrkit, tmp_path) -> None:
    picture = tmp_path / "net.svg"
    words = ("show", "model", "unetpp", "--set", "model.inference_head=1", "--structures", "heart")
    text = cxrkit(*words, "--svg", str(picture)).out
    assert "9,041,700 weights with these parameters, for 1 output channel\n100,961 of them are used outside" in text
    assert "(100,961 used outside training)" in picture.read_text()
    content = json.loads(cxrkit(*words, "--json").out)
    assert (content["weights"], content["used"]) == (9_041_700, 100_961)
    assert content["used"] == sum(block["weights"] for block in content["blocks"])
    assert content["weights"] == content["used"] + sum(content["unused"].values())
    assert content["unused"]["heads.2"] == 33


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("loss", "dice", "--svg", "x.svg"), "--svg: only for models"),
        (("augment", "intensity", "--structures", "heart", "--size", "32"), "--size and --structures: only for models"),
        (("model", "unet", "--structures", ","), "--structures is empty"),
        (("model", "unet", "--set", "model.depht=2"), "'depth'"),
        (("model", "monai:BasicUNets"), "'BasicUNet'"),
        (("model", "unet", "--set", "train.lr=1"), "no setting"),
    ],
    ids=str,
)
def test_what_cannot_be_drawn_is_reported(cxrkit, words, hint) -> None:
    outcome = cxrkit("show", *words)
    assert outcome.code != 0
    assert hint in outcome.err
    assert "Traceback" not in outcome.err


class _ReadsValues(Model):
    """Its forward looks at the film's values, so it can't be followed without them."""

    size_multiple = 1

    def __init__(self, channels: Sequence[str]) -> None:
        super().__init__(channels)
        self.head = nn.Conv2d(1, len(self.channels), 1)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(images * float(images.mean()))
        return logits


class _NeedsWidth(_ReadsValues):
    def __init__(self, channels: Sequence[str], *, width: int) -> None:
        super().__init__(channels)


class _Lazy(_ReadsValues):
    def __init__(self, channels: Sequence[str]) -> None:
        super().__init__(channels)
        self.head = nn.LazyConv2d(len(self.channels), 1)  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("factory", "weights", "reason"),
    [(_ReadsValues, 8, "can't be drawn"), (_NeedsWidth, None, "width"), (_Lazy, None, "can't be drawn")],
)
def test_a_model_without_a_diagram_says_why(cxrkit, monkeypatch, tmp_path, factory, weights, reason) -> None:
    odd = Component("model", "odd", factory, "odd", "somewhere", "1.0")
    monkeypatch.setattr("cxrkit.registry.Registry.find", lambda self, kind, name: (odd, {}))
    content = json.loads(cxrkit("show", "model", "odd", "--json").out)
    assert content["weights"] == weights
    assert reason in content["not_drawn"]
    shown = cxrkit("show", "model", "odd").out
    assert f"Not drawn: {content['not_drawn'].splitlines()[0]}" in " ".join(shown.split())
    assert ("8 weights" in shown) == (weights is not None)
    outcome = cxrkit("show", "model", "odd", "--svg", str(tmp_path / "odd.svg"))
    assert outcome.code != 0
    assert reason in outcome.err
    assert not (tmp_path / "odd.svg").exists()


def test_show_says_how_to_set_a_losses_parameter(cxrkit) -> None:
    text = cxrkit("show", "loss", "focal-tversky").out
    assert "--loss focal-tversky --set loss.focal-tversky." in text
    assert "weights with the default parameters" not in text


def test_show_names_a_datasets_flag(cxrkit) -> None:
    assert "cxrkit train --data phantom --set data.count=60" in cxrkit("show", "dataset", "phantom").out


def _factory(
    *,
    count: Annotated[int, Field(ge=1, le=8, description="how many")] = 3,
    rate: Annotated[float | None, Field(gt=0, lt=1)] = None,
    even: Annotated[int, Field(ge=2, multiple_of=2)],
    mode: Literal["a", "b"] = "a",
    widths: tuple[int, ...] = (8, 16),
) -> None:
    """A component without a purpose."""


def test_parameters_are_described_in_words() -> None:
    component = Component("model", "odd", _factory, "odd", "somewhere", "1.0")
    described = {item.name: (item.type, item.default, item.range) for item in parameters_of(component)}
    assert described == {
        "count": ("int", "3", "1 to 8"),
        "rate": ("number or null", "null", "above 0, below 1"),
        "even": ("int", "required", "at least 2, a multiple of 2"),
        "mode": ("one of a, b", "a", ""),
        "widths": ("list of int", "[8, 16]", ""),
    }


def test_types_and_values_are_written_as_in_yaml() -> None:
    assert type_text(bool) == "true/false"
    assert type_text(dict[str, int]) != ""
    assert [value_text(value) for value in (None, True, 0.5, 1e-4, [1, 2], "x")] == [
        "null",
        "true",
        "0.5",
        "0.0001",
        "[1, 2]",
        "x",
    ]
