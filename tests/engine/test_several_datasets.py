"""Runs on several datasets: what trains, resumes, and is scored."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import cxrkit
from cxrkit.api import check_training
from cxrkit.config import DataConfig, RunConfig, make_config, to_yaml
from cxrkit.data.joined import JoinedStore
from cxrkit.engine.evaluate import evaluate_run
from cxrkit.engine.films import prepare_films
from cxrkit.engine.objective import batch_loss, build_loss
from cxrkit.engine.observer import Silent
from cxrkit.engine.run import RunDirectory
from cxrkit.engine.sampling import generator
from cxrkit.engine.train import train
from cxrkit.engine.unlabelled import PseudoLabels, find_unlabelled
from cxrkit.errors import ConfigError, DataError
from cxrkit.interfaces import Loss, Model
from cxrkit.registry import Registry
from tests.engine.breaking import Killed, StopAt, die, same_result

NewRun = Callable[..., RunDirectory]
ALL = ("left_lung", "right_lung", "heart", "left_clavicle", "right_clavicle")
#: The films of `few` have no clavicles: they and the background are unknown there.
TWO: dict[str, Any] = {
    "data": [
        {"name": "phantom", "alias": "few", "count": 10, "size": 64},
        {"name": "phantom", "alias": "every", "count": 8, "size": 64, "seed": 1, "clavicles": True},
    ],
    "split__test_size": 0.3,
    "split__validation": 0.2,
}


class Pixelwise(nn.Module):
    """Logits that depend on one pixel each."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1, 1, 6).view(1, 6, 1, 1))
        self.bias = nn.Parameter(torch.linspace(0, 0.5, 6).view(1, 6, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return images * self.weight + self.bias


@pytest.mark.parametrize("name", ["dice", "bce", "focal-tversky"])
def test_gradients_are_those_of_the_known_films_and_channels_alone(
    new_run: NewRun, components: Registry, name: str
) -> None:
    config = new_run("run", **TWO, loss=name).config()
    films = prepare_films(config, components, Silent())
    assert films.store.structures == ALL
    batch = films.store.batch([1, 12, 3, 15], background=True, standardise=True)
    loss = build_loss(config.loss, components, films.channels, unknown=True)
    network = Pixelwise()

    def gradients(value: Tensor) -> list[Tensor]:
        return list(torch.autograd.grad(value, network.parameters()))

    got = gradients(batch_loss(loss, network(batch.images), batch))
    complete = torch.tensor([1, 3])

    def own(channel: int) -> Tensor:
        chosen = slice(None) if channel < 3 else complete
        return loss(network(batch.images)[chosen, channel, None], batch.targets[chosen, channel, None])

    if name == "bce":  # a mean over pixels: films and channels weigh by how many of them there are
        expected = gradients(
            (
                3 * 4 * torch.stack([own(c) for c in range(3)]).mean()
                + 3 * 2 * torch.stack([own(c) for c in range(3, 6)]).mean()
            )
            / 18
        )
    else:
        expected = gradients(torch.stack([own(channel) for channel in range(6)]).sum())
    for one, other in zip(got, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-7)


def test_a_run_resumes_with_its_datasets_and_is_scored_by_each(
    new_run: NewRun, components: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**TWO, "augment": ["mixup"], "data__every__weight": 1.5}
    whole, broken = new_run("whole", **settings), new_run("broken", **settings)
    films = train(whole, components)
    with pytest.raises(Killed):
        train(broken, components, StopAt(5, die))
    train(broken, components)
    same_result(whole, broken)
    assert {film.partition("+")[0] for film in films.split.validation} == {"few", "every"}
    assert whole.provenance().data == "few + every"

    monkeypatch.setattr("cxrkit.api.registry", lambda: components)
    evaluation = cxrkit.evaluate(whole.path)
    assert evaluation.datasets == ("few", "every")
    assert set(evaluation.of("few").structures) == {*ALL[:3], "lungs"}
    assert set(evaluation.of("every").structures) == {*ALL, "lungs"}
    rows = list(csv.DictReader(io.StringIO(evaluation.to_csv())))
    assert {row["id"].partition("+")[0] for row in rows} == {row["dataset"] for row in rows} == {"few", "every"}
    table = (whole.report / "table.md").read_text()
    counts = {name: len(evaluation.of(name).films) for name in ("few", "every")}
    for line in (f"| all ({sum(counts.values())}) | heart |", f"| few ({counts['few']}) | heart |"):
        assert line in table
    assert f"| few ({counts['few']}) | left clavicle |" not in table
    assert "few (3)" in table.partition("Paper's protocol")[2]

    several = make_config({"data": [{**one, "seed": seed, "count": 2} for seed, one in enumerate(TWO["data"], 8)]}).data
    other, *_ = evaluate_run(whole, components, data=several)
    assert (other.part, other.datasets) == ("few+every", ("few", "every"))


def test_other_weights_are_another_training(new_run: NewRun, components: Registry) -> None:
    run = new_run("run", **TWO)
    with pytest.raises(Killed):
        train(run, components, StopAt(3, die))
    text = run.config_file.read_text()
    run.config_file.write_text(text.replace("alias: few", "alias: few\n  weight: 2.0"))
    with pytest.raises(DataError, match="data"):
        train(run, components)


def test_films_are_drawn_by_weight(new_run: NewRun, components: Registry) -> None:
    drawn = {}
    for weight in (1.0, 3.0):
        run = new_run(f"run-{weight}", **TWO, data__every__weight=weight, train__steps=1)
        train(run, components)
        drawn[weight] = run.weights("last").read_bytes()
    assert drawn[1.0] != drawn[3.0]
    with pytest.raises(DataError, match="would be drawn"):
        train(new_run("much", **TWO, data__every__weight=100, train__batch_size=6), components)


def test_a_dataset_that_nothing_validates_is_reported(new_run: NewRun, components: Registry) -> None:
    observer = StopAt(-1, die)
    train(new_run("run", **{**TWO, "split__validation": 1}), components, observer)
    said = " ".join(observer.said)
    assert "No validation film has a mask of left_clavicle, right_clavicle" in said
    assert "No validation film is of every" in said


def test_a_loss_that_cannot_leave_masks_out_is_refused_by_name_before_training(
    new_run: NewRun, components: Registry, add: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unstated(Loss):
        def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
            return (logits.sigmoid() - targets).square().mean()

    add("loss", "mine", lambda: Unstated())
    run = new_run("run", **TWO, loss=["dice", "mine"])
    with pytest.raises(ConfigError, match="--loss mine: this loss can't be used"):
        train(run, components)
    assert list(run.metrics()) == []
    monkeypatch.setattr("cxrkit.api.registry", lambda: components)
    with pytest.raises(ConfigError, match="--loss mine: this loss can't be used"):
        check_training(run.config())
    check_training(make_config(run.config().model_dump(), {"loss": ["dice"]}))


class Bright(Model):
    """Sees every structure where a film is bright."""

    def forward(self, images: Tensor) -> Tensor:
        return (100 * images).expand(-1, len(self.channels), -1, -1)


def test_pseudo_labels_fill_in_only_what_is_unknown(new_run: NewRun, components: Registry) -> None:
    # All films train or test: none is without masks, but the teacher draws the clavicles of `few`.
    config = new_run("run", **{**TWO, "split__validation": 0}, unlabelled__films="rest").config()
    films = prepare_films(config, components, Silent())
    unlabelled = find_unlabelled(config, films, Silent())
    assert unlabelled is not None
    assert unlabelled.indices == ()
    batch = films.store.batch([2, 12, 4], background=True, standardise=True)
    assert batch.known is not None
    joined = PseudoLabels(unlabelled, 10, torch.device("cpu"), config).join(
        batch, Bright(films.channels), generator(0, "t")
    )
    assert joined.images.equal(batch.images)
    assert joined.known is not None
    assert joined.known.all()
    assert joined.targets[:, :3].equal(batch.targets[:, :3])
    assert joined.targets[1].equal(batch.targets[1])
    bright = (batch.images[[0, 2]] > 0).float()
    assert joined.targets[[0, 2], 3:5].equal(bright.expand(-1, 2, -1, -1))
    assert joined.targets[[0, 2], 5].equal(1 - joined.targets[[0, 2], :5].amax(1))


def test_from_python_several_places_are_a_list(new_run: NewRun, tmp_path: Path) -> None:
    config = new_run("unused", **TWO).config()
    own = {key: value for key, value in config.model_dump().items() if key != "data"}
    few, every = (DataConfig(**one) for one in TWO["data"])
    made = cxrkit.train(make_config(own), data=[few, every], out=tmp_path / "run", score=False)
    assert [item.alias for item in RunDirectory(made.path).config().datasets] == ["few", "every"]
    one = cxrkit.train(make_config(own), data=few, out=tmp_path / "one", score=False)
    assert isinstance(RunDirectory(one.path).config().data, DataConfig)


def test_one_dataset_is_saved_as_before_and_several_are_read_back() -> None:
    one = make_config({"data": {"name": "phantom", "count": 3}})
    assert one.model_dump()["data"] == {"name": "phantom", "root": None, "count": 3}
    assert make_config({"data": [{"name": "phantom", "count": 3}]}) == one
    several = make_config(
        {"data": [{"name": "folder", "root": "a/films"}, {"name": "coco", "root": "b/films"}, "phantom"]},
        overrides={"data.missing": "unknown", "data.b-films.weight": 2, "data.phantom.count": 3},
    )
    assert [item.alias for item in several.datasets] == ["a-films", "b-films", "phantom"]
    assert [item.weight for item in several.datasets] == [1, 2, 1]
    assert {item.missing for item in several.datasets} == {"unknown"}
    assert several.datasets[2].params == {"count": 3}
    assert RunConfig.model_validate(json.loads(several.model_dump_json())) == several
    assert "alias: a-films" in to_yaml(several)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (["phantom", "phantom"], "the same data is given twice: phantom"),
        ([{"name": "a", "alias": "x"}, {"name": "b", "alias": "x"}], "two datasets have the same alias: x, x"),
        ([{"name": "a", "alias": "x/y"}, "phantom"], r"data\.0\.alias"),
        ([], "names no dataset"),
        ([[]], "names no dataset"),
        ([3, "phantom"], r"data\.0: Input should be"),
        ({"root": 3}, r"^data\.root: Input is not a valid path"),
    ],
)
def test_bad_lists_of_data_are_explained(data: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_config({"data": data})


def test_stores_are_shared_with_runs_on_one(new_run: NewRun, components: Registry) -> None:
    joined = prepare_films(new_run("two", **TWO).config(), components, Silent()).store
    few = TWO["data"][0]
    named = prepare_films(new_run("named", **{**TWO, "data": few}).config(), components, Silent()).store
    alone = {key: value for key, value in few.items() if key != "alias"}
    own = prepare_films(new_run("one", **{**TWO, "data": alone}).config(), components, Silent()).store
    assert isinstance(joined, JoinedStore)
    assert joined.parts["few"].path == own.path
    # One dataset with an alias has the names that it has among several, for an ablation that compares both.
    assert named.ids == joined.ids[: len(own)] == tuple(f"few+{film}" for film in own.ids)
