"""Ablations whose runs were never trained: score files with known numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cxrkit.ablation.plan import make_plan, save_plan
from cxrkit.ablation.results import PLAN_FILE, Results, load_results
from cxrkit.config import save_config
from cxrkit.engine.run import Provenance
from cxrkit.engine.scores import Evaluation, FilmScores, StructureScores
from cxrkit.plugins import registry

BASE: dict[str, Any] = {"data": {"name": "phantom", "count": 12}, "preprocess": {"size": 32}, "train": {"steps": 100}}


def film(
    name: str,
    dice: float,
    *,
    structures: Sequence[str] = ("lungs", "heart"),
    ctr: tuple[float | None, float | None] = (None, None),
    patient: str | None = None,
) -> FilmScores:
    """A film whose Dice coefficient is the same for all structures; the other scores follow from it."""
    scores = StructureScores(dice=dice, iou=dice / (2 - dice), hd95=100 * (1 - dice), assd=20 * (1 - dice))
    found = dict.fromkeys(structures, scores)
    return FilmScores(
        id=name,
        patient=patient,
        dsc=dice,
        iou=dice / (2 - dice),
        structures=found,
        unit="px",
        ctr=ctr[0],
        true_ctr=ctr[1],
    )


def evaluation(films: Sequence[FilmScores], weights: str = "last", selected_on: Any = "nothing") -> Evaluation:
    return Evaluation(part="test", weights=weights, step=100, selected_on=selected_on, films=tuple(films))


def with_provenance(folder: Path, **changes: Any) -> None:
    """Write where a run's numbers come from."""
    made = Provenance(
        cxrkit="1",
        python="3.12",
        packages={"torch": "2.13.0"},
        plugins={},
        hardware={"name": "a CPU"},
        precision="32",
        channels=("heart", "background"),
        data="phantom",
        fingerprint="f",
        started="",
    )
    (folder / "provenance.json").write_text(made.model_copy(update=changes).model_dump_json())


class Fake:
    """An ablation's folder that is filled with scores by hand."""

    def __init__(self, path: Path, factors: Mapping[str, Any], *, seeds: Any = 1, **content: Any) -> None:
        self.path = path
        self.plan = make_plan({"base": BASE, "factors": factors, "seeds": seeds, **content})
        path.mkdir(parents=True, exist_ok=True)
        save_plan(self.plan, path / PLAN_FILE)
        self.runs = {(run.arm.slug, run.seed): run for run in self.plan.runs(registry())}

    def begin(self, slug: str, seed: int = 0) -> Path:
        """The folder of a run, with its configuration."""
        run = self.runs[slug, seed]
        folder = self.path / run.folder
        save_config(run.config, folder / "config.yaml")
        return folder

    def score(self, slug: str, dices: Sequence[float] | Mapping[str, float], seed: int = 0) -> Path:
        """A finished run with these Dice coefficients."""
        named = dices if isinstance(dices, Mapping) else {f"film-{n:02}": value for n, value in enumerate(dices)}
        return self.write(slug, evaluation([film(name, value) for name, value in named.items()]), seed)

    def write(self, slug: str, scores: Evaluation, seed: int = 0) -> Path:
        """A run with these scores."""
        folder = self.begin(slug, seed)
        (folder / "evaluation").mkdir(exist_ok=True)
        (folder / "evaluation" / f"test-{scores.weights}.json").write_text(scores.model_dump_json())
        return folder

    def fail(self, slug: str, seed: int, error: str) -> None:
        """A run that ended with an error."""
        self.begin(slug, seed)
        event = {"run": self.runs[slug, seed].folder, "status": 1, "error": error, "seconds": 1.0}
        with (self.path / "events.jsonl").open("a") as stream:
            stream.write(json.dumps(event) + "\n")

    def results(self) -> Results:
        return load_results(self.path)
