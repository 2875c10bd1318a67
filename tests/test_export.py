"""Networks as small files to hand on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cxrkit import ConfigError, inference
from cxrkit.engine.checkpoint import load_network, save_network
from cxrkit.plugins import registry


def test_half_the_size_and_the_same_masks(tmp_path: Path) -> None:
    model, card = load_network(registry().get("weights", "lungs-heart").build().file, registry())
    noisy = {k: v * (1 + 1e-5) if v.is_floating_point() else v for k, v in model.state_dict().items()}
    full = tmp_path / "full.safetensors"
    save_network(full, noisy, card.model_copy(update={"precision": "32"}))  # bf16 rounds both weights differently
    (half,) = inference.export(full, tmp_path / "half.safetensors").files
    assert half.stat().st_size < 0.52 * full.stat().st_size
    film = np.random.default_rng(0).integers(0, 255, (96, 96), dtype=np.uint8)
    one, two = (inference.load(path, device="cpu")(film).probabilities["heart"] for path in (full, half))
    np.testing.assert_allclose(one, two, atol=5e-3)


def test_nothing_is_written_over(tmp_path: Path) -> None:
    source = registry().get("weights", "lungs-heart").build().file
    with pytest.raises(ConfigError, match="suffix"):
        inference.export(source, tmp_path / "x.bin")
    (tmp_path / "x.safetensors").touch()
    with pytest.raises(ConfigError, match="already exists"):
        inference.export(source, tmp_path / "x.safetensors")


def test_weights_of_a_package_are_exported_by_their_name(tmp_path: Path) -> None:
    (written,) = inference.export("lungs-heart", tmp_path / "x.safetensors").files
    assert load_network(written, registry())[1].channels[:3] == ("left_lung", "right_lung", "heart")


def test_what_was_rounded_does_not_pass_for_full(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="16-bit floats"):
        inference.export("lungs-heart", tmp_path / "x.safetensors", half=False)
    assert not (tmp_path / "x.safetensors").exists()


def test_a_file_has_no_choice_of_checkpoints(tmp_path: Path) -> None:
    source = registry().get("weights", "lungs-heart").build().file
    with pytest.raises(ConfigError, match="--checkpoint best"):
        inference.export(source, tmp_path / "x.safetensors", checkpoint="best")
