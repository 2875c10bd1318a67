"""The bench stage: what updates and predictions cost, eagerly and compiled, and beside other packages' networks.

    python bench.py --seconds 180 --work FOLDER --out FOLDER [--tiny]

Every arm's numbers are a small file below --work; what is there already isn't measured again, and what failed is
tried again. All of them together are written to OUT/bench.json.

Arms that aren't compiled are measured one after the other in one process. Compiled ones warm up side by side, some at
a time, each in its own process, and are then measured alone, in turn. Last, several processes train at once on the one
device.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

STRUCTURES = ["left_lung", "right_lung", "heart"]
SIDE_BY_SIDE = (2, 4)
WARM_AT_ONCE = 4  # compiled arms that warm up together; each holds its memory meanwhile


def arms(tiny: bool) -> dict[str, dict[str, Any]]:
    """What is measured, by name: our networks with `compile` off, auto and on, and others in a plain loop."""
    size, batch, narrow = (32, 2, 4) if tiny else (512, 8, None)
    ours: dict[str, dict[str, Any]] = {
        "attn-bcdu": {"model": {"name": "attn-bcdu", "base_channels": narrow or 48}, "augment": [{"name": "mixup"}]},
        "unet": {"model": {"name": "unet", "base_channels": narrow or 64}, "loss": "dice"},
        "attn-unet": {"model": {"name": "attn-unet", "base_channels": narrow or 64}, "loss": "dice"},
        "smp": {"model": {"name": "smp", "encoder": "resnet18" if tiny else "resnet34"}, "loss": "dice"},
    }
    others = ("monai-attention-unet", "monai-basic-unet", "smp-unet-resnet34")
    modes, ways = ("auto", "off", "on"), ("eager", "compiled")
    if tiny:
        ours, others, modes = {name: ours[name] for name in ("unet", "attn-bcdu")}, others[1:2], ("auto", "on")
    found: dict[str, dict[str, Any]] = {}
    for mode in modes:
        for name, settings in ours.items():
            number = 5 if name == "attn-bcdu" and not tiny else batch
            train = {"batch_size": number, "device": "auto", "precision": "auto", "compile": mode}
            found[f"{name}/{mode}"] = {
                "settings": settings | {"structures": STRUCTURES, "preprocess": {"size": size}, "train": train},
                "compiled": mode == "on",
            }
    for way in ways:
        for name in others:
            found[f"{name}/{way}"] = {
                "network": name,
                "size": size,
                "batch": batch,
                "width": narrow or 64,
                "compiled": way == "compiled",
            }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--tiny", action="store_true", help="small settings, to see that everything works")
    parser.add_argument("--arm", nargs="*", help="measure these in this process (used by this script itself)")
    parser.add_argument("--together", help="train this arm beside others, and write its numbers by this name")
    parser.add_argument("--wait", help="once warm, wait for the file of this name")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.arm:
        for name in options.arm:
            measure_and_write(name, options)
    else:
        drive(options)


# --- the driver -----------------------------------------------------------------------------------------------------


def drive(options: argparse.Namespace) -> None:
    """Start the processes that measure, as far as the time goes, and gather what they wrote."""
    deadline = time.monotonic() + options.seconds
    missing = [name for name in arms(options.tiny) if not succeeded(options, name)]
    try:
        if eager := [name for name in missing if not arms(options.tiny)[name]["compiled"]]:
            finish([start(options, eager)], deadline)
        compiled = [name for name in missing if arms(options.tiny)[name]["compiled"]]
        compiled = compiled[:1] if options.tiny else compiled
        in_turn(options, compiled[:WARM_AT_ONCE], deadline)
        for count in SIDE_BY_SIDE[: 1 if options.tiny else None]:
            if not succeeded(options, f"side-by-side-{count}"):
                side_by_side(options, count, deadline)
        for first in range(WARM_AT_ONCE, len(compiled), WARM_AT_ONCE):
            in_turn(options, compiled[first : first + WARM_AT_ONCE], deadline)
    finally:
        gather(options)


def start(options: argparse.Namespace, names: list[str], *more: str) -> subprocess.Popen[bytes]:
    """A process that measures arms."""
    command = [sys.executable, __file__, "--work", str(options.work), *(["--tiny"] if options.tiny else [])]
    # Where only the script is tried, compiling would take more time than everything else.
    environment = os.environ | ({"TORCHDYNAMO_DISABLE": "1"} if options.tiny else {})
    return subprocess.Popen([*command, *more, "--arm", *names], env=environment)


def finish(processes: list[subprocess.Popen[bytes]], deadline: float) -> None:
    """Wait for processes, no longer than to the deadline; then end them."""
    for process in processes:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def in_turn(options: argparse.Namespace, names: list[str], deadline: float) -> None:
    """Let arms warm up together and measure one at a time."""
    if not names or deadline - time.monotonic() < 5:
        return
    clear_signals(options)
    started = {name: start(options, [name], "--wait", f"go-{file_name(name)}") for name in names}
    wait_until_ready(options, started, min(deadline - 10, time.monotonic() + 240))
    for name, process in started.items():
        if not (options.work / f"ready-go-{file_name(name)}").is_file() and process.poll() is None:
            process.kill()  # it would still warm up while others are timed
            process.wait()
            write(options, name, {"error": "it was not warm in time"})
    for name, process in started.items():
        (options.work / f"go-{file_name(name)}").touch()
        finish([process], deadline)


def side_by_side(options: argparse.Namespace, count: int, deadline: float) -> None:
    """Updates a second of several processes that train the same network at once."""
    if deadline - time.monotonic() < 5:
        return
    clear_signals(options)
    parts = [f"part-{count}-{number}" for number in range(count)]
    started = {part: start(options, ["attn-bcdu/auto"], "--together", part, "--wait", f"go-{count}") for part in parts}
    wait_until_ready(options, started, deadline - 4)
    (options.work / f"go-{count}").touch()
    finish(list(started.values()), deadline)
    found = [content for part in parts if "updates_per_second" in (content := read(options, part))]
    rates = [content["updates_per_second"] for content in found]
    # Processes that aren't all there measure something else.
    whole = {"updates_per_second": sum(rates), "each": rates} if len(rates) == count else {"error": "not all ended"}
    write(options, f"side-by-side-{count}", {"arm": "attn-bcdu/auto", "processes": count} | whole)


def wait_until_ready(options: argparse.Namespace, started: dict[str, subprocess.Popen[bytes]], until: float) -> None:
    """Wait until each process has said that it is warm, or has ended."""

    def pending() -> int:
        ready = len(list(options.work.glob("ready-*")))
        ended = sum(process.poll() is not None for process in started.values())
        return len(started) - ready - ended

    while pending() > 0 and time.monotonic() < until:
        time.sleep(0.05)


def clear_signals(options: argparse.Namespace) -> None:
    for pattern in ("ready-*", "go-*"):
        for file in options.work.glob(pattern):
            file.unlink()


def gather(options: argparse.Namespace) -> None:
    """Write all numbers to one file, and a table to the terminal."""
    names = [*arms(options.tiny), *(f"side-by-side-{count}" for count in SIDE_BY_SIDE)]
    found = {name: content for name in names if (content := read(options, name))}
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        content = {"machine": read(options, "machine"), "arms": found}
        (options.out / "bench.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(f"{'':31}   ms/update   host ms   films/s   syncs   GiB   film ms")
    for name, numbers in found.items():
        if "error" in numbers:
            print(f"{name:31}   {numbers['error']}")
        elif "processes" in numbers:
            print(f"{name:31}   {numbers['updates_per_second']:.1f} updates/s together")
        else:
            peak, film = numbers.get("peak_memory"), numbers.get("film_seconds")
            print(
                f"{name:31}   {1000 * numbers['update_seconds']:9.2f}   {1000 * numbers['host_seconds']:7.2f}   "
                f"{numbers['films_per_second']:7.1f}   {numbers.get('synchronisations', '')!s:>5}   "
                f"{f'{peak / 2**30:4.1f}' if peak else '':>4}   {f'{1000 * film:.2f}' if film else ''}"
            )


def file_name(name: str) -> str:
    return name.replace("/", "-")


def write(options: argparse.Namespace, name: str, content: dict[str, Any]) -> None:
    (options.work / f"{file_name(name)}.json").write_text(json.dumps(content), encoding="utf-8")


def read(options: argparse.Namespace, name: str) -> dict[str, Any]:
    file = options.work / f"{file_name(name)}.json"
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return found


def succeeded(options: argparse.Namespace, name: str) -> bool:
    content = read(options, name)
    return bool(content) and "error" not in content


# --- one arm, in a process of its own -------------------------------------------------------------------------------


def measure_and_write(name: str, options: argparse.Namespace) -> None:
    """Measure an arm and write its numbers, or why it has none."""
    import torch

    written = options.together or name
    cuda = torch.cuda.is_available()
    write(
        options,
        "machine",
        {
            "device": torch.cuda.get_device_name() if cuda else "cpu",
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "python": sys.version.split()[0],
            "cores": os.cpu_count(),
        },
    )
    try:
        arm = arms(options.tiny)[name]
        build = build_ours if "settings" in arm else build_other
        content = build(arm, options)
    except Exception as error:  # whatever it is, the other arms are still measured
        content = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
    write(options, written, content)
    gc.collect()
    if cuda:
        torch.cuda.empty_cache()


def build_ours(arm: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Numbers of a training of cxrkit's own, on random films."""
    import threading

    from cxrkit.config import make_config, resolve
    from cxrkit.engine.rehearsal import Rehearsal
    from cxrkit.plugins import registry

    config = resolve(make_config(arm["settings"]), registry())
    began = time.perf_counter()
    rehearsal = Rehearsal(config, registry())
    peak = rehearsal.warm_up()
    rehearsal.update()
    warm = time.perf_counter() - began
    wait(options)
    loop = rehearsal.loop

    def look() -> None:
        if loop.unread:
            loop.look(threading.Event())

    if options.together:
        return many_updates(loop.update, look, 1 if options.tiny else 5)
    rounds = 2 if options.tiny else 30
    numbers = timed(loop.update, look, rounds, config.train.batch_size)
    return numbers | {
        "warm_up_seconds": warm,
        "peak_memory": peak,
        "reserved_memory": reserved(),
        "parameters": rehearsal.parameters,
        "multiply_adds": rehearsal.multiply_adds(),
        "film_seconds": statistics.median(rehearsal.predict() for _ in range(rounds)),
        "precision": rehearsal.precision,
        "settings": arm["settings"],
    }


