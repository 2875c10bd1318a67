"""Films without masks train as well: which, how many, on what, and what a user is told."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from cxrkit.config import RunConfig, anchored
from cxrkit.data.store import Store
from cxrkit.engine import batches
from cxrkit.engine.evaluate import evaluate_run
from cxrkit.engine.films import prepare_films
from cxrkit.engine.observer import Silent
from cxrkit.engine.run import RunDirectory
from cxrkit.engine.sampling import generator
from cxrkit.engine.train import train
from cxrkit.engine.unlabelled import PseudoLabels, find_unlabelled, pseudo_labels
from cxrkit.errors import DataError, TrainingInterruptedError
from cxrkit.interfaces import Batch, Model
from cxrkit.readings import ValidationReading
from cxrkit.registry import Registry
from tests.engine.breaking import StopAt, same_result

NewRun = Callable[..., RunDirectory]
REST = {"unlabelled__films": "rest", "split__train_size": 5, "split__validation": "rest"}


class Brightness(Model):
    """Says that a pixel belongs to every structure where the film is bright."""

    def forward(self, images: Tensor) -> Tensor:
        return (100 * images).expand(-1, len(self.channels), -1, -1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Seven films of noise without masks, one in a subfolder."""
    place = tmp_path / "wild"
    (place / "deeper").mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(7):
        pixels = random.integers(0, 255, (40, 48), dtype=np.uint8)
        Image.fromarray(pixels).save(place / ("deeper" if number == 6 else "") / f"{number % 6}.png")
    return place


