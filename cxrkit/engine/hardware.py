"""Devices and precision."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from cxrkit.config import TrainConfig
from cxrkit.errors import ConfigError
from cxrkit.processes import STARTED_PROCESSES

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Precision = Literal["32", "bf16"]


def choose_device(name: str) -> torch.device:
    """The device that `auto`, `cpu`, `cuda` or `mps` means here.

    Raises:
        ConfigError: it isn't there.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if there[kind])
    if not there[name]:
        found = ", ".join(kind for kind, is_there in there.items() if is_there)
        raise ConfigError(
            f"--device {name}: this machine has no such device that torch {torch.__version__} can use.",
            f"Use --device auto (it has: {found}); `cxrkit doctor` shows more.",
        )
    return torch.device(name)


def choose_precision(name: str, device: torch.device) -> Precision:
    """What `auto` means here: bf16 where the hardware computes with it, else 32.

    bf16 with channels_last is 2 to 5 times as fast as float32 on CPUs with AMX or AVX512-BF16.
    """
    if name in ("32", "bf16"):
        return name  # type: ignore[return-value]
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "32"
    if device.type == "cpu":
        has_bf16 = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
        return "bf16" if has_bf16() else "32"
    return "32"


def is_emulated(precision: str, device: torch.device) -> bool:
    """Whether the hardware has no such arithmetic: on CPUs, torch then takes ten times as long and more."""
    return precision == "bf16" and choose_precision("auto", device) == "32"


def autocast(device: torch.device, precision: Precision) -> Any:
    """A context in which the network computes with that precision."""
    if precision == "32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def keep_freed_memory() -> None:
    """Let glibc keep the memory that tensors leave, where a training on a CPU would ask for the same again at once.

    By default it gives blocks above a threshold back to the system, which then has to clear every page of the next
    one. Nothing happens with other C libraries, and where the user has set the thresholds in the environment.
    """
    if sys.platform != "linux" or any(name.startswith("MALLOC_") for name in os.environ):
        return
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
    with suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(mmap_threshold, 1 << 25)  # the most that it accepts
        mallopt(trim_threshold, (1 << 31) - 1)


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Values of the CPU on a device, without waiting for what a CUDA device still has to do."""
    return values.to(device, non_blocking=device.type == "cuda")


def synchronise(device: torch.device) -> None:
    """Wait until a device has done what it was asked for, so that a clock can be read."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def check_processes(config: TrainConfig) -> None:
    """Make sure that as many processes were started as the settings ask for, where something else starts them.

    Raises:
        ConfigError: other ones.
    """
    started, wanted = STARTED_PROCESSES, config.devices * config.num_nodes
    here = os.environ.get("LOCAL_WORLD_SIZE", str(config.devices))
    if started is None or (started == str(wanted) and here == str(config.devices)):
        return
    sizes = [int(text) if text.isdecimal() else 0 for text in (started, os.environ.get("LOCAL_WORLD_SIZE", started))]
    flags = f"--devices {sizes[1]} --num-nodes {sizes[0] // sizes[1]}" if all(sizes) else "WORLD_SIZE's number"
    raise ConfigError(
        f"WORLD_SIZE={started}: torchrun or another program started {started} processes ({here} on this machine), but "
        f"--devices {config.devices} --num-nodes {config.num_nodes} asks for {wanted}.",
        f"Use {flags}, or start {wanted} (torchrun --nproc-per-node {config.devices}). Without such a program, unset "
        "WORLD_SIZE.",
    )


def make_fabric(config: TrainConfig) -> Fabric:
    """Lightning Fabric for these settings; several processes on one CPU share its cores.

    Raises:
        ConfigError: the devices asked for aren't there.
    """
    from lightning_fabric import Fabric

    device = choose_device(config.device)
    if device.type == "cuda" and config.devices > torch.cuda.device_count():
        raise ConfigError(
            f"--devices {config.devices}: this machine has {torch.cuda.device_count()} CUDA devices.",
            "Ask for no more than there are.",
        )
    if device.type == "cpu":
        keep_freed_memory()
    if device.type == "cpu" and config.devices > 1:
        # Processes that each use every core slow one another down many times over.
        threads = max(1, (os.cpu_count() or 1) // config.devices)
        torch.set_num_threads(threads)
        os.environ["OMP_NUM_THREADS"] = str(threads)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)  # its notes would break our progress
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    precision = choose_precision(config.precision, device)
    several = config.devices * config.num_nodes > 1
    return Fabric(
        accelerator=device.type,
        devices=config.devices,
        num_nodes=config.num_nodes,
        strategy="ddp" if several and config.strategy == "auto" else config.strategy,
        precision="32-true" if precision == "32" else "bf16-mixed",
    )


def another_is_gone(error: RuntimeError) -> bool:
    """Whether an error among several processes says that one of them ended unexpectedly."""
    # As Gloo and NCCL say it; NCCL's own class has errors of many other kinds too.
    signs = ("closed by peer", "reset by peer", "broken pipe", "timed out", "remote process exiting", "to connect")
    return any(sign in str(error).lower() for sign in signs)


def describe_hardware(device: torch.device) -> dict[str, str | int]:
    """The hardware of a run, for its record."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {"device": device.type, "name": name, "threads": torch.get_num_threads(), "torch": torch.__version__}


def _processor() -> str:
    import platform
    from pathlib import Path

    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
