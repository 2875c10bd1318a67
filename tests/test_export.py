"""Networks as small files to hand on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cxrkit import ConfigError, api
from cxrkit.engine.checkpoint import load_network, save_network
from cxrkit.plugins import registry


def test_half_the_size_and_the_same_masks(tmp_path: Path) -> None:
    model, card = load_network(registry().get("weights", "lungs-heart").build().file, registry())
    noisy = {k: v * (1 + 1e-5) if v.is_floating_point() else v for k, v in model.state_dict().items()}
    full = tmp_path / "full.safetensors"
    save_network(full, noisy, card)
    half = api.export(full, tmp_path / "half.safetensors")
    assert half.stat().st_size < 0.52 * full.stat().st_size
    film = np.random.default_rng(0).integers(0, 255, (96, 96), dtype=np.uint8)
    one, two = (api.load(path, device="cpu")(film).probabilities["heart"] for path in (full, half))
    np.testing.assert_allclose(one, two, atol=5e-3)


def test_nothing_is_written_over(tmp_path: Path) -> None:
    source = registry().get("weights", "lungs-heart").build().file
    with pytest.raises(ConfigError, match="suffix"):
        api.export(source, tmp_path / "x.bin")
    (tmp_path / "x.safetensors").touch()
    with pytest.raises(ConfigError, match="is there already"):
        api.export(source, tmp_path / "x.safetensors")