def build_other(arm: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Numbers of another package's network in a plain loop: AdamW, bf16, channels_last, cross-entropy and Dice."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    size, batch, channels = arm["size"], arm["batch"], len(STRUCTURES) + 1
    torch.manual_seed(0)
    began = time.perf_counter()
    network = other_network(arm["network"], channels, arm["width"]).to(device, memory_format=torch.channels_last)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    run = torch.compile(network) if arm["compiled"] else network
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-4, fused=True)
    images = torch.randn(batch, 1, size, size, device=device).contiguous(memory_format=torch.channels_last)
    targets = (torch.rand(batch, channels, size, size, device=device) < 0.3).float()

    def update() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            logits = run(images)
        logits = logits.float()
        chance = logits.sigmoid()
        overlap = (2 * (chance * targets).sum((2, 3)) + 1) / (chance.sum((2, 3)) + targets.sum((2, 3)) + 1)
        loss = binary_cross_entropy_with_logits(logits, targets) + 1 - overlap.mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    for _ in range(3):
        update()
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        update()
        torch.cuda.synchronize()
    warm = time.perf_counter() - began
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else None
    wait(options)
    numbers = timed(update, lambda: None, 2 if options.tiny else 30, batch)
    return numbers | {
        "warm_up_seconds": warm,
        "peak_memory": peak,
        "reserved_memory": reserved(),
        "parameters": parameters,
    }


