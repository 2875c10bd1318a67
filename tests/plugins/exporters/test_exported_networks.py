"""A shipped network leaves cxrkit and comes back."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import openvino
import pytest
import torch

from cxrkit import ConfigError, DataError, inference
from cxrkit.config import ComponentConfig, PreprocessConfig
from cxrkit.engine import exporting
from cxrkit.engine.checkpoint import NetworkCard, load_network, save_network
from cxrkit.engine.exporting import compare
from cxrkit.plugins import registry

CHANNELS = ("left_lung", "heart", "background")
FORMATS = (".onnx", ".xml", ".pt2")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network that is sure of itself: brighter than average is lung."""
    parameters = {"base_channels": 4, "depth": 1}
    torch.manual_seed(0)
    network = registry().get("model", "unet").build(CHANNELS, **parameters).eval()
    state = {name: value * 20 if "head" in name else value for name, value in network.state_dict().items()}
    card = NetworkCard(
        cxrkit="0",
        model=ComponentConfig(name="unet", **parameters),
        channels=CHANNELS,
        preprocess=PreprocessConfig(size=32),
        package=("cxrkit", "0"),
        step=1,
        precision="32",
    )
    file = tmp_path_factory.mktemp("weights") / "network.safetensors"
    save_network(file, state, card)
    return file


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> dict[str, Path]:
    """A small network in every format."""
    folder = tmp_path_factory.mktemp("exported")
    files = {suffix: folder / f"network{suffix}" for suffix in FORMATS}
    for file in files.values():
        agreement = inference.export(weights, file).agreement
        assert agreement is not None
        assert min(agreement.dice.values()) > 0.995
        assert agreement.films == 16
    return files


@pytest.mark.parametrize("suffix", FORMATS)
def test_an_exported_network_gives_the_same_masks(exported: dict[str, Path], weights: Path, suffix: str) -> None:
    film = np.random.default_rng(0).integers(0, 4000, (90, 70), dtype=np.uint16)
    original, other = inference.load(weights)(film), inference.load(exported[suffix])(film)
    assert other.weights is not None
    assert other.weights.file == str(exported[suffix])
    for name, probability in original.probabilities.items():
        np.testing.assert_allclose(other.probabilities[name], probability, atol=0.02)


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
@pytest.mark.parametrize(("precision", "hint"), [("32", "f32"), ("auto", None)])
def test_openvino_is_asked_for_32_bits_where_the_network_was_trained_so(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, precision: str, hint: str | None
) -> None:
    model, card = load_network(weights, registry())
    source, file = tmp_path / "source.safetensors", tmp_path / f"network{suffix}"
    save_network(source, model.state_dict(), card.model_copy(update={"precision": precision}))
    inference.export(source, file)
    asked = []
    compile_model = openvino.Core.compile_model

    def record(core: openvino.Core, network: openvino.Model, device: str, settings: dict[str, str]) -> object:
        asked.append(settings.get("INFERENCE_PRECISION_HINT"))
        return compile_model(core, network, device, settings)

    monkeypatch.setattr(openvino.Core, "compile_model", record)
    inference.load(file, runtime="openvino")
    assert asked == [hint]


def test_one_network_twice_is_no_mean(exported: dict[str, Path], weights: Path, tmp_path: Path) -> None:
    half = tmp_path / "half.safetensors"
    inference.export(weights, half)
    assert half.stat().st_size < weights.stat().st_size
    files = exported[".onnx"], exported[".xml"]
    for pair in ([weights, files[0]], [*files], [weights, half], [half, files[0]]):
        with pytest.raises(ConfigError, match="the same weights are given twice"):
            inference.load(pair)


PREDICT = """
import sys
from cxrkit.cli.app import app
try:
    app([*sys.argv[1:], "--quiet"])
finally:
    print([name for name in ("torch", "torch._dynamo", "timm", "scipy", "h5py", "matplotlib") if name in sys.modules])
"""


