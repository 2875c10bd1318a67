"""The example configurations are accepted as they are, and say what they claim to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cxrkit.config import DataConfig, RunConfig, make_config, resolve
from cxrkit.data.splits import Split, make_split
from cxrkit.engine.films import build_dataset
from cxrkit.engine.sampling import Sampler
from cxrkit.plugins import registry
from cxrkit.yaml_text import read_yaml

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
CHANNELS = ("left_lung", "right_lung", "heart", "background")


def example(name: str) -> RunConfig:
    return resolve(make_config(read_yaml(EXAMPLES / f"{name}.yaml")), registry())


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Dotted paths to values; items of lists count."""
    if isinstance(value, list):
        value = {str(index): item for index, item in enumerate(value)}
    if not isinstance(value, dict):
        return {path: value}
    return {key: found for name, inner in value.items() for key, found in flat(inner, f"{path}.{name}").items()}


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_parts_can_be_built(path: Path) -> None:
    config = resolve(make_config(read_yaml(path)), registry())
    components = registry()
    network = components.get("model", config.model.name)
    offline = getattr(network.target, "when_loading", {})  # no test downloads weights
    network.build(CHANNELS, **config.model.params | dict(offline))
    for term in config.loss:
        components.get("loss", term.name).build(**term.params)
    for augment in config.augment:
        components.get("augment", augment.name).build(**augment.params)


def test_paper_is_the_papers_text() -> None:
    config = example("paper")
    assert config.model.params["bidirectional"] is True
    assert config.model.params["base_channels"] == 48
    loss = config.loss[0]
    assert (loss.name, loss.params["reduction"]) == ("focal-tversky", "per-class")
    assert [loss.params[key] for key in ("false_negative_weight", "false_positive_weight", "inverse_gamma")] == [
        0.6,
        0.4,
        0.675,
    ]
    assert [(augment.name, augment.params["delta"]) for augment in config.augment] == [("mixup", 0.2)]
    train = config.train
    assert (train.lr, train.batch_size, train.steps, train.schedule) == (5e-4, 5, 1000, "constant")
    assert (train.warmup, train.weight_decay, train.clip_norm, train.ema) == (0, 0, None, 0)
    assert (config.preprocess.size, config.preprocess.resize) == (512, "linear")
    assert (config.split.train_size, config.split.test_size) == (209, 38)


@pytest.mark.parametrize(("films", "epochs"), [(10, 1000), (20, 500), (209, 50)])
def test_the_papers_epochs_are_its_steps(films: int, epochs: int) -> None:
    config = example("paper")
    sampler = Sampler(films, config.train.batch_size, 2, seed=0)
    assert sampler.steps_per_epoch * epochs == config.train.steps
    assert films < 209 or sampler.steps_per_epoch == config.train.validate_every


def test_released_differs_from_paper_where_the_code_differs_from_the_text() -> None:
    paper, released = (flat(example(name).model_dump(mode="json")) for name in ("paper", "released"))
    different = {path for path in paper.keys() | released.keys() if paper.get(path) != released.get(path)}
    assert different == {".model.bidirectional", ".model.norm_momentum", ".loss.0.reduction"}


def test_released_network_has_the_released_size() -> None:
    config = example("released")
    model = registry().get("model", config.model.name).build(CHANNELS, **config.model.params)
    statistics = sum(buffer.numel() for name, buffer in model.named_buffers() if "running" in name)
    # Keras counts batch norm's moving statistics.
    assert sum(parameter.numel() for parameter in model.parameters()) + statistics == 3_654_552


def test_wingspan_fits_its_films(wingspan: Path) -> None:
    config = example("wingspan")
    config = config.model_copy(update={"data": DataConfig(name="folder", root=wingspan)})
    dataset = build_dataset(config, registry())
    split = make_split(dataset.entries(), config.split, config.seed)
    assert (len(split.test), len(split.validation)) == (38, 20)
    assert len(split.train) == len(dataset.entries()) - 58
    assert dataset.structures == CHANNELS[:3]


def test_the_films_of_two_hospitals_are_split_as_those_of_one_were() -> None:
    two, one = (Split.load(EXAMPLES / "splits" / f"{name}.json") for name in ("lungs-heart-2", "wingspan-all"))
    assert {film.removeprefix("wingspan+") for film in two.test if film.startswith("wingspan+")} == set(one.test)
    hospitals = [[film.partition("+")[0] for film in part] for part in (two.train, two.validation, two.test)]
    assert [part.count("montgomery") for part in hospitals] == [44, 8, 26]
    assert [part.count("wingspan") for part in hospitals] == [146, 16, 38]
