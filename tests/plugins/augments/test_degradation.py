"""Faults of films: what each does, and what none of them touches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrkit import Batch
from cxrkit.errors import ContractError
from cxrkit_plugins.augments.degradation import Degradation

STILL: dict[str, Any] = {"contrast": 1, "noise": 0, "saturated": 1, "border": 0, "quality": 100, "probability": 1}
REGIONS = torch.tensor([[0, 0, 64, 64], [0, 8, 64, 48]])


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def grey(value: float = 0.5) -> Batch:
    """Two films of one grey value, the second within padding."""
    images = torch.zeros(2, 1, 64, 64)
    for image, (top, left, height, width) in zip(images, REGIONS.tolist(), strict=True):
        image[0, top : top + height, left : left + width] = value
    return Batch(images, torch.ones(2, 2, 64, 64), regions=REGIONS)


@settings(deadline=None, max_examples=25)
@given(
    st.fixed_dictionaries(
        {
            "contrast": st.floats(0.01, 1),
            "noise": st.floats(0, 0.5),
            "saturated": st.integers(1, 10_000),
            "labels": st.integers(1, 20),
            "label_size": st.floats(0.01, 0.5),
            "border": st.floats(0, 0.3),
            "quality": st.integers(1, 100),
            "probability": st.floats(0, 1),
        }
    ),
    st.integers(0, 2**31 - 1),
)
def test_films_stay_in_the_unit_range_and_padding_and_targets_as_they_are(values: dict[str, Any], seed: int) -> None:
    batch = grey()
    out = Degradation(**values)(batch, rng(seed))
    assert torch.equal(out.targets, batch.targets)
    assert bool(((out.images >= 0) & (out.images <= 1)).all())
    assert not out.images[1, 0, :, :8].any()
    assert not out.images[1, 0, :, 56:].any()


def test_no_probability_changes_nothing() -> None:
    batch = grey()
    assert torch.equal(Degradation(probability=0)(batch, rng()).images, batch.images)


def test_labels_are_of_full_brightness_mostly_and_small() -> None:
    augment = Degradation(**STILL, labels=1)
    shares = [float((augment(grey(), rng(seed)).images > 0.99).float().mean()) for seed in range(20)]
    assert sum(share > 0.002 for share in shares) > 10
    assert max(shares) < 0.2


@pytest.mark.parametrize(
    ("change", "least"),
    [({"noise": 0.3}, 0.02), ({"border": 0.3}, 0.02), ({"saturated": 4000}, 0.02), ({"contrast": 0.01}, 0.05)],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_each_fault_changes_more_than_a_label_does(change: dict[str, Any], least: float) -> None:
    def changed(**values: Any) -> float:
        augment, batch = Degradation(**values), grey()
        return sum(float((augment(batch, rng(seed)).images - batch.images).abs().mean()) for seed in range(8)) / 8

    assert changed(**STILL | change) > changed(**STILL) + least


def test_low_quality_shows_blocks() -> None:
    ramp = grey().with_(images=torch.linspace(0, 1, 64).expand(2, 1, 64, 64) * (grey().images > 0))
    augment = Degradation(**STILL | {"quality": 1}, label_size=0.01)
    films = torch.cat([augment(ramp, rng(seed)).images[:1, 0] for seed in range(20)])
    steps = (films[:, :, 1:] - films[:, :, :-1]).abs().mean((0, 1))
    assert steps[7::8].mean() > 1.2 * steps.mean(), "at the borders of blocks of eight"


def test_the_networks_input_is_refused() -> None:
    with pytest.raises(ContractError, match="as they were taken"):
        Degradation()(Batch(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)), rng())
