"""`cxrkit bench`, from end to end with tiny networks, and what it refuses."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from cxrkit.engine.rehearsal import Rehearsal

SMALL = [
    *("--size", "32", "--batch-size", "2", "--device", "cpu", "--precision", "32", "--rounds", "2"),
    *("--set", "model.base_channels=4", "--set", "model.depth=2"),
]


def said(text: str) -> str:
    return " ".join(text.split())


def test_arms_are_those_of_an_ablation_and_the_table_goes_to_a_file_too(cxrkit, tmp_path: Path) -> None:
    flags = ["--model", "unet,attn-unet", "--mixup", "0,0.2", "--exclude", "model=unet,mixup=0.2"]
    outcome = cxrkit("bench", *flags, *SMALL, "--threads", 1, "--out", tmp_path / "costs.md")
    assert outcome.code == 0, outcome.err
    for arm in ("unet · mixup 0", "attn-unet · mixup 0", "attn-unet · mixup 0.2"):
        assert arm in outcome.out
    assert "unet · mixup 0.2" not in outcome.out.replace("attn-unet · mixup 0.2", "")
    assert "1 thread, " in outcome.out
    assert "precision 32, 32 × 32, batches of 2, loss focal-tversky, 2 rounds" in outcome.out
    assert "peak memory" not in outcome.out, "there is no honest number on a CPU"
    assert "Timing: 6 to do" in outcome.err
    assert f"Written: {tmp_path / 'costs.md'}" in outcome.err
    assert (tmp_path / "costs.md").read_text().startswith("| arm | parameters (M) |")


def test_json_has_every_round_and_quiet_says_nothing(cxrkit, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    file = tmp_path / "costs.CSV"
    flags = ["--threads", 2, "--json", "--quiet", "--out", file]
    line = ["bench", "--model", "unet", "--vary", "train.precision=32,bf16", *SMALL, *flags]
    line[line.index("--precision") : line.index("--rounds")] = []
    outcome = cxrkit(*line)
    assert (outcome.code, outcome.err) == (0, "")
    content = json.loads(outcome.out)
    assert [arm["arm"] for arm in content["arms"]] == ["train.precision 32", "bf16"]
    assert [arm["precision"] for arm in content["arms"]] == ["32", "bf16"]
    assert all(len(arm["update_seconds_by_round"]) == len(arm["film_seconds_by_round"]) == 2 for arm in content["arms"])
    first = content["arms"][0]
    assert (first["update_ratio"], first["peak_memory_bytes"]) == (1.0, None)
    assert first["parameters"] > first["batch_size"] == first["threads"] == 2
    assert file.read_text().startswith("arm,parameters,")


def test_a_runs_settings_can_be_measured_at_the_size_that_they_say(cxrkit, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("model: {name: unet, base_channels: 4, depth: 2}\ntrain: {epochs: 3, batch_size: 2}\nseed: 4\n")
    outcome = cxrkit("bench", "--config", file, "--rounds", 1, "--json", "--quiet")
    assert outcome.code == 0, outcome.err
    [arm] = json.loads(outcome.out)["arms"]
    assert (arm["size"], arm["batch_size"]) == (256, 2), "the demonstration's small size is not taken"


def test_a_plans_arms_are_measured_once_each_without_its_films(cxrkit, tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text("""
base: {data: {name: folder}, preprocess: {size: 32}}
factors:
  network:
    small: {model: unet, model.base_channels: 4, model.depth: 2}
    smaller: {model: unet, model.base_channels: 2, model.depth: 2}
  train_size: [10, 20]