def other_network(name: str, channels: int, width: int) -> Any:
    """A network of MONAI or segmentation-models-pytorch, as wide and deep as ours."""
    widths = [width * 2**level for level in range(5)]
    if name == "monai-basic-unet":
        from monai.networks.nets import BasicUNet

        return BasicUNet(
            spatial_dims=2, in_channels=1, out_channels=channels, features=(*widths, width), norm="batch", act="relu"
        )
    if name == "monai-attention-unet":
        from monai.networks.nets import AttentionUnet

        return AttentionUnet(
            spatial_dims=2, in_channels=1, out_channels=channels, channels=widths, strides=(2, 2, 2, 2)
        )
    import segmentation_models_pytorch as smp

    return smp.Unet("resnet34", encoder_weights=None, in_channels=1, classes=channels)


def wait(options: argparse.Namespace) -> None:
    """Say that this process is warm, and wait until it may measure."""
    if not options.wait:
        return
    (options.work / f"ready-{options.together or options.wait}").touch()
    while not (options.work / options.wait).is_file():
        time.sleep(0.005)
        if os.getppid() == 1:
            raise SystemExit("The script that started this process has ended.")


def synchronise() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def reserved() -> int | None:
    """Bytes that torch holds on the device, those of a recorded graph included."""
    import torch

    return torch.cuda.memory_reserved() if torch.cuda.is_available() else None


