"""The networks of the literature have their numbers of parameters.

Where a count has no other origin beside it, it was computed from the layers as the papers and the authors' code have
them, independently of this code. Keras counts the moving statistics of batch norm too.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from cxrkit.plugins import registry
from cxrkit_plugins.models.blocks import CoarseGate

FOUR = ("left_lung", "right_lung", "heart", "background")
BCDU = {"bidirectional": False, "two_channel_tail": True}


def count(name: str, outputs: int, parameters: dict[str, Any]) -> int:
    with torch.device("meta"):
        model = registry().get("model", name).build([f"c{number}" for number in range(outputs)], **parameters)
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "outputs", "parameters", "expected"),
    [
        # The authors' Keras network has 20,659,717, moving statistics included.
        ("bcdu", 1, BCDU, 20_658_821),
        ("bcdu", 1, {**BCDU, "dense_blocks": 1}, 8_860_293),
        ("bcdu", 1, {**BCDU, "bidirectional": True}, 22_982_149),
        ("bcdu", 1, {**BCDU, "bidirectional": True, "dense_blocks": 1}, 11_183_621),
        ("bcdu", 4, BCDU, 20_658_821 + 3 * 3),
        # Zhou 2018, table 2: 9.04 million.
        ("unetpp", 1, {"deep_supervision": False}, 9_041_601),
        ("unetpp", 1, {}, 9_041_700),
        ("unetpp", 1, {"deep_supervision": False, "depth": 1}, 100_961),
        ("unetpp", 1, {"deep_supervision": False, "depth": 2}, 511_105),
        ("unetpp", 1, {"deep_supervision": False, "depth": 3}, 2_204_961),
        # With the fixed deconvolutions, as dense tensors.
        ("fcn", 21, {"variant": "8s"}, 134_489_759),
        ("fcn", 4, {"variant": "32s"}, 134_342_468),
        ("fcn", 4, {"variant": "16s"}, 134_295_624),
        ("fcn", 4, {"variant": "8s"}, 134_284_620),
        # 5,638,503 in Keras.
        ("focal-attn-unet", 1, {}, 5_631_463),
        # 5,302,247 in Keras: 7,040 moving statistics.
        ("focal-attn-unet", 1, {"image_pyramid": False}, 5_302_247 - 7_040),
        # Dai 2018: 271 thousand.
        ("scan", 4, {}, 271_440),
        ("unet", 1, {"norm": "none"}, 31_030_593),
        ("unet", 1, {}, 31_036_481),
        ("unet", 4, {"norm": "none"}, 31_030_788),
        ("unet", 4, {}, 31_036_676),
    ],
    ids=str,
)
def test_count(name: str, outputs: int, parameters: dict[str, Any], expected: int) -> None:
    assert count(name, outputs, parameters) == expected


def test_oktays_gate() -> None:
    assert sum(value.numel() for value in CoarseGate(256, 512, nn.BatchNorm2d(256)).parameters()) == 263_169


def test_attention_of_attn_bcdu_is_the_released_codes() -> None:
    """Two spatial parts, and a channel part of 64 units on the centre's 192 channels."""
    added = count("attn-bcdu", 4, {"spatial_channel_attention": True}) - count("attn-bcdu", 4, {})
    assert added == 2 * 305 + 129 * 192 + 64


def test_attention_of_scau_net_adds_what_the_paper_says() -> None:
    whole = count("scau", 4, {})
    assert whole - count("scau", 4, {"spatial_attention": False}) == 305
    assert whole - count("scau", 4, {"channel_attention": False}) == 65 * 1024 + 32
