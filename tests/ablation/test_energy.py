"""Energy from the machine's counters, as Linux shows them."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from cxrkit.ablation.energy import EnergyMeter

RANGE = 1_000_000_000


@pytest.fixture
def powercap(tmp_path: Path) -> Path:
    for zone, name in (
        ("intel-rapl:0", "package-0"),
        ("intel-rapl:0:0", "core"),
        ("intel-rapl:1", "package-1"),
        ("intel-rapl:2", "psys"),
    ):
        (tmp_path / zone).mkdir()
        (tmp_path / zone / "name").write_text(f"{name}\n")
        (tmp_path / zone / "max_energy_range_uj").write_text(f"{RANGE}\n")
        (tmp_path / zone / "energy_uj").write_text("0\n")
    return tmp_path


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)


def count(powercap: Path, zone: int, microjoules: int) -> None:
    (powercap / f"intel-rapl:{zone}" / "energy_uj").write_text(f"{microjoules}\n")


def test_packages_are_added_and_their_parts_are_not_counted_twice(powercap: Path) -> None:
    meter = EnergyMeter(powercap)
    assert meter.sources == ("package-0", "package-1")
    count(powercap, 0, 3_000_000)
    (powercap / "intel-rapl:0:0" / "energy_uj").write_text("2000000\n")
    meter.look()
    count(powercap, 0, 4_000_000)
    count(powercap, 1, 500_000)
    count(powercap, 2, 9_000_000)  # psys: the packages and the rest of the machine
    assert meter.take() == pytest.approx(4.5)
    assert meter.take() == 0


def test_a_counter_that_begins_again_is_followed(powercap: Path) -> None:
    count(powercap, 0, RANGE - 2_000_000)
    meter = EnergyMeter(powercap)
    count(powercap, 0, 1_000_000)
    assert meter.take() == pytest.approx(3)


def test_without_counters_nothing_is_known(tmp_path: Path) -> None:
    assert EnergyMeter(tmp_path / "nowhere").take() is None


def test_a_counter_that_cannot_be_read_is_left_out(powercap: Path) -> None:
    (powercap / "intel-rapl:0" / "energy_uj").write_text("denied")
    assert EnergyMeter(powercap).sources == ("package-1",)


def test_gpus_are_asked_through_nvml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = ModuleType("pynvml")
    counted = {"new": 5000, "newer": 7000}

    class NVMLError(Exception):
        pass

    def total(handle: str) -> int:
        if handle not in counted:
            raise NVMLError
        return counted[handle]

    nvml.NVMLError = NVMLError  # type: ignore[attr-defined]
    nvml.nvmlInit = lambda: None  # type: ignore[attr-defined]
    nvml.nvmlDeviceGetCount = lambda: 3  # type: ignore[attr-defined]
    nvml.nvmlDeviceGetHandleByIndex = ("new", "old", "newer").__getitem__  # type: ignore[attr-defined]
    nvml.nvmlDeviceGetTotalEnergyConsumption = total  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    meter = EnergyMeter(tmp_path)
    assert meter.sources == ("GPU 0", "GPU 2")
    counted["newer"] = 9500
    assert meter.take() == pytest.approx(2.5)