def many_updates(update: Callable[[], Any], look: Callable[[], Any], seconds: float) -> dict[str, Any]:
    """Updates a second, for so long; as in a training, every tenth is looked at."""
    synchronise()
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        update()
        done += 1
        if done % 10 == 0:
            look()
    synchronise()
    return {"updates_per_second": done / (time.perf_counter() - began)}


def timed(update: Callable[[], Any], look: Callable[[], Any], rounds: int, batch: int) -> dict[str, Any]:
    """Seconds of an update, of the host in it, and of many in a row; synchronisations; kernels.

    Keys:
        update_seconds: from a device at rest until it is at rest again; median.
        host_seconds: until the call returns, the device being at rest before; median.
        films_per_second: of updates in a row.
        synchronisations: that torch counts in an update; None without CUDA.
    """
    whole, host = [], []
    for _ in range(rounds):
        synchronise()
        began = time.perf_counter()
        update()
        host.append(time.perf_counter() - began)
        synchronise()
        whole.append(time.perf_counter() - began)
    look()
    synchronise()
    began = time.perf_counter()
    for _ in range(rounds):
        update()
    synchronise()
    in_a_row = (time.perf_counter() - began) / rounds
    look()
    numbers: dict[str, Any] = {
        "update_seconds": statistics.median(whole),
        "host_seconds": statistics.median(host),
        "seconds_in_a_row": in_a_row,
        "films_per_second": batch / in_a_row,
    }
    numbers |= synchronisations(update) | kernels(update)
    look()
    return numbers


def synchronisations(update: Callable[[], Any]) -> dict[str, Any]:
    """How often an update waits for the device, and where."""
    import torch

    if not torch.cuda.is_available():
        return {"synchronisations": None}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            update()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    found = [warning for warning in caught if "called a synchroniz" in str(warning.message)]
    places = sorted({f"{'/'.join(Path(warning.filename).parts[-2:])}:{warning.lineno}" for warning in found})
    return {"synchronisations": len(found), "synchronising_lines": places}


def kernels(update: Callable[[], Any]) -> dict[str, Any]:
    """Kernels of an update and the seconds that the device was busy with them."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    if not torch.cuda.is_available():
        return {}
    try:
        synchronise()
        with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as profiler:
            update()
            synchronise()
        events = [event for event in profiler.events() if event.device_type == torch.autograd.DeviceType.CUDA]
        return {"kernels": len(events), "kernel_seconds": sum(event.time_range.elapsed_us() for event in events) / 1e6}
    except Exception as error:  # a profiler that doesn't work here costs two numbers only
        return {"kernels": None, "profiler": f"{type(error).__name__}: {error}"[:200]}


if __name__ == "__main__":
    main()