seeds: 3
""")
    outcome = cxrkit("bench", file, "--set", "train_size=10", "--rounds", 1, "--json", "--quiet")
    assert outcome.code == 0, outcome.err
    assert [arm["arm"] for arm in json.loads(outcome.out)["arms"]] == ["small", "smaller"]


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--model", "unet,unett"], 4, "Did you mean 'unet'"),
        (["--model", "unet", "--size", "32,34"], 2, "size 34: --size 34: is not a multiple of 4"),
        (["--model", "unet", "--batch-size", "1", "--set", "model.depth=5"], 2, "would normalise single values"),
        (["--model", "unet", "--vary", "model.depth"], 2, "KEY=A,B"),
        (["--model", "unet", "--reference", "dice"], 2, "there is no such arm"),
        (["--model", "unet", "--out", "costs.html"], 2, "neither .csv nor .md"),
        (["--model", "unet", "--rounds", "0"], 2, "--rounds"),
        (["--model", "unet", "--set", "train.devices=2"], 2, "Several devices"),
        (["--model", "unet", "--vary", "train.precision=32,bf16"], 2, "precision is set for all runs"),
        (
            ["--model", "unet", "--vary", "train.epochs=1,2"],
            2,
            "train.epochs: none of the measured costs depends on it",
        ),
        (["--model", "unet", "--set", "data.root=/nowhere"], 3, "--set 'structures="),
        (["--model", "unet", "--out", "."], 2, "neither .csv nor .md"),
        (["--model", "unet", "--config", "nowhere.yaml"], 2, "no such configuration file"),
    ],
)
def test_mistakes_are_reported(cxrkit, flags: list[str], code: int, message: str) -> None:
    outcome = cxrkit("bench", *SMALL, *flags)
    assert outcome.code == code, outcome.err
    assert message in said(outcome.err)
    assert "Traceback" not in outcome.err
    assert outcome.out == ""


PLAN = """
base: {data: {name: folder}, preprocess: {size: 32}, unlabelled: {films: rest}}
factors:
  network: {small: {model: unet, model.base_channels: 4, model.depth: 2}}
  train_size: [10, all]
  labels:
    few: {split.validation: 2, unlabelled: none}
    and more: {split.validation: rest}
    or others: {split.test_size: 3}
"""


def test_factors_that_cost_nothing_are_refused_with_flags_that_take_them_out(cxrkit, tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(PLAN)
    remedies = ["--set train_size=10", "--exclude 'labels=and more' --exclude 'labels=or others'"]
    line = ["bench", file, "--rounds", 1, "--batch-size", 2, "--json", "--quiet"]
    for factor, remedy in zip(("train_size", "labels"), remedies, strict=True):
        outcome = cxrkit(*line)
        assert outcome.code == 2
        assert f"{factor}: none of the measured costs depends on it" in said(outcome.err)
        assert said(outcome.err).endswith(f"if it is in a plan, add: {remedy}")
        line += shlex.split(remedy)
    outcome = cxrkit(*line)
    assert outcome.code == 0, outcome.err
    content = json.loads(outcome.out)
    assert len(content["arms"]) == 1
    assert "self-training left out" not in content["measured"], "its arm has none"


def test_settings_of_the_training_that_play_no_part_may_be_set(cxrkit) -> None:
    outcome = cxrkit("bench", "--model", "unet", *SMALL, "--set", "seed=3", "--set", "train.epochs=5")
    assert outcome.code == 0, outcome.err


def test_what_the_machine_cannot_do_is_refused_before_anything_is_built(cxrkit, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("cxrkit.ablation.bench.bench", lambda *given, **more: pytest.fail("it was measured"))
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").touch()
    for flags, code, message in (
        (["--threads", 3], 2, "--threads 3: this machine has only 2 cores"),
        (["--out", tmp_path / "folder.csv"], 2, "is a folder"),
        (["--out", tmp_path / "file" / "costs.csv"], 6, "a file"),
    ):
        outcome = cxrkit("bench", "--model", "unet", *SMALL, *flags)
        assert outcome.code == code, outcome.err
        assert message in said(outcome.err)


def test_a_missing_device_is_reported(cxrkit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    outcome = cxrkit("bench", "--model", "unet", *SMALL, "--device", "cuda")
    assert outcome.code == 2
    assert "--device cuda: this machine has no such device" in outcome.err


def test_ctrl_c_ends_it(cxrkit, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: Rehearsal) -> float:
        raise KeyboardInterrupt

    monkeypatch.setattr(Rehearsal, "predict", interrupted)
    outcome = cxrkit("bench", "--model", "unet", *SMALL)
    assert outcome.code == 130
    assert outcome.err.endswith("Stopped. Run the same command to start again.\n")
