"""What cxrkit expects of trained networks that a package brings: a readable file, and a card that says what it must."""

from __future__ import annotations

from cxrkit.engine.checkpoint import load_network
from cxrkit.plugins import installed
from cxrkit.services import PretrainedWeights
from cxrkit.testing.expectations import Check, Subject, expect

_SECTIONS = ("data", "licence", "limits", "scores", "not a medical device")


def its_file_holds_a_network(subject: Subject) -> None:
    """The safetensors files are cxrkit's, their models are installed, and their weights fit."""
    weights: PretrainedWeights = subject.build()
    expect(weights.file in weights.files, "`file` among `files`", str(weights.files), "Name it first in `files`.")
    for file in weights.files:
        model, _ = load_network(file, installed().registry)
        expect(bool(model.channels), "a network with channels", "none", "Write the file with `cxrkit export`.")


def its_card_says_what_it_must(subject: Subject) -> None:
    """Data, licence, scores, limits, and that it is not a medical device."""
    weights: PretrainedWeights = subject.build()
    card = weights.card.lower()
    missing = [section for section in _SECTIONS if section not in card]
    expect(not missing, f"a model card with {', '.join(_SECTIONS)}", f"none with {', '.join(missing)}", "Write it.")


CHECKS: tuple[Check, ...] = (its_file_holds_a_network, its_card_says_what_it_must)