@pytest.mark.parametrize(("suffix", "runtime"), [(".onnx", "onnxruntime"), (".xml", "openvino"), (None, "auto")])
def test_predict_imports_only_what_computes_the_network(
    exported: dict[str, Path], tmp_path: Path, suffix: str | None, runtime: str
) -> None:
    pytest.importorskip(runtime if suffix else "torch")
    film = tmp_path / "film.png"
    cv2.imwrite(str(film), np.random.default_rng(0).integers(0, 255, (90, 70), dtype=np.uint8))
    weights = str(exported[suffix]) if suffix else "lungs-heart"
    arguments = ["predict", str(film), "--weights", weights, "--runtime", runtime, "--out", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-c", PREDICT, *arguments], capture_output=True, text=True, timeout=120)
    assert (tmp_path / "out" / "film" / "overlay.png").is_file(), done.stderr
    assert done.stdout.splitlines()[-1] == str([] if suffix else ["torch", "timm"])


def test_a_runtime_is_chosen_by_its_name(exported: dict[str, Path]) -> None:
    assert inference.load(exported[".onnx"], runtime="onnxruntime").structures
    assert inference.load(exported[".onnx"], runtime="openvino").structures
    with pytest.raises(ConfigError, match=r"torch: doesn't compute \.onnx files, only \.pt2"):
        inference.load(exported[".onnx"], runtime="torch")
    with pytest.raises(ConfigError, match="export the network first"):
        inference.load("lungs-heart", runtime="openvino")


def test_bad_requests_are_refused(exported: dict[str, Path], weights: Path, tmp_path: Path) -> None:
    for file, options, message in (
        ("x.tflite", {}, "No exporter writes '.tflite'"),
        ("x.onnx", {"int8": True, "data": "phantom"}, "no 8-bit integers"),
        ("x.xml", {"int8": True}, "needs films to calibrate with"),
        ("x.safetensors", {"int8": True}, "are for other formats"),
    ):
        with pytest.raises(ConfigError, match=message):
            inference.export(weights, tmp_path / file, **options)
    (tmp_path / "y.bin").write_bytes(b"of another network")
    with pytest.raises(ConfigError, match=r"y\.bin already exists"):
        inference.export(weights, tmp_path / "y.xml")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["y.bin"]


def test_a_network_that_says_why_it_cannot_be_exported_is_refused(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = registry().get("model", "unet").target
    monkeypatch.setattr(network, "cannot_export", "ONNX has no operator odd::one.")
    with pytest.raises(DataError, match=r"unet can't be exported: ONNX has no operator odd::one\.\nChoose"):
        inference.export(weights, tmp_path / "x.onnx")


def test_a_network_that_differs_is_refused(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cxrkit_plugins.runtimes.torch_export import TorchRuntime

    load = TorchRuntime.load

    def inverted(self: TorchRuntime, file: Path) -> object:
        description, compute = load(self, file)
        return description, lambda images: 1 - compute(images)

    monkeypatch.setattr(TorchRuntime, "load", inverted)
    with pytest.raises(DataError, match="gives other masks than the original"):
        inference.export(weights, tmp_path / "x.pt2")
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_program_is_named(exported: dict[str, Path], tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(exported[".onnx"])
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "foreign.onnx")
    with pytest.raises(DataError, match="was not exported by cxrkit"):
        inference.load(tmp_path / "foreign.onnx")
    entry = model.metadata_props.add()
    entry.key, entry.value = "cxrkit", json.dumps({"format": 99})
    onnx.save(model, tmp_path / "newer.onnx")
    for runtime in ("onnxruntime", "openvino"):
        with pytest.raises(DataError, match="not written by this version"):
            inference.load(tmp_path / "newer.onnx", runtime=runtime)


@pytest.mark.parametrize("attack", ["pickle", "formula", "operation", "part"])
def test_a_torch_program_that_could_run_code_is_refused(exported: dict[str, Path], tmp_path: Path, attack: str) -> None:
    class Attack:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "harmed",)  # type: ignore[return-value]

    bad = tmp_path / "bad.pt2"
    with zipfile.ZipFile(exported[".pt2"]) as source, zipfile.ZipFile(bad, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if attack == "pickle" and name.endswith("sample_inputs/model.pt"):
                content = pickle.dumps(Attack())
            if attack == "formula":
                content = content.replace(b"Symbol('", b"__import__('os').system('true') + Symbol('")
            if attack == "operation":
                content = content.replace(b"torch.ops.aten.sigmoid.default", b"torch.hub.load")
            target.writestr(name, content)
        if attack == "part":
            target.writestr(name.partition("/")[0] + "/data/constants/opaque_obj_0", pickle.dumps(Attack()))
    with pytest.raises(DataError, match=f"{bad}: holds .* could run code"):
        inference.load(bad)
    assert not (tmp_path / "harmed").exists()


def test_agreement_is_the_mean_over_films_of_each_structure() -> None:
    original = np.zeros((2, 2, 2, 2))
    original[:, 0] = 0.9
    found = original.copy()
    found[1, 0, 0] = 0.1
    agreement = compare(found, original, ("heart", "background"))
    assert agreement.dice == {"heart": pytest.approx((1 + 2 / 3) / 2)}
    assert agreement.largest_difference == pytest.approx(0.8)


@pytest.mark.slow
def test_8_bit_integers_say_what_they_cost(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("nncf", reason="the extra int8 isn't installed")
    monkeypatch.setattr(exporting, "LOWEST_DICE_INT8", 0.0)
    exported = inference.export(weights, tmp_path / "x.xml", int8=True, data="phantom")
    assert exported.agreement is not None
    assert 0.9 < min(exported.agreement.dice.values()) <= 1
    plain = inference.export(weights, tmp_path / "y.xml")
    assert plain.agreement is not None
    assert exported.agreement.largest_difference > plain.agreement.largest_difference
    assert b'element_type="i8"' in (tmp_path / "x.xml").read_bytes()
    assert b'element_type="i8"' not in (tmp_path / "y.xml").read_bytes()
