"""The scripts that made numbers of the docs work, and measure what they say."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from cxrkit import api
from cxrkit.plugins import registry

SCRIPTS = Path(__file__).resolve().parents[1] / "examples" / "ablations"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> api.TrainedRun:
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXRKIT_CACHE", str(folder / "cache"))
        settings = {
            "model": {"name": "unet", "base_channels": 8},
            "loss": "dice",
            "preprocess": {"size": 64},
            "split": {"train_size": 8, "test_size": 6, "validation": 0},
            "train": {"steps": 60, "lr": 3e-3, "device": "cpu", "precision": "32"},
        }
        return api.train(settings, out=folder / "run")


def said(script: str, run: Path) -> list[str]:
    """Lines that a script prints of a run."""
    done = subprocess.run([sys.executable, SCRIPTS / script, run], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def script(path: Path) -> ModuleType:
    """A script, imported."""
    spec = importlib.util.spec_from_file_location(f"example_{path.stem.replace('-', '_')}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def heart_border(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return script(SCRIPTS / "heart-border.py")


def test_channels_agree_with_the_runs_own_scores(trained: api.TrainedRun) -> None:
    head, soft, thresholded = said("channels.py", trained.path)
    channels = head.removeprefix(f"{trained.path} ").split(", ")
    assert trained.evaluation is not None
    for channel, number in zip(channels[:3], thresholded.split()[1:], strict=False):
        scores = [film.structures[channel].dice for film in trained.evaluation.films]
        assert float(number) == pytest.approx(100 * np.mean(scores), abs=0.06)
    assert len(soft.split()) == len(channels) + 1


def test_heart_border_of_a_run(trained: api.TrainedRun) -> None:
    (line,) = said("heart-border.py", trained.path)
    assert "% at the lungs" in line
    assert "nan" not in line


@pytest.mark.parametrize("script", ["channels.py", "heart-border.py"])
def test_a_folder_that_is_not_a_run_is_reported(tmp_path: Path, script: str) -> None:
    done = subprocess.run([sys.executable, SCRIPTS / script, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{tmp_path}: there is no run in that place")


def test_a_border_is_measured_on_either_side(heart_border: ModuleType) -> None:
    heart, lungs, drawn = (np.zeros((80, 80), bool) for _ in range(3))
    heart[30:50, 30:50] = True
    lungs[20:60, 10:29] = True  # one pixel beside the heart's left border
    assert heart_border.compare(heart, heart, lungs)[1:] == (0, 0)
    drawn[30:50, 33:50] = True  # the left border alone is three pixels off
    share, there, elsewhere = heart_border.compare(drawn, heart, lungs)
    assert 0.25 < share < 0.35  # a side, and what of its neighbours is near
    assert 2 / 80 < there <= 3 / 80
    assert elsewhere < 0.2 / 80  # two columns beside the corner
    lungs[:] = False
    assert np.isnan(heart_border.compare(drawn, heart, lungs)[1])


@pytest.fixture
def perturbations() -> ModuleType:
    return script(SCRIPTS.parent / "perturbations.py")


def test_perturbed_films_keep_their_masks(perturbations: ModuleType) -> None:
    random = np.random.default_rng(0)
    pixels = np.full((80, 60), 90, np.uint8)
    pixels[30:50, 20:40] = 200
    film = perturbations.Film(pixels, {"heart": pixels == 200})
    for name, change in perturbations.PERTURBATIONS.items():
        changed = change(film, random)
        assert changed.pixels.shape == changed.masks["heart"].shape, name
        drawn = changed.masks["heart"]
        inside, outside = (np.median(changed.pixels[mask]) for mask in (drawn, ~drawn))
        assert (inside < outside) == (name == "inverted polarity"), name
    assert perturbations.PERTURBATIONS["turned 90°"](film, random).pixels.shape == (60, 80)


def test_perturbations_are_scored_once(
    perturbations: ModuleType, trained: api.TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = tmp_path / "hospital", tmp_path / "scores.json"
    phantom = registry().get("dataset", "phantom").build(None, count=3, size=64)
    for entry in phantom.entries():
        sample = phantom.read(entry)
        for place, plane in (
            ("images", sample.image >> 4),
            *((f"masks/{k}", v * 255) for k, v in sample.masks.items()),
        ):
            (folder / place).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / place / f"{entry.id}.png"), plane.astype(np.uint8))
    asked = ["x", str(trained.path), "--data", str(folder), "--out", str(out), "--limit", "2", "--only", "clean"]
    monkeypatch.setattr(sys, "argv", asked)
    perturbations.main()
    before = json.loads(out.read_text())["results"]["hospital"]["clean"]
    assert [set(film["dice"]) >= {"lungs", "heart"} for film in before.values()] == [True, True]
    monkeypatch.setattr(sys, "argv", [*asked, "--only", "saturated pixel"])
    scored: list[object] = []
    monkeypatch.setattr(perturbations, "scores_of", lambda *_: scored.append(1) or next(iter(before.values())))
    perturbations.main()
    assert len(scored) == 2, "what was there isn't computed again"
    assert "| saturated pixel |" in out.with_suffix(".md").read_text()
    monkeypatch.setattr(sys, "argv", [*asked, "--levels", "robust"])
    with pytest.raises(SystemExit, match="other weights or films"):
        perturbations.main()


def test_runs_are_paired_that_differ_in_one_factor(tmp_path: Path) -> None:
    measures = "lungs_dice,heart_dice," + ",".join(
        f"{name}_{what}" for name in ("lungs", "heart") for what in ("dice_after", "hd95", "parts", "holes")
    )
    rows = [
        ("off", "10", 0, 0.5),
        ("on", "10", 0, 0.6),
        ("off", "10", 1, 0.5),
        ("on", "10", 1, 0.8),
        ("on", "20", 0, 0.9),
    ]
    (tmp_path / "runs.csv").write_text(
        f"arm,critic,train_size,seed,{measures},ctr_error,paper_dsc\n"
        + "".join(f"x,{critic},{size},{seed},{dice}{',' * 11}\n" for critic, size, seed, dice in rows)
    )
    done = subprocess.run(
        [sys.executable, SCRIPTS / "pairs.py", tmp_path / "runs.csv", "critic=off,on"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "lungs_dice: +0.2000 ± 0.1414, larger in 2 of 2, p = 0.500\n"


def test_pairs_of_levels_are_pooled_and_may_contain_commas(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = script(SCRIPTS / "pairs.py")
    rows = [
        ("Dice", "0", 0.5),
        ('"Dice, l1"', "0", 0.6),
        ("Dice", "0.2", 0.5),
        ('"Dice, l1"', "0.2", 0.7),
        ("Focal", "0.2", 0.4),
        ('"Focal, l1"', "0.2", 0.8),
    ]
    measures = ",".join(pairs.MEASURES)
    lines = [f"x,{loss},{mixup},0,{dice}{',' * (len(pairs.MEASURES) - 1)}" for loss, mixup, dice in rows]
    (tmp_path / "runs.csv").write_text("\n".join([f"arm,loss,mixup,seed,{measures}", *lines]) + "\n")
    asked = [str(tmp_path / "runs.csv"), "loss=Dice,Dice, l1", "loss=Focal,Focal, l1"]
    pairs.main(asked)
    assert "+0.2333 ± 0.1528, larger in 3 of 3" in capsys.readouterr().out
    pairs.main([*asked, "mixup=0.2"])
    assert "+0.3000 ± 0.1414, larger in 2 of 2" in capsys.readouterr().out
    pairs.main([asked[0], "mixup=0,0.2", "loss=Focal"])
    assert "no runs differ in mixup alone" in capsys.readouterr().out
    for wrong, words in (
        (["loss=Dice,Dise"], "'Dice,Dise' isn't two of the levels, which are: Dice; Dice, l1"),
        (["lss=Dice,Dice, l1"], "has no factor 'lss'"),
        ([*asked[1:], "mixpu=0.2"], "has no factor 'mixpu'"),
        ([*asked[1:], "mixup=0.4"], "mixup has no level 0.4"),
        ([], "RUNS.csv"),
    ):
        with pytest.raises(SystemExit, match=words):
            pairs.main([asked[0], *wrong])


def test_networks_are_compared_over_seeds_where_they_finished(tmp_path: Path) -> None:
    measures = "lungs_dice,heart_dice,lungs_hd95,heart_hd95,heart_parts,heart_holes"
    (tmp_path / "runs.csv").write_text(
        f"network,train_size,seed,state,{measures}\n"
        "U-Net,10,0,finished,0.90,0.80,3,4,1,0\n"
        "U-Net,10,1,finished,0.94,0.82,2,,2,1\n"
        "U-Net,all,0,failed,,,,,,\n"
        "SCAN,10,0,finished,0.91,0,3,,0,0\n"
    )
    cost = {"multiply_adds": 2.5e9, "update_seconds": 1.25, "film_seconds": 0.041, "parameters": 2_030_000}
    arms = [{"levels": {"network": name}, **cost} for name in ("U-Net", "SCAN")]
    (tmp_path / "costs.json").write_text(json.dumps({"arms": arms}))
    pair = [tmp_path / "runs.csv", tmp_path / "costs.json"]
    done = subprocess.run(
        [sys.executable, SCRIPTS / "zoo.py", tmp_path / "zoo.png", *pair, *pair],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    unet = "| U-Net | 2.03 | 2.50 | 1,250 / 41 | 92.0 (90.0 to 94.0) | 81.0 (80.0 to 82.0) | 2.5 / 4.0 | 1.50 | 0.50 |"
    assert lines.count(unet) == 2
    assert lines.count("| SCAN | 2.03 | 2.50 | 1,250 / 41 | 91.0 | 0.0 | 3.0 / – | 0.00 | 0.00 |") == 2
    assert cv2.imread(str(tmp_path / "zoo.png")).shape[1] == 1560


def test_networks_of_two_widths_are_compared_seed_by_seed() -> None:
    zoo = script(SCRIPTS / "zoo.py")

    def some(*runs: tuple[str, str, str, float, float]) -> object:
        grouped: dict[tuple[str, str], list[dict[str, str]]] = {}
        for network, size, seed, lungs, heart in runs:
            run = {"seed": seed, "lungs_dice": str(lungs), "heart_dice": str(heart)}
            grouped.setdefault((network, size), []).append(run)
        return zoo.Zoo(grouped, {})

    wide = some(
        ("U-Net", "10", "0", 0.95, 0.9),
        ("U-Net", "10", "1", 0.9, 0.9),
        ("SCAN", "10", "1", 0.9, 0.8996),
        ("FCN", "10", "1", 0.8, 0.7),
    )
    narrow = some(
        ("U-Net", "10", "0", 0.94, 0.92),
        ("U-Net", "10", "2", 0.1, 0.1),
        ("U-Net", "all", "0", 0.9, 0.9),
        ("SCAN", "10", "1", 0.8, 0.9),
    )
    assert zoo.differences(wide, narrow).splitlines() == [
        "| network | lungs, 10 | heart, 10 |",
        "| --- | ---: | ---: |",
        "| U-Net | +1.0 | −2.0 |",
        "| SCAN | +10.0 | 0.0 |",
        "| FCN | – | – |",
    ]


def test_a_difference_outlasts_when_it_is_significant_and_of_one_sign_at_every_level(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outlasting = script(SCRIPTS / "outlasting.py")
    rows = [
        # by what "B" differs from A: A is larger (or not) at both numbers of films; p; seeds in which A is larger
        ("SCAN", (0.02, 0.01, 2), (0.03, 0.049, 2)),
        ("smaller", (-0.02, 0.01, 0), (-0.03, 0.01, 0)),
        ("insignificant", (0.02, 0.05, 2), (0.02, 0.01, 2)),
        ("both signs", (0.02, 0.01, 2), (-0.02, 0.01, 0)),
        ("a seed otherwise", (0.02, 0.01, 1), (0.02, 0.01, 2)),
        ("few films alone", (0.02, 0.01, 2), None),
        ("no film shared", (0.02, 0.01, 2), ("", "", "")),
    ]
    lines = ["measure,a,b,difference,p_holm,seeds,a_larger_seeds"]
    for name, *both in rows:
        for size, values in zip(("10", "all"), both, strict=True):
            if values is not None:
                difference, p, larger = values
                lines.append(f"lungs_dice,U-Net · n {size},{name} · n {size},{difference},{p},2,{larger}")
    lines.append("lungs_dice,U-Net · n 10,SCAN · n all,0.5,0.01,2,2")
    lines.append("heart_dice,U-Net · n 10,SCAN · n 10,0.5,0.9,2,2")
    file = tmp_path / "comparisons.csv"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    outlasting.main([str(file), "n"])
    assert capsys.readouterr().out == ("lungs_dice:\n  SCAN < U-Net\n  U-Net < smaller\nheart_dice:\n  no difference\n")
    outlasting.main([str(file), "n", "heart_dice"])
    assert capsys.readouterr().out == "heart_dice:\n  no difference\n"
    for wrong, words in (
        ([str(file)], "COMPARISONS.csv"),
        ([str(file), "size"], "no arm with a level of 'size'"),
        ([str(file), "n", "dsc"], "has no dsc; its measures: lungs_dice, heart_dice"),
    ):
        with pytest.raises(SystemExit, match=words):
            outlasting.main(wrong)
