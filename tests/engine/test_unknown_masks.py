"""Films that lack masks of some structures train and are scored on the others."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import cxrkit
from cxrkit.data.store import Store
from cxrkit.engine.evaluate import evaluate_run
from cxrkit.engine.run import RunDirectory
from cxrkit.engine.train import train
from cxrkit.errors import ConfigError, DataError
from cxrkit.interfaces import Batch, Entry, Loss, Sample
from cxrkit.registry import Registry
from cxrkit_plugins.datasets.phantom import PhantomDataset
from tests.engine.breaking import same_result

NewRun = Callable[..., RunDirectory]
ALL = ("left_lung", "right_lung", "heart")


class Lacking(PhantomDataset):
    """Synthetic films: every second has no mask of the heart, every fifth of the left lung."""

    labels: Callable[[int], tuple[str, ...] | None] = staticmethod(
        lambda n: tuple(name for name, every in zip(ALL, (5, 1000, 2), strict=True) if (n + 1) % every)
    )

    def __init__(self, root: Path | None = None) -> None:
        super().__init__(root, count=14, size=64)

    def entries(self) -> Sequence[Entry]:
        return [replace(entry, labelled=type(self).labels(n)) for n, entry in enumerate(super().entries())]

    def read(self, entry: Entry) -> Sample:
        sample = super().read(entry)
        return replace(sample, masks={name: sample.masks[name] for name in entry.known(self.structures)})


def never(structure: str) -> type[Lacking]:
    return type("Never", (Lacking,), {"labels": staticmethod(lambda n: tuple(s for s in ALL if s != structure))})


@pytest.fixture
def lacking(add: Callable[..., None]) -> dict[str, Any]:
    add("dataset", "lacking", Lacking)
    return {"data": {"name": "lacking"}}


MIXED = {
    "labels": {"augment": ["geometric", "mixup"], "loss": ["dice", "bce"]},
    "losses": {"augment": [{"name": "mixup", "target": "losses"}], "loss": "focal-tversky"},
    "a batch's losses": {"augment": [{"name": "mixup", "target": "losses", "per": "batch"}], "background": False},
    "a critic": {"augment": ["mixup"], "loss": [{"name": "critic", "base_channels": 2}, "dice"]},
    "self-training": {"unlabelled__films": "rest", "unlabelled__start": 0.0, "split__train_size": 8},
}


@pytest.mark.parametrize("settings", MIXED.values(), ids=MIXED)
def test_what_stands_where_masks_are_unknown_changes_nothing(
    new_run: NewRun,
    components: Registry,
    lacking: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
) -> None:
    empty, junk = (new_run(name, **lacking, **settings) for name in ("empty", "junk"))
    train(empty, components)
    plain = Store.batch

    def with_junk(self: Store, *args: Any, **options: Any) -> Batch:
        batch = plain(self, *args, **options)
        assert batch.known is not None
        return batch.with_(targets=torch.where(batch.known[:, :, None, None], batch.targets, torch.nan))

    monkeypatch.setattr(Store, "batch", with_junk)
    train(junk, components)
    same_result(empty, junk)
    assert evaluate_run(empty, components)[0].films == evaluate_run(junk, components)[0].films


def test_scores_and_report_leave_out_what_is_unknown(
    new_run: NewRun, components: Registry, lacking: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run("run", **lacking, split__test_size=5)
    films = train(run, components)
    labelled = {entry.id: entry.known(ALL) for entry in films.store.entries}
    evaluation, *_ = evaluate_run(run, components)
    lacking_heart = 0
    for film in evaluation.films:
        known = labelled[film.id]
        assert set(film.structures) == {*known, *(["lungs"] if set(known) >= set(ALL[:2]) else [])}
        assert (film.true_ctr is None) == (known != ALL)
        lacking_heart += "heart" not in known
    assert 0 < lacking_heart < len(evaluation.films)
    assert set(evaluation.structures) == {*ALL, "lungs"}
    assert len(evaluation.values("heart", "dice")) == len(evaluation.films) - lacking_heart
    rows = list(csv.DictReader(io.StringIO(evaluation.to_csv())))
    assert sum(row["structure"] == "heart" for row in rows) == len(evaluation.films) - lacking_heart
    assert "nan" not in evaluation.to_csv()

    monkeypatch.setattr("cxrkit.api.registry", lambda: components)
    cxrkit.evaluate(run.path)
    table = (run.report / "table.md").read_text()
    assert f"heart {len(evaluation.films) - lacking_heart}" in table.partition("have one:")[2]
    assert "nan" not in table
    assert (run.report / "overlays.png").is_file()


def test_a_loss_that_cannot_leave_masks_out_is_named(
    new_run: NewRun, components: Registry, lacking: dict[str, Any], add: Callable[..., None]
) -> None:
    class Unstated(Loss):
        def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            return (logits.sigmoid() - targets).square().mean()

    add("loss", "unstated", lambda: Unstated())
    with pytest.raises(ConfigError, match="--loss unstated: this loss can't be used on films of which some lack masks"):
        train(new_run("run", **lacking, loss="unstated"), components)


@pytest.mark.parametrize(
    ("labels", "settings", "message"),
    [
        (never("heart").labels, {}, "No training film has a mask of 'heart'"),
        (lambda n: ALL[:2] if n % 2 else ALL[2:], {}, "No training film has all masks"),
        (lambda n: (), {}, "No film has a mask of 'left_lung' or 'right_lung' or 'heart'"),
        (never("heart").labels, {"structures": ["heart"]}, "No film has a mask of 'heart'"),
    ],
)
def test_a_channel_that_nothing_would_train_is_an_error(
    new_run: NewRun, components: Registry, add: Callable[..., None], labels: Any, settings: Any, message: str
) -> None:
    add("dataset", "lacking", type("Odd", (Lacking,), {"labels": staticmethod(labels)}))
    with pytest.raises(DataError, match=message):
        train(new_run("run", data={"name": "lacking"}, **settings), components)
