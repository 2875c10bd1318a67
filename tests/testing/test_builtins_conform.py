"""The built-in components pass the suite that a third party's must pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cxrkit.testing import Case, check_dataset, check_model, conformance_cases

#: Datasets that read: their own tests run the suite on files in their formats.
READERS = {"folder", "jsrt", "coco", "labelme", "chexmask"}
#: Narrow networks: what the suite checks doesn't depend on the width.
NARROW = {
    "attn-bcdu": {"base_channels": 4, "lstm_filters": 4},
    "attn-unet": {"base_channels": 4},
    "bcdu": {"base_channels": 4},
    "cole": {"base_channels": 4},
    "fcn": {"base_channels": 2},
    "focal-attn-unet": {"base_channels": 4},
    "monai": {"network": "SegResNet"},
    "scag": {"base_channels": 4},
    "scan": {"base_channels": 4},
    "scau": {"base_channels": 4},
    "unet": {"base_channels": 4},
    "unetpp": {"base_channels": 4},
    "smp": {"encoder": "tu-mobilenetv3_small_050"},
}


def marked(case: Case) -> Any:
    """Ray takes half a minute to start."""
    return pytest.param(case, marks=[pytest.mark.slow] if case.name == "ray" else [])


@pytest.mark.parametrize(
    "case",
    [marked(case) for case in conformance_cases("cxrkit", parameters=NARROW) if case.name not in READERS],
    ids=str,
)
def test_conformance(case: Case) -> None:
    case.run()


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("attn-bcdu", {"base_channels": 4, "lstm_filters": 4, "bidirectional": False}),
        ("attn-unet", {"base_channels": 4, "depth": 3, "deep_supervision": True}),
        ("bcdu", {"base_channels": 4, "bidirectional": False, "dense_blocks": 1, "two_channel_tail": True}),
        ("cole", {"base_channels": 4, "branch_supervision": True}),
        ("fcn", {"base_channels": 2, "variant": "32s"}),
        ("focal-attn-unet", {"base_channels": 4, "image_pyramid": False, "deep_supervision": False}),
        ("unetpp", {"base_channels": 4, "deep_supervision": False}),
    ],
    ids=str,
)
def test_networks_conform_with_other_parameters(name: str, parameters: dict[str, Any]) -> None:
    check_model(name, parameters)


def test_the_folder_dataset_conforms_on_real_films(wingspan: Path) -> None:
    check_dataset("folder", root=wingspan)
