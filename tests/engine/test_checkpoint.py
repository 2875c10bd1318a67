from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar, Literal

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from cxrkit.config import ComponentConfig, PreprocessConfig
from cxrkit.engine import checkpoint as ckpt
from cxrkit.errors import DataError, PluginError, StorageError
from cxrkit.interfaces import Model
from cxrkit.registry import Component, Registry


def card(**changes: object) -> ckpt.NetworkCard:
    content = {
        "cxrkit": "0",
        "model": ComponentConfig(name="unet", base_channels=4, depth=2),
        "channels": ("heart", "background"),
        "preprocess": PreprocessConfig(size=32, clahe=None),
        "precision": "32",
        "package": ("cxrkit", "0"),
        "step": 7,
    }
    return ckpt.NetworkCard.model_validate(content | changes)


def test_a_network_comes_back_as_it_was(tmp_path: Path, components: Registry) -> None:
    model = components.get("model", "unet").build(("heart", "background"), base_channels=4, depth=2)
    model = model.to(memory_format=torch.channels_last)
    ckpt.save_network(tmp_path / "w.safetensors", model.state_dict(), card())
    loaded, read = ckpt.load_network(tmp_path / "w.safetensors", components)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in loaded.state_dict().items())
    images = torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    # Another memory layout takes another kernel, whose sums differ in the last bits.
    assert torch.allclose(loaded(images), model.eval()(images), atol=1e-4, rtol=1e-4)
    assert read == card()
    assert not loaded.training


def test_weights_from_before_a_setting_was_there_get_its_default(tmp_path: Path, components: Registry) -> None:
    model = components.get("model", "unet").build(("heart", "background"), base_channels=4, depth=2)
    written = card().model_dump(mode="json")
    del written["preprocess"]["resize"]
    save_file(model.state_dict(), tmp_path / "w.safetensors", metadata={"cxrkit": json.dumps(written)})
    _, read = ckpt.load_network(tmp_path / "w.safetensors", components)
    assert read.preprocess.resize == "area"


def test_weights_of_a_missing_plugin_say_what_to_install(tmp_path: Path, components: Registry) -> None:
    strange = card(model=ComponentConfig(name="from-elsewhere"), package=("their-package", "1.2"))
    ckpt.save_network(tmp_path / "w.safetensors", {"a": torch.zeros(1)}, strange)
    with pytest.raises(PluginError, match=r"pip install their-package==1\.2"):
        ckpt.load_network(tmp_path / "w.safetensors", components)


def test_weights_that_do_not_fit_are_refused(tmp_path: Path, components: Registry) -> None:
    ckpt.save_network(tmp_path / "w.safetensors", {"a": torch.zeros(1)}, card())
    with pytest.raises(DataError, match="don't fit unet"):
        ckpt.load_network(tmp_path / "w.safetensors", components)


@pytest.mark.parametrize("content", [b"", b"not weights", b"\x80\x04K\x01."])
def test_a_damaged_file_is_named(tmp_path: Path, components: Registry, content: bytes) -> None:
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(DataError, match=r"w\.safetensors: not a readable safetensors file"):
        ckpt.load_network(tmp_path / "w.safetensors", components)


def test_other_safetensors_and_missing_files_are_refused(tmp_path: Path, components: Registry) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(DataError, match="not written by cxrkit"):
        ckpt.load_network(tmp_path / "other.safetensors", components)
    with pytest.raises(DataError, match="no such file"):
        ckpt.load_network(tmp_path / "none.safetensors", components)


@pytest.mark.parametrize("channels", [("../../escaped",), ("/etc/heart",), ("a", "a"), (), ("Heart",)])
def test_channels_can_only_be_names_of_files_and_settings(
    tmp_path: Path, components: Registry, channels: tuple[str, ...]
) -> None:
    content = json.loads(card().model_dump_json()) | {"channels": channels}
    save_file({"a": torch.zeros(1)}, tmp_path / "w.safetensors", metadata={"cxrkit": json.dumps(content)})
    with pytest.raises(DataError, match="not written by this cxrkit"):
        ckpt.load_network(tmp_path / "w.safetensors", components)