def test_what_neither_trains_nor_tests_joins_but_its_masks_are_not_read(
    new_run: NewRun, components: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = new_run("run", **REST).config()
    films = prepare_films(config, components, Silent())
    found = find_unlabelled(config, films, Silent())
    assert found is not None
    assert {films.store.ids[index] for index in found.indices} == set(films.split.validation)
    assert found.fingerprint is None

    def unread(self: Store, *_: object, **__: object) -> None:
        raise AssertionError("the masks were read")

    monkeypatch.setattr(Store, "batch", unread)
    PseudoLabels(found, 10, torch.device("cpu"), config)


def test_a_folder_of_films_trains(new_run: NewRun, components: Registry, folder: Path) -> None:
    run = new_run("run", unlabelled__films=str(folder))
    train(run, components)
    recorded = run.provenance()
    assert recorded.unlabelled is not None
    assert recorded.unlabelled != recorded.fingerprint
    (folder / "0.png").unlink()
    with pytest.raises(DataError, match="films without masks have changed"):
        train(run, components)
    assert evaluate_run(run, components)[0].films  # scoring doesn't need them


def test_films_that_train_or_test_are_known_by_their_pixels_and_left_out(
    tiny: Callable[..., RunConfig], components: Registry, folder: Path
) -> None:
    data = folder.parent / "data"
    (data / "images").mkdir(parents=True)
    (data / "masks" / "heart").mkdir(parents=True)
    mask = np.zeros((40, 48), dtype=np.uint8)
    mask[10:20, 10:20] = 255
    for number, film in enumerate(sorted(folder.rglob("*.png"))):
        shutil.copy(film, data / "images" / f"other-{number}.png")
        Image.fromarray(mask).save(data / "masks" / "heart" / f"other-{number}.png")
    config = tiny(data={"name": "folder", "root": str(data)}, unlabelled__films=str(folder), split__test_size=2)
    films = prepare_films(config, components, Silent())
    observer = StopAt(-1, lambda: None)
    found = find_unlabelled(config, films, observer)
    assert found is not None
    assert any(
        "5 of the 7 films without masks are training or test films already" in message for message in observer.said
    )
    validating = films.store.image_hashes(films.indices(films.split.validation))
    assert sorted(found.store.image_hashes(found.indices)) == sorted(validating)


@pytest.mark.parametrize("killed_after", [2, 4])
@pytest.mark.parametrize("settings", [REST, {}])
def test_a_stopped_run_ends_bit_equal(
    new_run: NewRun, components: Registry, folder: Path, settings: dict[str, object], killed_after: int
) -> None:
    asked = {**(settings or {"unlabelled__films": str(folder)}), "augment": ["geometric", "mixup"]}
    straight, stopped = (new_run(name, train__precision="bf16", **asked) for name in ("straight", "stopped"))
    train(straight, components)
    with pytest.raises(TrainingInterruptedError):
        train(stopped, components, StopAt(killed_after, lambda: os.kill(os.getpid(), signal.SIGINT)))
    train(stopped, components)
    same_result(straight, stopped)


def test_nothing_changes_before_they_join(new_run: NewRun, components: Registry) -> None:
    without = new_run("without", **{**REST, "unlabelled__start": 0.5})
    train(without, components)
    plain = new_run("plain", **{key: value for key, value in REST.items() if not key.startswith("unlabelled")})
    train(plain, components)
    losses = [[r.validation for r in run.metrics() if isinstance(r, ValidationReading)] for run in (without, plain)]
    assert losses[0][0] == losses[1][0]  # step 2 of 6
    assert losses[0][-1] != losses[1][-1]


def test_films_that_do_not_fit_in_memory_come_from_the_store(
    new_run: NewRun, components: Registry, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, streamed = (new_run(name, unlabelled__films=str(folder)) for name in ("held", "streamed"))
    train(held, components)
    monkeypatch.setattr(batches, "_free_memory", lambda device: 0.0)
    train(streamed, components)
    same_result(held, streamed)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_share_holds_on_average(new_run: NewRun, components: Registry, share: float) -> None:
    config = new_run("run", **REST, unlabelled__share=share).config()
    found = find_unlabelled(config, prepare_films(config, components, Silent()), Silent())
    assert found is not None
    assert found.share == share
    labels = PseudoLabels(found, 10, torch.device("cpu"), config)
    teacher = Brightness(("left_lung", "right_lung", "heart", "background"))
    marked = Batch(torch.full((3, 1, 32, 32), 7.0), torch.full((3, 4, 32, 32), 7.0))
    replaced = 0
    for step in range(200):
        joined = labels.join(marked, teacher, generator(0, "test", step))
        kept = (joined.images == 7).flatten(1).all(1)
        assert torch.equal(kept, (joined.targets == 7).flatten(1).all(1))
        replaced += int((~kept).sum())
    assert replaced / 600 == pytest.approx(share, abs=0.03)
    assert (marked.images == 7).all()


def test_a_handful_is_not_seen_more_often_than_films_with_masks(new_run: NewRun, components: Registry) -> None:
    config = new_run("run", unlabelled__films="rest", unlabelled__share=0.9).config()
    found = find_unlabelled(config, prepare_films(config, components, Silent()), Silent())
    assert found is not None
    assert found.share == pytest.approx(2 / 11)  # 9 train, 2 validate


def test_pseudo_labels_are_masks_as_hands_draw_them() -> None:
    images = torch.tensor([[-1.0, 1.0], [2.0, -2.0]]).view(1, 1, 2, 2)
    drawn = pseudo_labels(Brightness(("heart", "background")).eval(), images)
    assert torch.equal(drawn[0, 0], torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    assert torch.equal(drawn[0, 1], 1 - drawn[0, 0])
    assert pseudo_labels(Brightness(("heart",)).eval(), images).shape == (1, 1, 2, 2)


def test_having_no_film_left_is_reported(new_run: NewRun, components: Registry) -> None:
    observer = StopAt(-1, lambda: None)
    train(new_run("run", unlabelled__films="rest", split__validation=0), components, observer)
    assert any("none is left" in message for message in observer.said)


@pytest.mark.parametrize("inside", [None, "notes.txt"])
def test_a_folder_without_films_is_reported(
    new_run: NewRun, components: Registry, tmp_path: Path, inside: str | None
) -> None:
    place = tmp_path / "wild"
    if inside:
        place.mkdir()
        (place / inside).write_text("no film")
    with pytest.raises(DataError, match=r"wild.*no (such folder|films)"):
        train(new_run("run", unlabelled__films=str(place)), components)


def test_a_film_that_cannot_be_read_is_named(new_run: NewRun, components: Registry, folder: Path) -> None:
    (folder / "broken.png").write_bytes(b"\x89PNG cut off")
    with pytest.raises(DataError, match=r"broken\.png"):
        train(new_run("run", unlabelled__films=str(folder)), components)


def test_the_folder_is_found_from_anywhere(new_run: NewRun, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    config = anchored(new_run("run", unlabelled__films="wild").config())
    assert config.unlabelled.films == folder
