"""The script for machines with a GPU runs through on a CPU with tiny settings, and continues where it stopped."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tarfile
from importlib.metadata import distributions
from pathlib import Path

import pytest

GPU = Path(__file__).resolve().parents[1] / "examples" / "gpu"


def run(out: Path, *stages: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("DATA", "SPLIT", "WORK")}
    small = {
        "OUT": str(out),
        "PYTHON": sys.executable,
        "TINY": "1",
        "SEEDS": "1",
        "STAGE_SECONDS": "600",
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.run(
        ["bash", GPU / "run.sh", *stages],
        env=environment | small | variables,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_an_ablation_leaves_small_files_and_continues(tmp_path: Path) -> None:
    done = run(tmp_path, "table-1", "control")
    assert done.returncode == 0, done.stdout + done.stderr
    with tarfile.open(tmp_path / "table-1.tar.gz") as tar:
        names = tar.getnames()
    assert len([name for name in names if name.endswith("evaluation/test-last.json")]) == 1
    assert any(name.endswith(".csv") for name in names)
    assert not [name for name in names if name.endswith(".safetensors")]
    assert "DATA names no films" in (tmp_path / "control.txt").read_text()
    assert sum(file.stat().st_size for file in tmp_path.iterdir() if file.is_file()) < 2**20

    # A further call trains nothing twice, also where only the results were kept.
    (tmp_path / "work" / "table-1").rename(tmp_path / "elsewhere")
    again = run(tmp_path, "table-1")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "1 runs scored" in again.stdout
    assert not list((tmp_path / "work" / "table-1").rglob("*.safetensors"))


@pytest.mark.slow
def test_an_update_is_measured(tmp_path: Path) -> None:
    command = [sys.executable, GPU / "bench.py", "--tiny", "--work", tmp_path, "--arm", "unet/auto"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    numbers = json.loads((tmp_path / "unet-auto.json").read_text())
    assert numbers["update_seconds"] > 0
    assert numbers["film_seconds"] > 0


@pytest.mark.slow
def test_the_checks_are_reported(tmp_path: Path) -> None:
    done = run(tmp_path, "check", CHECK_TESTS="tests/metrics/test_masks.py", CHECK_WORKERS="0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in (tmp_path / "check-suite.txt").read_text()
    assert "status 5" in (tmp_path / "check-cuda.txt").read_text(), "pytest's status where no test was selected"


def test_an_unknown_stage_is_refused_before_any_begins(tmp_path: Path) -> None:
    done = run(tmp_path, "control", "tables")
    assert done.returncode == 2
    assert "There is no stage 'tables'" in done.stdout
    assert not (tmp_path / "control.txt").exists()


def test_a_checkout_that_is_not_installed_finds_its_plugins(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("metadata_of_a_checkout", GPU / "metadata.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.write_metadata(tmp_path)
    (found,) = distributions(path=[str(tmp_path)])
    assert found.metadata["Name"] == "cxrkit"
    assert {(point.group, point.name): point.value for point in found.entry_points} == {
        ("cxrkit", "builtin"): "cxrkit_plugins",
        ("cxrkit", "clinic"): "cxrkit_clinic",
        ("cxrkit.commands", "node"): "cxrkit_clinic.node.command:node",
        ("cxrkit.commands", "watch"): "cxrkit_clinic.node.command:watch",
        ("cxrkit.commands", "serve"): "cxrkit_clinic.server.command:serve",
        ("cxrkit.commands", "annotate"): "cxrkit_clinic.server.command:annotate",
        ("cxrkit.commands", "suggest"): "cxrkit_clinic.suggest:suggest",
        ("console_scripts", "cxrkit"): "cxrkit.cli.app:main",
    }
