"""`train.recompute_statistics`: batch-norm statistics from the training films, before each validation and saving."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from cxrkit.engine.checkpoint import load_network
from cxrkit.engine.run import RunDirectory
from cxrkit.engine.schedule import batches_of, recompute_statistics
from cxrkit.engine.train import train
from cxrkit.registry import Registry

NewRun = Callable[..., RunDirectory]


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_saved_statistics_are_those_of_the_training_films(new_run: NewRun, components: Registry, ema: float) -> None:
    settings = {"train__recompute_statistics": True, "train__ema": ema, "split__validation": 0}
    run = new_run("run", model__norm_momentum=0.01, preprocess__size=30, train__batch_size=11, **settings)
    films = train(run, components)
    model, _ = load_network(run.weights("last"), components)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    saved = norms[0].running_mean.clone()
    images = films.store.films(films.indices(films.split.train), standardise=True).images()
    assert len(images) == 11
    # The first norm's input depends on nothing but the first convolution, so that its statistics can be told.
    first = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    images = nn.functional.pad(images, (0, 2, 0, 2), mode="replicate")  # 30 is no multiple of the network's 4
    expected = first(images).mean((0, 2, 3))
    torch.testing.assert_close(saved, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("films", "batch_size"), [(7, 4), (8, 4), (5, 4), (3, 4)])
def test_a_short_last_batch_weighs_as_many_as_it_has(films: int, batch_size: int) -> None:
    images = torch.randn(films, 1, 6, 6, generator=torch.Generator().manual_seed(0)).cumsum(0)
    network = nn.Sequential(nn.BatchNorm2d(1, momentum=0.3)).eval()
    places = batches_of(films, batch_size)
    assert torch.cat(places).tolist() == list(range(films))
    assert all(len(part) > 1 for part in places)
    recompute_statistics(network, (images[part] for part in places))
    torch.testing.assert_close(network[0].running_mean, images.mean((0, 2, 3)))
    variances = [len(part) / films * images[part].var() for part in places]
    torch.testing.assert_close(network[0].running_var, torch.stack(variances).sum().view(1))
    assert network[0].momentum == 0.3
    assert not network.training


def test_without_it_they_are_moving_averages(new_run: NewRun, components: Registry) -> None:
    run = new_run("run", model__norm_momentum=0.01, train__ema=0, split__validation=0)
    train(run, components)
    model, _ = load_network(run.weights("last"), components)
    norm = next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    assert torch.allclose(norm.running_var, torch.ones_like(norm.running_var), atol=0.2), "six steps of one hundredth"


class StopAt:
    """Breaks off before a step of the training, as a kill does: nothing more is saved."""

    class Reached(BaseException):
        pass

    def __init__(self, step: int) -> None:
        self.step = step

    def stage(self, name: str, total: int) -> None:
        self.name = name

    def advance(self, done: int, note: str = "") -> None:
        if self.name == "Training" and done == self.step:
            raise self.Reached

    def say(self, message: str) -> None:
        pass


def test_it_resumes_bit_equal(new_run: NewRun, components: Registry) -> None:
    settings = {"train__recompute_statistics": True, "train__ema": 0.9, "train__checkpoint_every": 3}
    whole, cut = new_run("whole", **settings), new_run("cut", **settings)
    train(whole, components)
    with pytest.raises(StopAt.Reached):
        train(cut, components, StopAt(5))
    train(cut, components)
    for name in ("best", "last"):
        assert whole.weights(name).read_bytes() == cut.weights(name).read_bytes()


def test_looking_at_the_network_does_not_change_it(new_run: NewRun, components: Registry) -> None:
    # Self-training draws its masks with the average: its statistics must not depend on when somebody looked or saved.
    settings = {"train__recompute_statistics": True, "train__ema": 0.9, "unlabelled__films": "rest"}
    settings |= {"unlabelled__start": 0.0, "split__train_size": 6}
    often = new_run("often", train__validate_every=1, train__checkpoint_every=1, **settings)
    once = new_run("once", train__validate_every=6, train__checkpoint_every=6, **settings)
    train(often, components)
    train(once, components)
    assert often.weights("last").read_bytes() == once.weights("last").read_bytes()
