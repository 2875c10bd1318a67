from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest
import torch

from cxrkit.config import TrainConfig
from cxrkit.engine.hardware import autocast, choose_device, choose_precision, describe_hardware, make_fabric
from cxrkit.errors import ConfigError


def test_auto_is_the_fastest_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto").type == "cpu"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("auto").type == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto").type == "cuda"


def test_a_missing_device_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="--device cuda") as caught:
        choose_device("cuda")
    assert "cpu" in caught.value.remedy


def test_too_many_devices_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match="has 1 CUDA"):
        make_fabric(TrainConfig(device="cuda", devices=2))


@pytest.mark.parametrize(("has", "expected"), [(True, "bf16"), (False, "32")])
def test_bf16_is_used_where_the_cpu_has_it(monkeypatch: pytest.MonkeyPatch, has: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has, raising=False)
    assert choose_precision("auto", torch.device("cpu")) == expected
    assert choose_precision("32", torch.device("cpu")) == "32"


def test_autocast_computes_in_the_precision() -> None:
    layer, image = torch.nn.Conv2d(1, 1, 1), torch.zeros(1, 1, 2, 2)
    with autocast(torch.device("cpu"), "bf16"):
        assert layer(image).dtype == torch.bfloat16
    with autocast(torch.device("cpu"), "32"):
        assert layer(image).dtype == torch.float32


def test_hardware_is_described() -> None:
    described = describe_hardware(torch.device("cpu"))
    assert described["device"] == "cpu"
    assert described["name"]
    assert described["torch"] == torch.__version__


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc's memory management")
@pytest.mark.parametrize(("variable", "kept"), [("OTHER", True), ("MALLOC_TRIM_THRESHOLD_", False)])
def test_freed_memory_is_kept_for_the_next_update(variable: str, kept: bool) -> None:
    update = "[torch.ones(1 << 21) for _ in range(8)]"
    code = f"""
import resource, torch
from cxrkit.engine.hardware import keep_freed_memory
keep_freed_memory()
{update}
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5): {update}
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    environment = os.environ | {variable: "100000"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    pages_of_an_update = 8 * (1 << 23) // 4096
    assert (int(done.stdout) < pages_of_an_update) == kept