class Downloading(Model):
    """Would fetch weights from somewhere, unless it is told that others follow."""

    when_loading: ClassVar[dict[str, object]] = {"begin": "anew"}

    def __init__(self, channels: tuple[str, ...], *, begin: Literal["anew", "download"] = "download") -> None:
        super().__init__(channels)
        if begin == "download":
            raise StorageError("There is no network connection.")
        self.conv = torch.nn.Conv2d(1, len(channels), 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.conv(images)


def test_loading_never_downloads(tmp_path: Path, components: Registry) -> None:
    components.add(Component("model", "downloading", Downloading, "of a test", "tests", "0"))
    tensors = Downloading(("heart",), begin="anew").state_dict()
    described = card(model=ComponentConfig(name="downloading", begin="download"), channels=("heart",))
    ckpt.save_network(tmp_path / "w.safetensors", tensors, described)
    loaded, _ = ckpt.load_network(tmp_path / "w.safetensors", components)
    assert torch.equal(loaded.state_dict()["conv.weight"], tensors["conv.weight"])


def test_metadata_of_another_version_is_refused(tmp_path: Path, components: Registry) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "w.safetensors", metadata={"cxrkit": json.dumps({"format": 99})})
    with pytest.raises(DataError, match="Update cxrkit"):
        ckpt.load_network(tmp_path / "w.safetensors", components)


def test_a_training_state_is_no_network(tmp_path: Path, components: Registry) -> None:
    ckpt.save_state(tmp_path / "state.safetensors", ckpt.TrainingState({}, 1, None))
    with pytest.raises(DataError, match="a training resumes from"):
        ckpt.load_network(tmp_path / "state.safetensors", components)


@pytest.mark.parametrize("best", [None, (0.5, 3)])
def test_a_state_comes_back_as_it_was(tmp_path: Path, best: tuple[float, int] | None) -> None:
    tensors = {"network.w": torch.randn(3, 4), "network.n": torch.tensor(5)}
    ckpt.save_state(tmp_path / "s.safetensors", ckpt.TrainingState(tensors, 12, best))
    state = ckpt.load_state(tmp_path / "s.safetensors")
    assert (state.step, state.best) == (12, best)
    assert all(torch.equal(state.tensors[name], value) for name, value in tensors.items())


def test_an_optimizer_goes_on_as_if_it_had_never_stopped() -> None:
    def make() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        model = nn.Conv2d(4, 8, 3).to(memory_format=torch.channels_last)
        return model, torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True)

    def steps(model: nn.Module, optimizer: torch.optim.Optimizer, seeds: range) -> None:
        for seed in seeds:
            images = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(seed))
            optimizer.zero_grad()
            model(images).square().sum().backward()
            optimizer.step()

    straight, broken, resumed = make(), make(), make()
    steps(*straight, range(6))
    steps(*broken, range(3))
    tensors = ckpt.collect_tensors(dict(zip("mo", broken, strict=True)))
    ckpt.restore_tensors(dict(zip("mo", resumed, strict=True)), tensors)
    steps(*resumed, range(3, 6))
    for one, other in zip(straight[0].parameters(), resumed[0].parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_full_disk_is_reported(components: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError, match="disk is full"):
        ckpt.save_state(tmp_path / "s.safetensors", ckpt.TrainingState({}, 0, None))
    assert list(tmp_path.iterdir()) == []


def test_weights_files_follow_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    ckpt.save_state(path, ckpt.TrainingState({"a": torch.zeros(1)}, 1, None))
    plain = tmp_path / "plain"
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode


def test_copies_of_a_network_have_one_checksum_and_other_networks_another(tmp_path: Path) -> None:
    tensors = {"w": torch.tensor([1.0002, 1e6, float("nan")]), "scale": torch.tensor(1 / 3), "n": torch.tensor(7)}
    card = ckpt.NetworkCard(
        cxrkit="0",
        model=ComponentConfig(name="a"),
        channels=("heart",),
        preprocess=PreprocessConfig(size=32),
        package=("cxrkit", "0"),
        step=1,
    )

    def checksum(name: str, changed: dict[str, torch.Tensor]) -> str:
        ckpt.save_network(tmp_path / name, tensors | changed, card)
        return ckpt.network_checksum(tmp_path / name)

    original = checksum("run.safetensors", {})
    ckpt.export_network(tmp_path / "run.safetensors", tmp_path / "half.safetensors", half=True)
    assert ckpt.load_tensors(tmp_path / "half.safetensors")[0]["scale"].dtype == torch.float16
    assert ckpt.network_checksum(tmp_path / "half.safetensors") == original
    ckpt.amend_card(tmp_path / "run.safetensors", step=2)
    assert ckpt.network_checksum(tmp_path / "run.safetensors") == original
    others = (
        {"scale": torch.tensor(0.334)},
        {"scale": torch.tensor([1 / 3])},
        {"n": torch.tensor(8)},
        {"m": tensors["n"]},
    )
    assert len({original, *(checksum("other.safetensors", other) for other in others)}) == 5
