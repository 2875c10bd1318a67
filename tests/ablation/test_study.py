"""A search's record that is opened again."""

from __future__ import annotations

from pathlib import Path

from cxrkit.ablation.plan import make_plan
from cxrkit.ablation.ranges import Range, Space
from cxrkit.ablation.study import STARTUP_TRIALS, count_ended, distributions, open_study
from tests.ablation.faking import BASE


def test_a_search_that_goes_on_does_not_repeat_its_choices(tmp_path: Path) -> None:
    space = Space(make_plan({"base": BASE}), (Range("train.lr", 1e-4, 1e-1, log=True),))
    chosen = []
    for _ in range(STARTUP_TRIALS + 2):
        study = open_study(space, tmp_path)  # as a new process does
        trial = study.ask(distributions(space))
        chosen.append(trial.params["train.lr"])
        study.tell(trial, trial.params["train.lr"])
    assert count_ended(study) == len(chosen)
    assert len(set(chosen)) == len(chosen)


def test_the_same_seed_chooses_the_same(tmp_path: Path) -> None:
    space = Space(make_plan({"base": BASE, "seeds": [4]}), (Range("model.depth", 2, 9),))
    chosen = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        chosen.append(open_study(space, tmp_path / name).ask(distributions(space)).params)
    assert chosen[0] == chosen[1]
