"""What `cxrkit ablate` refuses, plans and estimates before anything is trained, and how it goes on with a plan."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cxrkit.ablation.growth import check_growth
from cxrkit.ablation.plan import make_plan, read_plan, save_plan
from cxrkit.ablation.ranges import Space, parse_range, save_space
from cxrkit.ablation.results import log_event, read_own_plan
from cxrkit.cli.planning import plan_from_flags
from cxrkit.files import write_text
from cxrkit.plugins import registry
from cxrkit.yaml_text import to_yaml

pytestmark = pytest.mark.usefixtures("shared_forkers")

SMALL = [
    *("--model", "unet", "--steps", "4", "--size", "32", "--test-size", "3", "--validation", "2"),
    *("--set", "model.base_channels=4", "--set", "model.depth=2", "--set", "data.count=12", "--set", "data.size=64"),
    *("--set", "train.batch_size=2", "--set", "train.precision=32", "--set", "train.warmup=1"),
    *("--set", "train.validate_every=2"),
]
HERE = ["--set", "launcher.threads=1", "--workers", "2"]
TINY = {
    "model": {"name": "unet", "base_channels": 4, "depth": 2},
    "data": {"name": "phantom", "count": 12, "size": 64},
    "preprocess": {"size": 32},
    "split": {"test_size": 3, "validation": 2},
    "train": {"steps": 4, "batch_size": 2, "precision": "32"},
}


def said(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture
def ablation(tmp_path: Path) -> Path:
    """A folder whose plan has two losses and two seeds, one run of which has failed."""
    out = tmp_path / "mine"
    save_plan(
        make_plan({"name": "mine", "base": TINY, "factors": {"loss": ["dice", "bce"]}, "seeds": 2}),
        out / "ablation.yaml",
    )
    log_event(out, {"run": "runs/bce/seed-1", "status": 5, "error": "the loss is nan", "seconds": 1.0})
    return out


@pytest.fixture
def searched(tmp_path: Path) -> Path:
    """A folder of a search for a learning rate, without trials yet."""
    out = tmp_path / "search"
    plan = make_plan({"name": "ablation", "base": TINY, "factors": {"loss": ["dice", "bce"]}})
    save_space(Space(plan, (parse_range("train.lr=1e-4..1e-2:log"),)), 3, out)
    return out


def test_a_dry_run_of_a_search_lists_what_is_searched_and_runs_nothing(cxrkit, tmp_path: Path) -> None:
    line = ["ablate", *SMALL, *HERE, "--loss", "dice,bce", "--search", "5", "--range", "train.lr=1e-4..1e-2:log"]
    outcome = cxrkit(*line, "--out", tmp_path / "x", "--dry-run")
    assert outcome.code == 0, outcome.err
    assert "one of dice, bce" in outcome.out
    assert "0.0001 to 0.01 (logarithmic)" in outcome.out
    assert "5 trials, of 4 updates, about" in said(outcome.err)
    outcome = cxrkit(*line, "--out", tmp_path / "x", "--dry-run", "--json", "--quiet")
    content = json.loads(outcome.out)
    assert (content["trials"], content["slots"], content["ended"]) == (5, 2, 0)
    assert content["choices"] == {"loss": ["dice", "bce"]}
    assert content["seconds"] == pytest.approx(3 * content["seconds_a_trial"])
    assert outcome.err == ""
    assert not (tmp_path / "x").exists()


def test_a_folder_from_before_films_were_resized_as_floats_stays_as_it_is(cxrkit, ablation: Path) -> None:
    run = ablation / "runs/dice/seed-0"
    run.mkdir(parents=True)
    config = read_plan(ablation / "ablation.yaml").runs(registry())[0].config.model_dump(mode="json")
    del config["preprocess"]["resize_as"], config["loss"][0]["intersection"]  # parameters are added, too
    write_text(run / "config.yaml", to_yaml(config))
    plan = read_own_plan(ablation)
    check_growth(ablation, plan, plan.runs(registry()))
    assert {planned.config.preprocess.resize_as for planned in plan.runs(registry())} == {"stored"}
    outcome = cxrkit("ablate", "--resume", ablation, *HERE, "--dry-run", "--json", "--quiet")
    assert outcome.code == 0, outcome.err
    outcome = cxrkit("ablate", ablation / "ablation.yaml", "--out", ablation, "--dry-run")
    assert "preprocess.resize_as: stored there, float here" in outcome.err
    assert f"--resume {ablation}" in outcome.err


def test_a_dry_run_speaks_json_and_takes_runs_without_scores_for_unfinished(cxrkit, ablation: Path) -> None:
    log_event(ablation, {"run": "runs/dice/seed-0", "status": 0, "seconds": 1.0})
    outcome = cxrkit("ablate", "--resume", ablation, *HERE, "--dry-run", "--json", "--quiet")
    assert outcome.code == 0, outcome.err
    content = json.loads(outcome.out)
    assert [(run["arm"], run["seed"], run["state"]) for run in content["runs"]] == [
        ("dice", 0, "new"),
        ("dice", 1, "new"),
        ("bce", 0, "new"),
        ("bce", 1, "new"),
    ]
    assert content["slots"] == 2
    assert all(run["seconds"] > 0 for run in content["runs"])
    assert outcome.err == ""


def test_resuming_takes_more_seeds(cxrkit, ablation: Path) -> None:
    outcome = cxrkit("ablate", "--resume", ablation, "--seeds", "3", *HERE, "--dry-run", "--json", "--quiet")
    assert outcome.code == 0, outcome.err
    assert [run["seed"] for run in json.loads(outcome.out)["runs"]] == [0, 1, 2, 0, 1, 2]
    for fewer in ("1", "1,2"):
        outcome = cxrkit("ablate", "--resume", ablation, "--seeds", fewer, "--dry-run")
        assert outcome.code == 2
        assert "leaves out 0" in outcome.err or "leaves out 1" in outcome.err


@pytest.mark.parametrize(
    "flags",
    [
        ("--exclude", "loss=bce"),
        ("--loss", "dice"),
        ("--vary", "model.depth=2,3"),
        ("--range", "train.lr=1e-4..1e-2"),
        ("--search", "3"),
        ("--protocol", "paper"),
        ("--steps", "9"),
        ("--out", "elsewhere"),
        ("--config", "x.yaml"),
        ("--set", "model.depth=3"),
        ("plan.yaml",),
    ],
)
def test_resuming_refuses_what_would_change_the_plan(cxrkit, ablation: Path, flags: tuple[str, ...]) -> None:
    outcome = cxrkit("ablate", "--resume", ablation, *flags)
    assert outcome.code == 2
    named = "a plan's file" if flags[0] == "plan.yaml" else "--set model.depth" if flags[0] == "--set" else flags[0]
    assert f"which {named} can't change" in said(outcome.err)
    assert "(--seeds may add seeds), or start another ablation" in said(outcome.err)


@pytest.mark.parametrize("narrower", [("--loss", "dice,bce"), ("--loss", "dice", "--seeds", "2")])
def test_a_plan_does_not_shrink_in_its_folder(cxrkit, ablation: Path, narrower: tuple[str, ...]) -> None:
    before = (ablation / "ablation.yaml").read_bytes()
    outcome = cxrkit("ablate", *SMALL, *HERE, *narrower, "--out", ablation)
    assert outcome.code == 2
    assert "would vanish from the report: bce, seed 1 (failed)" in said(outcome.err)
    assert "another --out" in outcome.err
    assert (ablation / "ablation.yaml").read_bytes() == before


def test_an_ablation_and_a_search_do_not_share_a_folder(cxrkit, ablation: Path, searched: Path) -> None:
    outcome = cxrkit("ablate", *SMALL, "--loss", "dice,bce", "--search", "2", "--out", ablation)
    assert outcome.code == 2
    assert "the folder of an ablation" in said(outcome.err)
    outcome = cxrkit("ablate", *SMALL, "--loss", "dice,bce", "--out", searched)
    assert outcome.code == 2
    assert "the folder of a search" in said(outcome.err)


def test_another_search_in_the_same_folder_is_refused_with_the_differences(cxrkit, searched: Path) -> None:
    line = ["ablate", *SMALL, "--loss", "dice,tversky", "--search", "2", "--range", "train.lr=1e-5..1e-2:log"]
    outcome = cxrkit(*line, "--out", searched)
    assert outcome.code == 2
    told = said(outcome.err)
    assert "train.lr=0.0001..0.01:log" in told
    assert "train.lr=1e-05..0.01:log" in told
    assert "factors.loss.tversky" in told
    assert f"--resume {searched}" in told


def test_a_search_is_resumed_by_its_own_record(cxrkit, searched: Path) -> None:
    outcome = cxrkit("ablate", "--resume", searched, "--search", "4", *HERE, "--dry-run", "--json", "--quiet")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["trials"] == 4
    outcome = cxrkit("ablate", "--resume", searched, "--seeds", "3")
    assert outcome.code == 2
    assert "which --seeds can't change" in said(outcome.err)
    assert "(--search may add trials), or start another search" in said(outcome.err)


def test_a_report_of_a_search_says_where_its_results_are(cxrkit, searched: Path) -> None:
    outcome = cxrkit("report", searched)
    assert outcome.code == 3
    assert "is the folder of a search" in said(outcome.err)
    assert f"cxrkit ablate --resume {searched}" in said(outcome.err)
    (searched / "search.csv").write_text("trial\n")
    told = said(cxrkit("report", searched).err)
    assert str(searched / "search.csv") in told
    assert str(searched / "best.yaml") in told


def test_a_dry_run_refuses_what_the_run_would(cxrkit, tmp_path: Path) -> None:
    line = ["ablate", *SMALL, *HERE, "--loss", "dice,bce", "--test-size", "0", "--out", tmp_path / "x"]
    for flags in ((), ("--dry-run",)):
        outcome = cxrkit(*line, *flags)
        assert outcome.code == 2
        assert "there are none. Set --test-size" in said(outcome.err)
        assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("searching", [(), ("--search", "2")])
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--launcher", "nope"), "nope"),
        (("--workers", "0"), "workers"),
        (("--set", "launcher.nope=1"), "nope"),
    ],
)
def test_a_mistake_in_the_launcher_is_reported_before_anything_is_written(
    cxrkit,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: tuple[str, ...],
    message: str,
    searching: tuple[str, ...],
) -> None:
    monkeypatch.setenv("CXRKIT_CACHE", str(tmp_path / "cache"))
    outcome = cxrkit("ablate", *SMALL, "--loss", "dice,bce", *searching, *flags, "--out", tmp_path / "x")
    assert outcome.code in (2, 4), outcome.err
    assert message in said(outcome.err)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["{no json\n{no json\n{}\n", '{"op_code": 99}\n'])
def test_a_damaged_record_of_a_search_is_reported(cxrkit, searched: Path, damage: str) -> None:
    (searched / "search.journal").write_text(damage)
    outcome = cxrkit("ablate", "--resume", searched, *HERE)
    assert outcome.code == 3, outcome.err
    assert "search.journal: the record is damaged" in said(outcome.err)
    assert "--out" in outcome.err


def test_a_record_of_other_choices_is_reported(cxrkit, searched: Path) -> None:
    import optuna

    journal = optuna.storages.journal.JournalFileBackend(str(searched / "search.journal"))
    study = optuna.create_study(study_name="ablation", storage=optuna.storages.JournalStorage(journal))
    study.ask({"loss": optuna.distributions.CategoricalDistribution(["dice", "tversky"])})
    for trial in study.get_trials(deepcopy=False):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    outcome = cxrkit("ablate", "--resume", searched, *HERE)
    assert outcome.code == 3, outcome.err
    assert "another search" in outcome.err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--range", "seed=0..5"), "same seed"),
        (("--lr", "1e-3,1e-2", "--range", "train.lr=1e-4..1e-2"), "it is searched as lr too"),
        (("--range", "lr=1e-4..1e-2", "--range", "train.lr=1e-4..1e-2"), "it is searched as lr too"),
        (("--range", "lr=1e-4..1e-2", "--range", "lr=1e-4..1e-1"), "it is searched twice"),
        (("--range", "train.epochs=1..3"), "equal number of updates"),
        (("--loss", "dice,bce", "--exclude", "loss=bce"), "tries all combinations"),
    ],
)
def test_what_a_search_cannot_try_is_reported(cxrkit, tmp_path: Path, flags: tuple[str, ...], message: str) -> None:
    outcome = cxrkit("ablate", *SMALL, "--search", "2", *flags, "--out", tmp_path / "x")
    assert outcome.code == 2, outcome.err
    assert message in said(outcome.err)
    assert not (tmp_path / "x" / "runs").exists()


@pytest.mark.parametrize(
    ("content", "flags", "message"),
    [
        ("factors: [loss, model]", ("--loss", "dice,bce"), "factors: ['loss', 'model'] is not"),
        ("exclude: 3", ("--exclude", "loss=dice"), "exclude: not a list"),
        ("base: 3", ("--loss", "dice,bce"), "base: 3 is not"),
        ("factors: {loss: [dice, bce]}", ("--exclude", "loss"), "--exclude 'loss' is not KEY=LEVEL"),
        ("name: ../../x", (), "is not a valid folder name"),
        ("base: {train: {epochs: 2}}", (), "equal number of updates"),
    ],
)
def test_mistakes_in_a_file_with_flags_are_reported(
    cxrkit, tmp_path: Path, content: str, flags: tuple[str, ...], message: str
) -> None:
    (tmp_path / "plan.yaml").write_text(content + "\n")
    outcome = cxrkit("ablate", tmp_path / "plan.yaml", *flags, "--dry-run")
    assert outcome.code == 2, outcome.err
    assert message in said(outcome.err)
    assert "Traceback" not in outcome.err


def dry(cxrkit, *arguments: object) -> list[dict[str, object]]:
    outcome = cxrkit("ablate", *arguments, *HERE, "--dry-run", "--json", "--quiet")
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)["runs"]


def test_steps_win_over_epochs_and_seeds_over_a_runs_seed(cxrkit, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("seed: 5\ntrain: {epochs: 2}\n")
    runs = dry(cxrkit, *SMALL, "--config", tmp_path / "config.yaml", "--loss", "dice,bce")
    assert [(run["seed"], run["updates"]) for run in runs] == [(0, 4), (0, 4)]


def test_a_flag_wins_over_a_files_factor_of_the_same_setting(cxrkit, tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text("factors: {train.lr: [0.1, 0.2], loss: [dice, bce]}\n")
    runs = dry(cxrkit, tmp_path / "plan.yaml", *SMALL, "--lr", "1e-3")
    assert [run["levels"] for run in runs] == [{"loss": "dice"}, {"loss": "bce"}]


def test_numbers_below_zero_are_numbers(cxrkit) -> None:
    from cxrkit.cli.planning import parse_levels

    assert parse_levels("null,{bits: 8}", "--vary a") == [None, {"bits": 8}]
    assert parse_levels("-1e-3,1e-3,.5e1,x", "--vary a") == [-1e-3, 1e-3, 5.0, "x"]


def test_relative_films_are_found_again_from_elsewhere(cxrkit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.json").write_text(json.dumps({"train": ["a"], "validation": ["b"], "test": ["c"], "seed": 0}))
    outcome = cxrkit("ablate", *SMALL, "--set", "split.file=a.json", "--loss", "dice,bce", "--out", "x")
    assert outcome.code != 0, "the films of that split aren't there"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert f"file: {tmp_path / 'a.json'}" in (tmp_path / "x" / "ablation.yaml").read_text()


def test_failures_leave_json_whole_and_an_exit_code(cxrkit, tmp_path: Path) -> None:
    outcome = cxrkit("ablate", *SMALL, *HERE, "--lr", "1e30", "--out", tmp_path / "x", "--json", "--quiet")
    assert outcome.code == 5, outcome.err
    content = json.loads(outcome.out)
    assert [run["error"] for run in content["failed"]]
    assert outcome.err.startswith("Error: 1 of 1 runs failed.")


@pytest.mark.parametrize(
    ("exclude", "left"),
    [
        ("critic=off", {"on · 0", "on · 0.2", "Dice, l1 · 0", "Dice, l1 · 0.2"}),
        ('critic="off"', {"on · 0", "on · 0.2", "Dice, l1 · 0", "Dice, l1 · 0.2"}),
        ("critic=Dice, l1,mixup=0.20", {"off · 0", "off · 0.2", "on · 0", "on · 0.2", "Dice, l1 · 0"}),
    ],
)
def test_levels_are_excluded_by_their_names_as_written(tmp_path: Path, exclude: str, left: set[str]) -> None:
    (tmp_path / "plan.yaml").write_text(
        'factors: {critic: {"off": {loss: dice}, "on": {loss: dice + 0.01*critic}, "Dice, l1": '
        "{loss: dice, loss.dice.intersection: l1}}, mixup: [0, 0.2]}\n"
    )
    plan = plan_from_flags(tmp_path / "plan.yaml", None, {}, (), (exclude,), None, {})
    assert {" · ".join(arm.levels.values()) for arm in plan.arms()} == left
