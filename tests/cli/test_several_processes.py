"""Two processes on one CPU, started by the command line itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cxrkit.engine.checkpoint import load_state
from cxrkit.engine.run import RunDirectory
from tests.engine.breaking import same_result

UNET = "--model unet --set model.base_channels=4 --set model.depth=2"
FLAGS = f"""
    train {UNET} --loss dice --mixup 0.2 --data phantom
    --set data.count=16 --set data.size=32 --size 32 --test-size 3 --validation 2 --batch-size 2 --devices 2
    --device cpu --precision 32 --set train.validate_every=2 --set train.checkpoint_every=2
"""


def start(*more: str, folder: Path, flags: str = FLAGS) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "cxrkit", *flags.split(), *more]
    return subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def wait_for_state(process: subprocess.Popen[str], run: Path) -> Path:
    """A run's saved state, once it is there or its process has ended."""
    state = run / "checkpoints" / "state.safetensors"
    deadline = time.monotonic() + 240
    while not state.is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
    return state


@pytest.mark.slow
def test_two_processes_compute_what_one_does(cxrkit, tmp_path: Path) -> None:
    # Only what is a mean over films is the same in any number of shares: no mixup, no batch norm, no Dice.
    # Three of the network's four heads take no part in a step; processes that wait for their gradients would hang.
    flags = [
        *("--set", "model.network=BasicUNetPlusPlus"),
        *("--set", "model.options={features: [4, 4, 4, 4, 4, 4], norm: null}"),
        *("--loss", "bce + 0.1*critic", "--set", "loss.critic.base_channels=2", "--set", "loss.critic.network_steps=2"),
        *("--mixup", "0", "--steps", "6", "--json"),
    ]
    common = FLAGS.replace(UNET, "--model monai")
    process = start(*flags, folder=tmp_path, flags=common)
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert isinstance(json.loads(out), dict)  # the second process prints nothing
    (both,) = (tmp_path / "runs").iterdir()
    alone = cxrkit(*common.split(), *flags, "--devices", "1", "--out", tmp_path / "alone")
    assert alone.code == 0, alone.err
    results = []
    for run in (both, tmp_path / "alone"):
        state = load_state(run / "checkpoints" / "state.safetensors")
        assert state.step == 6
        weights = {name: value for name, value in state.tensors.items() if name.startswith(("network.", "average."))}
        readings = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        assert [record["step"] for record in readings if "validation" in record] == [2, 4, 6]
        reading = next(record for record in readings if "loss" in record)
        results.append((weights, [reading["loss"], *reading["own"].values()]))
    (two, their_reading), (one, its_reading) = results
    assert their_reading == pytest.approx(its_reading, abs=1e-4)
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-4


@pytest.mark.slow
def test_mixup_and_a_critic_in_two_killed_processes_end_as_if_never_killed(tmp_path: Path) -> None:
    critic = ["--set", "loss.critic.base_channels=2", "--set", "loss.critic.network_steps=2"]
    flags = ["--loss", "dice + 0.1*critic", *critic, "--steps", "40"]
    straight, broken = (start(*flags, "--out", name, folder=tmp_path) for name in ("straight", "broken"))
    wait_for_state(broken, tmp_path / "broken")
    broken.send_signal(signal.SIGKILL)
    broken.communicate(timeout=120)
    broken_run = RunDirectory.open(tmp_path / "broken")
    assert 0 < load_state(broken_run.state_file).step < 40
    _, errors = start(flags=f"train --resume {tmp_path / 'broken'}", folder=tmp_path).communicate(timeout=300)
    assert "Error" not in errors
    assert straight.communicate(timeout=300) is not None
    same_result(RunDirectory.open(tmp_path / "straight"), broken_run)


@pytest.mark.slow
def test_a_killed_process_is_reported_as_killed(tmp_path: Path) -> None:
    process = start("--steps", "100000", "--out", "run", folder=tmp_path)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.is_file():
        process.kill()
        pytest.skip("this system doesn't list a process's children in /proc")
    wait_for_state(process, tmp_path / "run")
    os.kill(int(children.read_text().split()[0]), signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert "Another of the 2 processes" in errors
    assert "cxrkit train --resume" in errors
    assert "defect" not in errors
    assert process.returncode == 5
    assert load_state(tmp_path / "run" / "checkpoints" / "state.safetensors").step > 0


@pytest.mark.slow
def test_ctrl_c_stops_all_after_the_same_step(tmp_path: Path) -> None:
    # The network has parameters that a step doesn't use, which processes could wait for.
    network = [
        "--model",
        "smp",
        "--set",
        "model.architecture=pspnet",
        "--set",
        "model.encoder=tu-mobilenetv3_small_050",
    ]
    flags = FLAGS.replace(UNET, " ".join(network))
    process = start("--batch-size", "4", "--steps", "100000", "--out", "run", folder=tmp_path, flags=flags)
    state = wait_for_state(process, tmp_path / "run")
    process.send_signal(signal.SIGINT)  # to the first process alone; the other must hear of it
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "cxrkit train --resume" in errors
    assert load_state(state).step > 1


@pytest.mark.slow
def test_a_divergence_ends_both_with_one_message(tmp_path: Path) -> None:
    process = start("--steps", "6", "--lr", "1e9", "--set", "train.warmup=0", "--out", "run", folder=tmp_path)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 5
    assert errors.count("Error:") == 1
    assert "not finite" in errors
