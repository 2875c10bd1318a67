"""The energy that this machine uses while an ablation runs, from its own counters, where they can be read.

Processors of Intel and AMD count their packages' energy (RAPL, in Linux's powercap tree; most systems let only root
read it), and NVIDIA's GPUs their boards' (NVML, with the package nvidia-ml-py). They count everything that the machine
does. Memory, disks, fans and the power supply's loss are in none of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True)
class _Counter:
    """A counter's reading: joules, and the joules at which it restarts from 0 (None: never)."""

    joules: float
    wraps_at: float | None = None


class EnergyMeter:
    """Adds up the counters. `look` must be called before they wrap around, which takes minutes at least.

    Args:
        powercap: Linux's folder of RAPL counters.
    """

    def __init__(self, powercap: Path = _POWERCAP) -> None:
        self._powercap = powercap
        self._gpus = _gpu_handles()
        self._last = dict(self._read())
        self._joules = 0.0

    @property
    def sources(self) -> tuple[str, ...]:
        """The counters that can be read: `package-0`, `GPU 0`."""
        return tuple(self._last)

    def look(self) -> None:
        """Read the counters and add what they have counted since the last look."""
        now = dict(self._read())
        for name, counter in now.items():
            if (before := self._last.get(name)) is not None:
                used = counter.joules - before.joules
                if used < 0 and counter.wraps_at is not None:
                    used += counter.wraps_at
                self._joules += max(0.0, used)
        self._last = now

    def take(self) -> float | None:
        """Joules since the last `take`, or since the start; None where there is no counter."""
        self.look()
        taken, self._joules = self._joules, 0.0
        return taken if self._last else None

    def _read(self) -> Iterator[tuple[str, _Counter]]:
        for zone in sorted(self._powercap.glob("intel-rapl:*")):
            if zone.name.count(":") > 1:
                continue  # a part of a package, counted with it
            with suppress(OSError, ValueError):
                name = (zone / "name").read_text().strip()
                if not name.startswith("package"):
                    continue  # psys is the whole machine, its packages included
                joules = int((zone / "energy_uj").read_text()) / 1e6
                yield name, _Counter(joules, int((zone / "max_energy_range_uj").read_text()) / 1e6)
        for name, handle in self._gpus.items():
            if (counted := _gpu_joules(handle)) is not None:
                yield name, _Counter(counted)


def _gpu_handles() -> dict[str, Any]:
    try:
        import pynvml

        pynvml.nvmlInit()
        return {
            f"GPU {index}": pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())
        }
    except Exception:  # no package, no driver, no permission: then it is unknown
        return {}


def _gpu_joules(handle: Any) -> float | None:
    import pynvml

    try:
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000
    except pynvml.NVMLError:  # GPUs before Volta don't count
        return None
