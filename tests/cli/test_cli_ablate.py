"""`cxrkit ablate`, `report` and `--search`, from end to end, with real processes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from cxrkit.ablation.results import load_results, read_events

pytestmark = pytest.mark.usefixtures("shared_forkers")

SMALL = [
    *("--steps", "4", "--size", "32", "--test-size", "3", "--validation", "2"),
    *("--set", "model.base_channels=4", "--set", "model.depth=2", "--set", "data.count=12", "--set", "data.size=64"),
    *("--set", "train.batch_size=2", "--set", "train.precision=32", "--set", "train.warmup=1"),
    *("--set", "train.validate_every=2", "--set", "launcher.threads=1", "--workers", "2"),
]


@pytest.fixture(scope="module")
def finished(cxrkit, tmp_path_factory):
    """Two losses, and a learning rate at which nothing trains."""
    out = tmp_path_factory.mktemp("ablation") / "mine"
    outcome = cxrkit("ablate", "--model", "unet", "--loss", "dice,bce", "--lr", "1e-3,1e30", *SMALL, "--out", out)
    return out, outcome


def test_failures_are_reported_at_the_end_and_stop_nothing(finished) -> None:
    out, outcome = finished
    assert outcome.code == 5, outcome.err
    results = load_results(out)
    states = {run.arm.slug: run.state for run in results.runs}
    assert states["dice_lr-0.001"] == states["bce_lr-0.001"] == "finished"
    assert "failed" in states.values()
    failed = next(run for run in results.runs if run.state == "failed")
    assert "the loss is nan" in (failed.error or "")
    assert "runs failed" in outcome.err
    assert str(failed.log) in outcome.err
    assert f"cxrkit ablate --resume {out}" in outcome.err


def test_runs_are_ordinary_and_scored(finished) -> None:
    out, _ = finished
    run = out / "runs" / "dice_lr-0.001" / "seed-0"
    for name in ("config.yaml", "metrics.jsonl", "checkpoints/best.safetensors", "evaluation/test-best.json"):
        assert (run / name).is_file()
    assert not (out / "runs" / "dice_lr-0.001" / "seed-0" / "evaluation" / "test-last.json").exists()


def test_the_report_is_whole_and_names_what_is_missing(finished, cxrkit) -> None:
    out, _ = finished
    page = (out / "report" / "report.html").read_text()
    assert "http://" not in page
    assert "https://" not in page
    assert 'class="alarm"' in page
    assert "the loss is nan" in page
    assert page.count("data:image/png;base64,") >= 3
    assert page.count("data:image/jpeg;base64,") == 2, "films of the two arms that finished"
    text = (out / "report" / "report.md").read_text()
    assert "failed" in text
    assert "p (Holm)" in text
    latex = (out / "report" / "table.tex").read_text()
    assert latex.count(r"\toprule") == 1
    assert "±" not in latex
    rows = list(csv.DictReader((out / "report" / "scores.csv").open()))
    assert {row["protocol"] for row in rows} == {"honest", "paper"}
    assert {row["lr"] for row in rows} == {"0.001"}
    states = [row["state"] for row in csv.DictReader((out / "report" / "runs.csv").open())]
    assert len(states) == 4
    again = cxrkit("report", out, "--json")
    content = json.loads(again.out)
    assert len(content["arms"]) == 4
    assert content["failed"]


def test_what_is_finished_is_not_run_again_and_more_seeds_add_runs(cxrkit, tmp_path) -> None:
    out = tmp_path / "mine"
    assert cxrkit("ablate", "--model", "unet", "--loss", "dice", *SMALL, "--out", out).code == 0
    weights = out / "runs" / "baseline" / "seed-0" / "checkpoints" / "best.safetensors"
    stamp = weights.stat().st_mtime_ns
    outcome = cxrkit("ablate", "--resume", out, "--seeds", "2", *SMALL[-4:])
    assert outcome.code == 0, outcome.err
    assert [event["run"] for event in read_events(out)] == ["runs/baseline/seed-0", "runs/baseline/seed-1"]
    assert weights.stat().st_mtime_ns == stamp
    assert load_results(out).count("finished") == 2
    outcome = cxrkit("ablate", "--resume", out, "--seeds", "3", *SMALL[-4:], "--dry-run", "--json")
    runs = json.loads(outcome.out)["runs"]
    assert [run["state"] for run in runs] == ["finished", "finished", "new"]
    assert [run["seconds"] > 0 for run in runs] == [False, False, True]


def test_other_settings_in_the_same_folder_are_refused(finished, cxrkit) -> None:
    out, _ = finished
    outcome = cxrkit(
        "ablate", "--model", "unet", "--loss", "dice,bce", "--lr", "1e-3,1e30", *SMALL, "--steps", "5", "--out", out
    )
    assert outcome.code == 2
    assert "train.steps: 4 there, 5 here" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--vary", "model.depth"], "KEY=A,B"),
        (["--loss", "dice,,bce"], "can't be read"),
        (["--loss", "dice,bce", "--test-size", "0"], "test films"),
        (["--launcher", "nope"], "nope"),
        (["--loss", "dice,bce", "--set", "launcher.nope=1"], "nope"),
        (["--range", "train.lr=1..2"], "--search 20"),
        (["--search", "2"], "nothing is searched"),
        (["--search", "2", "--range", "train.lr=2..1"], "ends are swapped"),
        (["--search", "2", "--range", "train.lr=0..1:log"], "above 0"),
        (["--search", "2", "--range", "train.lr:1"], "is not a range"),
        (["--search", "2", "--range", "train.lr=1e-4..1e-2", "--protocol", "paper"], "never on test films"),
        (["--search", "2", "--range", "train.lr=1e-4..1e-2", "--validation", "0"], "there are none"),
        (["nowhere.yaml"], "no such configuration file"),
        (["--resume", "nowhere"], "Leave these flags out"),
        (["--resume", "nowhere", "--loss", "dice"], "which --loss, --set data.count can't change"),
    ],
)
def test_mistakes_are_reported(cxrkit, tmp_path: Path, arguments: list[str], message: str) -> None:
    out = [] if "--resume" in arguments else ["--out", tmp_path / "x"]
    outcome = cxrkit("ablate", "--set", "data.count=12", *arguments, *out)
    assert outcome.code in (2, 3, 4), outcome.err
    assert message in " ".join(outcome.err.split())
    assert "Traceback" not in outcome.err


def test_resuming_a_missing_ablation_is_reported(cxrkit, tmp_path: Path) -> None:
    outcome = cxrkit("ablate", "--resume", tmp_path)
    assert outcome.code == 2
    assert "ablation.yaml" in outcome.err


def test_a_report_of_nothing_is_refused(cxrkit, tmp_path: Path) -> None:
    assert "does not hold an ablation" in " ".join(cxrkit("report", tmp_path).err.split())
    (tmp_path / "ablation.yaml").write_text("factors: {loss: [dice, bce]}\n")
    outcome = cxrkit("report", tmp_path)
    assert outcome.code == 3
    assert "none of its 2 runs is finished" in " ".join(outcome.err.split())


def test_a_dry_run_lists_the_runs_with_their_time(cxrkit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = cxrkit("ablate", "--model", "unet", "--mixup", "0,0.2", *SMALL, "--dry-run")
    assert outcome.code == 0, outcome.err
    assert "mixup 0.2" in outcome.out
    assert "2 runs, 2 at a time with the launcher local: about" in " ".join(outcome.err.split())
    assert not (tmp_path / "ablations").exists()


def test_a_search_goes_on_and_never_sees_the_test_films_before_its_end(cxrkit, tmp_path: Path) -> None:
    out = tmp_path / "search"
    line = [
        "ablate",
        "--model",
        "unet",
        "--loss",
        "dice,bce",
        *SMALL,
        "--range",
        "train.lr=1e-4..1e-1:log",
        "--out",
        out,
    ]
    assert cxrkit(*line, "--search", "1").code == 0
    with (out / "search.journal").open("a") as journal:
        journal.write('{"op_code": 5, "work')  # a kill in the middle of a line
    outcome = cxrkit("ablate", "--resume", out, *SMALL[-4:], "--search", "2", "--json")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    assert found["complete"] == 2
    trials = list(csv.DictReader((out / "search.csv").open()))
    assert [trial["state"] for trial in trials] == ["complete", "complete"]
    best = max(trials, key=lambda trial: float(trial["validation_dice"]))
    assert f"trial-{int(best['trial']):04d}" in found["best"]
    scored = [path.parts[-4] for path in (out / "runs").glob("*/*/evaluation/test-*.json")]
    assert f"trial-{int(best['trial']):04d}" in scored
    assert (out / "best.yaml").read_bytes() == (Path(found["best"]) / "config.yaml").read_bytes()
    outcome = cxrkit(*line, "--search", "3", "--steps", "5")
    assert outcome.code == 2
    assert "train.steps: 4 there, 5 here" in outcome.err
